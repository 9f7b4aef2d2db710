"""The policy for images holds for what comes by the Docker API, on every way, in the daemon's own words."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests import leaks
from tests.api.host import Host
from tests.api.image_files import TAR, lines_of, tags, tar_of
from tests.e2e.story import PROGRAM, Story
from tests.registry import Registry, make_image, started

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
    if os.geteuid() != 0 or not PROGRAM.exists():
        pytest.skip("needs root, and ops/up or ops/test to have made the program")
    layout, folder = Layout(f"t{secrets.token_hex(4)}"), tmp_path_factory.mktemp("strict")
    claimed = leaks.claim(layout)
    story = Story(layout, folder / "tree")
    story.tree.mkdir()
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "registries.yaml").write_text(registry.settings())
    try:
        story.start_agent(
            "--policy", str(folder / "policy.yaml"), "--registries", str(folder / "registries.yaml")
        )
        story.setpoint("image", "load", busybox_archive)
        yield Host(True, layout.agent_socket, layout.agent_socket, folder)
        story.setpoint("down", "--yes", "--data")
        left = leaks.find_leaks(layout)
    finally:
        leaks.clean(layout)
        leaks.release(layout, claimed)
    assert left == []


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
