"""Images to a real registry: what skopeo and a pull find there is what was here, byte for byte."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Invalid, NotFound, Temporary
from runtime.images.images import Images
from runtime.images.progress import EXISTS, Progress
from runtime.images.registry import upload
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.registry import Registry, make_image, started

FILES = [{"etc/one": b"1" * 300_000, "etc/same": b"lower"}, {"etc/two": b"2" * 70_000, "etc/same": b"upper"}]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with started(tmp_path_factory.mktemp("locked"), tls=True, login=("me", "s3cret")) as registry:
        yield registry


@pytest.fixture
def images(layout: Layout, tmp_path: Path) -> Images:
    images = Images(layout)
    images.load(make_image(tmp_path / "app", FILES))
    return images


def origin_of(registry: Registry, credential: Credential | None = None) -> Origin:
    ca = str(registry.ca) if registry.ca else ""
    return Origin(Endpoint(registry.host, ca_file=ca, is_insecure=registry.ca is None), credential)


def named(images: Images, registry: Registry, name: str) -> str:
    """The one image under a name of that registry."""
    full = f"{registry.host}/{name}"
    images.tag(images.list()[0].id, full)
    return full


def inspected(name: str, *login: str) -> dict[str, Any]:
    words = ["skopeo", "inspect", "--tls-verify=false", *login, f"docker://{name}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_arrives_is_what_was_here(registry: Registry, images: Images, tmp_path: Path) -> None:
    name = named(images, registry, "push/app:1")
    pushed = images.push(name, origin_of(registry))
    here = images.get(name)
    assert here is not None
    assert (pushed.name, pushed.digest, pushed.sent, pushed.there, pushed.mounted) == (
        name,
        here.digest,
        3,
        0,
        0,
    )
    assert inspected(name)["Digest"] == here.digest

    back = tmp_path / "back"
    subprocess.run(
        [
            "skopeo",
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--preserve-digests",
            f"docker://{name}",
            f"oci:{back}:1",
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    ours = {path.name: path.read_bytes() for path in (images._root / "blobs/sha256").iterdir()}
    for blob in (back / "blobs/sha256").iterdir():
        assert ours[blob.name] == blob.read_bytes()
    other = Images(Layout("tpush", tmp_path / "data", tmp_path / "run"))
    assert other.pull(name, [origin_of(registry)]).id == here.id


def test_what_is_there_is_not_sent_again(registry: Registry, images: Images) -> None:
    name = named(images, registry, "again/app:1")
    assert images.push(name, origin_of(registry)).sent == 3
    seen: list[Progress] = []
    again = images.push(named(images, registry, "again/app:2"), origin_of(registry), seen.append)
    assert (again.sent, again.there, again.sent_bytes) == (0, 3, 0)
    assert {(each.step, each.done_bytes == each.total_bytes) for each in seen} == {
        ("send", True), (EXISTS, True),
    }  # fmt: skip
    assert inspected(f"{registry.host}/again/app:2")["Digest"] == again.digest


def test_another_repository_of_the_registry_lends_its_layers(registry: Registry, images: Images) -> None:
    images.push(named(images, registry, "mount/base:1"), origin_of(registry))
    pushed = images.push(named(images, registry, "mount/other:1"), origin_of(registry))
    assert (pushed.sent, pushed.mounted) == (1, 2), "the config is sent, the layers are mounted"
    assert inspected(f"{registry.host}/mount/other:1")["Digest"] == pushed.digest


def test_a_neighbour_that_does_not_have_it_costs_nothing(registry: Registry, images: Images) -> None:
    named(images, registry, "nowhere/base:1")
    pushed = images.push(named(images, registry, "lonely/app:1"), origin_of(registry))
    assert (pushed.sent, pushed.mounted) == (3, 0)


@pytest.mark.parametrize("chunk", [4096, 100_000, 1 << 20])
def test_in_chunks(chunk: int, registry: Registry, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CHUNK_BYTES", chunk)
    name = named(images, registry, f"chunks/of{chunk}:1")
    pushed = images.push(name, origin_of(registry))
    assert pushed.sent == 3 and inspected(name)["Digest"] == pushed.digest


def test_a_docker_archive_goes_as_it_was_kept(registry: Registry, layout: Layout, tmp_path: Path) -> None:
    archive, made = tmp_path / "saved.tar", make_image(tmp_path / "app", FILES)
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci:{made}", f"docker-archive:{archive}:app:1"],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    images = Images(layout)
    digest = images.load(archive)[0].digest
    name = named(images, registry, "archive/app:1")
    assert images.push(name, origin_of(registry)).digest == digest == inspected(name)["Digest"]


def test_with_tls_and_a_password_in_a_process_of_its_own(
    locked: Registry, images: Images, layout: Layout
) -> None:
    name = named(images, locked, "lab/app:1")
    isolated = IsolatedImages(layout)
    with pytest.raises(Invalid, match=r"push image .* does not let us in.*setpoint login"):
        isolated.push(name, origin_of(locked))
    with pytest.raises(Invalid, match=r"push image .* the name or the password is wrong"):
        isolated.push(name, origin_of(locked, Credential("me", "not-it-at-all")))
    pushed = isolated.push(name, origin_of(locked, Credential("me", "s3cret")))
    assert inspected(name, "--creds", "me:s3cret")["Digest"] == pushed.digest


def test_docker_s_own_kinds_of_documents_stay_what_they_are(
    registry: Registry, layout: Layout, tmp_path: Path
) -> None:
    made = make_image(tmp_path / "app", FILES)
    there = f"{registry.host}/docker/app:1"
    words = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--format", "v2s2"]
    subprocess.run([*words, f"oci:{made}", f"docker://{there}"], check=True, stdin=subprocess.DEVNULL)
    images = Images(layout)
    images.pull(there, [origin_of(registry)])
    name = named(images, registry, "docker/again:1")
    assert (
        images.push(name, origin_of(registry)).digest
        == inspected(there)["Digest"]
        == inspected(name)["Digest"]
    )


def test_of_an_index_its_one_image_is_pushed(registry: Registry, layout: Layout, tmp_path: Path) -> None:
    made = make_image(tmp_path / "app", FILES)
    there = f"{registry.host}/index/app:1"
    subprocess.run(
        ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{made}", f"docker://{there}"],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    raw = json.loads((made / "index.json").read_text())
    index = json.dumps({**raw, "mediaType": "application/vnd.oci.image.index.v1+json"}).encode()
    url = f"http://{registry.host}/v2/index/app/manifests/many"
    put = urllib.request.Request(url, index, method="PUT")
    put.add_header("Content-Type", "application/vnd.oci.image.index.v1+json")
    urllib.request.urlopen(put, timeout=30).close()
    images = Images(layout)
    pulled = images.pull(f"{registry.host}/index/app:many", [origin_of(registry)])
    source = images.details(pulled.id).source_digest
    assert source and source != pulled.digest
    pinned = f"{registry.host}/index/app@{source}"
    images.pull(pinned, [origin_of(registry)])
    with pytest.raises(Invalid, match="that digest is of an index"):
        images.push(pinned, origin_of(registry))
    name = named(images, registry, "index/one:1")
    assert images.push(name, origin_of(registry)).digest == pulled.digest == inspected(name)["Digest"]


def test_by_digest(registry: Registry, images: Images) -> None:
    name = named(images, registry, "digest/app:1")
    images.push(name, origin_of(registry))
    pinned = f"{registry.host}/digest/app@{images.list()[0].digest}"
    assert images.push(pinned, origin_of(registry)).there == 3


def test_only_a_name_is_pushed(registry: Registry, images: Images) -> None:
    identity = images.list()[0].id
    for text in (identity, identity[7:], identity[7:19], identity[7:11]):
        with pytest.raises(Invalid, match="push it by a name"):
            images.push(text, origin_of(registry))
    with pytest.raises(NotFound):
        images.push(f"{registry.host}/no/such:1", origin_of(registry))


def test_a_layer_that_is_not_here_is_said_before_anything_is_sent(registry: Registry, images: Images) -> None:
    name = named(images, registry, "lacks/app:1")
    layer = max((images._root / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    layer.unlink()
    with pytest.raises(NotFound, match="a packed layer is not here"):
        images.push(name, origin_of(registry))
    assert not (registry.folder / "data/docker/registry/v2/repositories/lacks").exists()


def test_a_registry_that_is_not_there(images: Images, registry: Registry) -> None:
    images.tag(images.list()[0].id, "127.0.0.1:1/lab/app:1")
    with pytest.raises(Temporary, match=r"push image .*connection refused"):
        images.push("127.0.0.1:1/lab/app:1", Origin(Endpoint("127.0.0.1:1", is_insecure=True)))
