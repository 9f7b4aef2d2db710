"""The gate of images with a real registry and real signatures: cosign's own, and of each kind of key. Every
way of an image into the store is tried, and nothing of what is refused is in it afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agent.policy.gate import Gate
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.reference import parse_reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.registry import Registry, make_image, started
from tests.signing import INDEX, MANIFEST, Signer, bundle, descriptor, public, simple

FILES = [{"etc/one": b"1" * 1000}, {"etc/two": b"2"}]
HEAD = "apiVersion: setpoint/v1\nkind: Policy\nimages:\n"
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS, RSA = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry") as registry:
        yield registry


class House:
    """A store whose gate reads a policy; put_image makes a new one in the registry each time."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        if os.geteuid() != 0:
            pytest.skip("a policy is root's")
        self.folder, self.registry = folder, registry
        self.layout = Layout("tgate", folder / "data", folder / "run")
        self.policy = folder / "policy.yaml"
        self.images = IsolatedImages(self.layout, Gate(self.policy))
        self.count = 0

    def rule(self, *lines: str) -> None:
        """One rule for all images of the registry's repository `lab`."""
        text = "\n".join(f"    {line}" for line in (f"match: [{self.registry.host}/lab/*]", *lines))
        self.policy.write_text(f"{HEAD}  lab:\n{text}\n")
        self.policy.chmod(0o644)

    def signed_by(self, *keys: Any, more: str = "") -> None:
        pems = [line for key in keys for line in ("- |", *("  " + each for each in public(key).splitlines()))]
        self.rule("signed_by:", *("  " + line for line in pems), *filter(None, [more]))

    def put_image(self, repository: str = "app") -> str:
        self.count += 1
        files = [*FILES, {"etc/word": f"{self.folder}{self.count}".encode()}]
        self.archive = make_image(self.folder / f"image-{self.count}", files)
        name = f"lab/{repository}:{self.count}"
        self.registry.put(f"oci:{self.archive}", name)
        self.signer = Signer(self.registry.host, f"lab/{repository}", self.registry.login)
        self.digest = self.signer.digest(str(self.count))
        return f"{self.registry.host}/{name}"

    def pull(self, name: str) -> None:
        login = Credential(*self.registry.login) if self.registry.login else None
        self.images.pull(name, [Origin(Endpoint(self.registry.host, is_insecure=True), login)])

    def refuses(self, name: str, work: Any) -> SetpointError:
        before = self.content()
        with pytest.raises((Invalid, Temporary)) as caught:
            work()
        assert f"is not allowed by {self.policy}:4 (rule images.lab)" in caught.value.reason
        assert self.images.get(name) is None and self.content() == before
        return caught.value

    def content(self) -> list[str]:
        blobs = (self.layout.images / "blobs/sha256").glob("*")
        return sorted(path.name for path in (*blobs, *(self.layout.images / "layers").glob("*")))


@pytest.fixture
def house(tmp_path: Path, registry: Registry) -> House:
    return House(tmp_path, registry)


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
def test_signed_by_cosign_itself(house: House) -> None:
    """The Debian package's, with a key pair of its own and without a transparency log."""
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(house.folder)}

    def cosign(*words: str) -> None:
        subprocess.run(["cosign", *words], cwd=house.folder, env=environment, check=True, capture_output=True)

    cosign("generate-key-pair")
    pem = (house.folder / "cosign.pub").read_text()
    house.rule("signed_by:", "  - |", *("    " + line for line in pem.splitlines()))
    name = house.put_image()
    house.refuses(name, lambda: house.pull(name))
    cosign(
        "sign", "--key", "cosign.key", "--tlog-upload=false", "--yes", "--allow-insecure-registry",
        f"{house.registry.host}/lab/app@{house.digest}",
    )  # fmt: skip
    house.pull(name)
    assert house.images.get(name) is not None
    other = house.put_image()
    house.refuses(other, lambda: house.pull(other))


@pytest.mark.parametrize("key", [CURVE, EDWARDS, RSA])
def test_each_kind_of_key_under_each_name(house: House, key: Any) -> None:
    house.signed_by(key)
    for form in ("tag", "referrer", "bundle"):
        name = house.put_image()
        stranger = ec.generate_private_key(ec.SECP256R1())
        house.signer.put_tag(house.digest, simple(stranger, house.digest), simple(key, "sha256:" + "0" * 64))
        assert "none of its 2 signatures" in house.refuses(name, lambda name=name: house.pull(name)).reason
        if form == "tag":
            house.signer.put_tag(house.digest, simple(stranger, house.digest), simple(key, house.digest))
        else:
            make = bundle if form == "bundle" else simple
            house.signer.put_referrer(house.digest, make(key, house.digest))
        house.pull(name)
        assert house.images.get(name) is not None, form


def test_an_index_that_is_signed_answers_for_its_image(house: House) -> None:
    house.signed_by(CURVE)
    name = house.put_image()
    signer, tag = house.signer, name.rpartition(":")[2]
    entry = descriptor(MANIFEST, signer.manifest(tag))
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [entry],
    }
    signer.put_manifest(tag, json.dumps(index).encode(), INDEX)
    above = signer.digest(tag)
    assert above != house.digest
    house.refuses(name, lambda: house.pull(name))
    signer.put_tag(above, simple(CURVE, above))
    house.pull(name)
    assert house.images.get(f"{name.rpartition(':')[0]}@{above}") is not None


def test_what_was_signed_for_another_repository(house: House) -> None:
    house.signed_by(CURVE, more=f"identities: ['{house.registry.host}/lab/app']")
    name = house.put_image()
    house.signer.put_tag(house.digest, simple(CURVE, house.digest, f"{house.registry.host}/lab/debug"))
    house.refuses(name, lambda: house.pull(name))
    house.signer.put_tag(house.digest, simple(CURVE, house.digest, f"{house.registry.host}/lab/app"))
    house.pull(name)


def test_every_other_way_in(house: House) -> None:
    """load, import, tag, and what a build or a container's commit makes."""
    from runtime.images.compose import Composition
    from runtime.images.container_commit import Commit

    other = house.put_image()  # before there is a rule
    house.pull(other)
    house.signed_by(CURVE)
    name = house.put_image()
    archive = house.folder / "signed.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci:{house.archive}", f"docker-archive:{archive}:{name}"], check=True
    )
    house.refuses(name, lambda: house.images.load(archive))
    house.refuses(name, lambda: house.images.tag(other, name))
    root = house.folder / "root.tar"
    subprocess.run(["tar", "-cf", root, "-C", house.archive, "index.json"], check=True)
    house.refuses(name, lambda: house.images.import_rootfs(root, name))
    base = house.images.get(other)
    assert base is not None
    wanted = Composition(base.id, (), {"architecture": "amd64", "os": "linux"}, (parse_reference(name),))
    house.refuses(name, lambda: house.images.compose(wanted))
    (house.folder / "upper").mkdir()
    commit = Commit("web", str(house.folder / "upper"), base.id, name)
    house.refuses(name, lambda: house.images.commit(commit))
    free = f"{house.registry.host}/free/app:1"
    house.images.tag(other, free)  # no rule is about that one
    with pytest.raises(Invalid, match=r"images\.lab"):  # as what a build is built on
        house.images.admitted("build on", other)
    assert house.images.admitted("build on", free).id == base.id
    assert house.images.admitted("build on", base.id).id == base.id  # one of its names is allowed


def test_a_signature_that_was_seen_is_remembered(house: House) -> None:
    """What came with a pull counts for the same image from an archive, also without its registry."""
    house.signed_by(CURVE)
    name = house.put_image()
    house.signer.put_tag(house.digest, simple(CURVE, house.digest))
    house.pull(name)
    image = house.images.get(name)
    assert image is not None and house.images.facts(name)[0].signatures
    house.images.tag(name, f"{house.registry.host}/lab/app:again")  # the same digest, the same rule
    fresh = IsolatedImages(house.layout, Gate(house.policy))
    assert fresh.admitted("run", name) == fresh.get(name)
    house.signed_by(ec.generate_private_key(ec.SECP256R1()))  # another key from now on
    with pytest.raises(Invalid, match="none of its 1 signatures"):
        fresh.admitted("run", name)


def test_a_young_image_waits_from_when_it_was_first_seen(house: House) -> None:
    house.rule("minimum_age: 1h")
    name = house.put_image()
    error = house.refuses(name, lambda: house.pull(name))
    assert isinstance(error, Temporary) and 3500 < error.retry_after_seconds <= 3600
    seen = house.layout.images / f"seen/{house.digest[7:]}.json"
    value = json.loads(seen.read_text())
    assert time.time() - 300 < value["first_seen_at"] <= time.time()
    again = house.refuses(name, lambda: house.pull(name))
    assert isinstance(again, Temporary) and again.retry_after_seconds < error.retry_after_seconds
    seen.write_text(json.dumps({**value, "first_seen_at": value["first_seen_at"] - 3600}))
    house.pull(name)


def test_what_was_here_before_the_rule_is_as_old_as_its_file(house: House) -> None:
    name = house.put_image()
    house.pull(name)
    house.rule("minimum_age: 1h")
    with pytest.raises(Temporary):
        house.images.admitted("run", name)
    blob = house.layout.images / "blobs/sha256" / house.digest[7:]
    os.utime(blob, (time.time() - 7200, time.time() - 7200))
    seen = house.layout.images / f"seen/{house.digest[7:]}.json"
    seen.unlink()  # that it was asked for is no reason to be younger
    house.images.admitted("run", name)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("pinned: true", "it has no digest"),
        ("architectures: [riscv64]", "it is for amd64"),
        ("deny: true", "is denied"),
    ],
)
def test_the_rules_that_need_no_key(house: House, rule: str, text: str) -> None:
    house.rule(rule)
    name = house.put_image()
    assert text in house.refuses(name, lambda: house.pull(name)).reason
    if rule == "pinned: true":
        pinned = f"{name.rpartition(':')[0]}@{house.digest}"
        house.pull(pinned)
        assert house.images.get(pinned) is not None
