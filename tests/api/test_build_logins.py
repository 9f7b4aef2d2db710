"""Logins that a client sends with one build: its base image comes by them, and nothing is kept of them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.host import Host
from tests.e2e.story import Story
from tests.registry import Registry, make_image, started

LOGIN = ("me", "canary-build-s3cret")


@pytest.fixture(scope="module")
def locked(agent_story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("locked")
    layout = make_image(folder / "image", [{"a": os.urandom(1000)}])
    with started(folder / "registry", tls=True, login=LOGIN) as registry:
        settings = agent_story.tree.parent / "registries.yaml"
        settings.write_text(registry.settings())
        registry.put(f"oci:{layout}", "lab/base:1")
        yield registry
        settings.unlink()


@pytest.fixture
def without(host: Host, locked: Registry) -> Iterator[str]:
    """The name of the base image, which is not here."""
    name = f"{locked.host}/lab/base:1"
    host.docker("rmi", "-f", name, check=False)
    yield name
    host.docker("rmi", "-f", name, check=False)


def logged_in(folder: Path, registry: Registry, password: str) -> Path:
    """A directory of the docker CLI, with that login."""
    packed = base64.b64encode(f"{LOGIN[0]}:{password}".encode()).decode()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": packed}}}))
    return folder


@pytest.mark.parametrize("way", ["0", "1"])
def test_a_base_image_comes_by_the_login_of_the_client(
    host: Host, way: str, locked: Registry, without: str, tmp_path: Path, agent_story: Story
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {without}\nENV A=1\n")

    def build(config: Path | None) -> subprocess.CompletedProcess[str]:
        env = {"DOCKER_BUILDKIT": way, **({"DOCKER_CONFIG": str(config)} if config else {})}
        return host.docker("build", context, env=env, check=False)

    refused = build(None)
    assert refused.returncode != 0
    assert "does not let us in" in refused.stderr
    wrong = build(logged_in(tmp_path / "wrong", locked, "canary-wrong-one"))
    assert wrong.returncode != 0
    right = build(logged_in(tmp_path / "right", locked, LOGIN[1]))
    assert right.returncode == 0, right.stderr
    for secret in (LOGIN[1], "canary-wrong-one"):
        assert secret not in refused.stderr + wrong.stderr + right.stderr
        kept = subprocess.run(
            ["grep", "-rlF", secret, agent_story.layout.data], capture_output=True, text=True, check=False
        )
        assert kept.stdout == ""
