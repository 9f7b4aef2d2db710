"""The policy for images holds for what comes by the Docker API, on every way, in the daemon's own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api.host import Host
from tests.api.image_files import TAR, lines_of, tags, tar_of
from tests.e2e.own_story import own_story
from tests.registry import Registry, make_image, started
from tests.signing import Signer, public, simple

POLICY = "apiVersion: setpoint/v1\nkind: Policy\nallow: {images: ['docker.io/*', '127.0.0.1:*/good/*']}\n"
EVIL = "evil.example/app"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry") as registry:
        for name in ("good/app:1", "bad/app:1"):
            layout = make_image(folder / name.partition("/")[0], [{"name": name.encode()}])
            registry.put(f"oci:{layout}", name)
        yield registry


@pytest.fixture(scope="module")
def strict(
    registry: Registry, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """An agent of its own, with rules."""
    folder = tmp_path_factory.mktemp("strict")
    policy, registries = folder / "policy.yaml", folder / "registries.yaml"
    policy.write_text(POLICY)
    registries.write_text(registry.settings())
    with own_story(folder) as story:
        story.start_agent("--policy", str(policy), "--registries", str(registries))
        story.setpoint("image", "load", busybox_archive)
        yield Host(True, story.layout.agent_socket, story.layout.agent_socket, folder)


def test_a_pull(strict: Host, registry: Registry) -> None:
    refused = strict.http(
        "POST", "/images/create", query={"fromImage": f"{registry.host}/bad/app", "tag": "1"}
    )
    assert (refused.status, "it is not in the list" in refused.message) == (400, True)
    tagless = strict.http("POST", "/images/create", query={"fromImage": f"{registry.host}/bad/app"})
    assert tagless.status == 400
    strict.docker("pull", f"{registry.host}/good/app:1")
    assert f"{registry.host}/bad/app:1" not in tags(strict)


def test_a_name(strict: Host) -> None:
    refused = strict.http("POST", "/images/busybox/tag", query={"repo": EVIL, "tag": "1"})
    assert (refused.status, "it is not in the list" in refused.message) == (400, True)
    assert f"{EVIL}:1" not in tags(strict)


def test_an_import(strict: Host) -> None:
    query = f"fromSrc=-&repo={EVIL}&tag=1"
    refused = strict.http("POST", f"/images/create?{query}", tar_of({"x": b"y"}), headers=TAR)
    assert (refused.status, "it is not in the list" in refused.message) == (400, True)
    assert f"{EVIL}:1" not in tags(strict)


def test_a_commit(strict: Host) -> None:
    strict.docker("create", "--name", "committed", "busybox", "true")
    refused = strict.http("POST", "/commit", query={"container": "committed", "repo": EVIL, "tag": "1"})
    assert (refused.status, "it is not in the list" in refused.message) == (400, True)
    strict.docker("rm", "committed")


def test_a_load(strict: Host) -> None:
    archive = strict.http("GET", "/images/busybox/get").body
    changed = archive.replace(b"docker.io/library/busybox:latest", b"evil.example/library/app:latest1")
    assert changed != archive
    [line] = lines_of(strict.http("POST", "/images/load", changed, headers=TAR))
    assert "it is not in the list" in line["error"]
    assert not [tag for tag in tags(strict) if tag.startswith("evil")]


def test_signatures_of_what_is_here_are_asked_for(strict: Host, registry: Registry) -> None:
    """A rule that is younger than the image: who runs it or builds on it waits until its registry was asked,
    and hears of an image that nobody signed as before."""
    key, name = ec.generate_private_key(ec.SECP256R1()), f"{registry.host}/good/app:1"
    strict.docker("pull", name)
    pem = "".join(f"        {line}\n" for line in public(key).splitlines())
    rule = f"images:\n  good:\n    match: ['*/good/*']\n    signed_by:\n      - |\n{pem}"
    (strict.config / "policy.yaml").write_text(POLICY + rule)
    refused = strict.docker("create", "--pull", "never", name, "/x", check=False)
    assert refused.returncode != 0 and "no signature of it is known here" in refused.stderr
    dockerfile = f"FROM {name}\nLABEL a=b\n"
    unbuilt = strict.docker("build", "-", stdin=dockerfile, check=False)
    assert unbuilt.returncode != 0 and "no signature of it is known here" in unbuilt.stderr

    signer = Signer(registry.host, "good/app")
    signer.put_tag(signer.digest("1"), simple(key, signer.digest("1")))
    strict.docker("build", "-", stdin=dockerfile)
    strict.docker("create", "--pull", "never", "--name", "signed", name, "/x")
    strict.docker("rm", "signed")

    other = make_image(strict.config / "other", [{"name": b"another"}])
    (strict.config / "policy.yaml").write_text(POLICY)
    registry.put(f"oci:{other}", "good/app:2")
    strict.docker("pull", f"{registry.host}/good/app:2")
    signer.put_tag(signer.digest("2"), simple(key, signer.digest("2")))
    (strict.config / "policy.yaml").write_text(POLICY + rule)
    strict.docker("create", "--pull", "never", "--name", "later", f"{registry.host}/good/app:2", "/x")
    strict.docker("rm", "later")
