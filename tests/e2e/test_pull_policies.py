"""`pull_policy` and `platform` from manifests, with a registry that comes, changes and goes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually
from tests.registry import Registry, started

SHOP = """\
services:
  web:
    image: {host}/lab/busybox:1
    pull_policy: {policy}
    command: [sleep, "{seconds}"]
    stop_signal: SIGKILL
"""
WEB = "shop/container/web"


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


@pytest.fixture
def story(quiet_story: Story, registry: Registry, tmp_path: Path) -> Story:
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    quiet_story.start_agent("--registries", str(settings))
    return quiet_story


def put_another(story: Story, registry: Registry, tmp_path: Path) -> str:
    """The same tree under the same name, as another image; its config's digest."""
    name = f"{registry.host}/lab/busybox:1"
    folder = tmp_path / "other"
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{folder}"]
    subprocess.run(copy, check=True, stdin=subprocess.DEVNULL)
    manifest = json.loads((folder / "manifest.json").read_text())
    config = json.loads((folder / manifest["config"]["digest"][7:]).read_text())
    config.setdefault("config", {})["Labels"] = {"is": "another"}
    from runtime.images.content import digest_of

    data = json.dumps(config).encode()
    manifest["config"] |= {"digest": digest_of(data), "size": len(data)}
    (folder / digest_of(data)[7:]).write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    registry.put(f"dir:{folder}", "lab/busybox:1")
    return digest_of(data)


def image_id(story: Story, registry: Registry) -> str:
    name = f"{registry.host}/lab/busybox:1"
    return str(json.loads(story.setpoint("image", "inspect", name, "-o", "json"))["id"])


def message(story: Story) -> str:
    found = story.object(WEB)
    return str(found["message"]) if found else ""


@pytest.mark.parametrize("policy", ["always", "if_newer"])
def test_a_new_revision_takes_the_newest(
    policy: str, story: Story, registry: Registry, tmp_path: Path
) -> None:
    said = {"host": registry.host, "policy": policy}
    story.apply({"shop/compose.yaml": SHOP.format(**said, seconds=1001)})
    first, pid = image_id(story, registry), story.pid(WEB)
    another = put_another(story, registry, tmp_path)
    assert (image_id(story, registry), story.pid(WEB)) == (first, pid), "nobody asks by himself"

    story.apply({"shop/compose.yaml": SHOP.format(**said, seconds=1002)})
    assert image_id(story, registry) == another != first
    assert story.pid(WEB) != pid
    containers = json.loads(story.setpoint("image", "inspect", another, "-o", "json"))["containers"]
    assert len(containers) == 1


def test_missing_does_not_ask(story: Story, registry: Registry, tmp_path: Path) -> None:
    said = {"host": registry.host, "policy": "missing"}
    story.apply({"shop/compose.yaml": SHOP.format(**said, seconds=1001)})
    first = image_id(story, registry)
    put_another(story, registry, tmp_path)
    story.apply({"shop/compose.yaml": SHOP.format(**said, seconds=1002)})
    assert image_id(story, registry) == first


@pytest.mark.parametrize("policy", ["always", "if_newer", "daily"])
def test_an_image_that_is_here_starts_without_its_registry(
    policy: str, quiet_story: Story, tmp_path: Path, busybox_archive: Path
) -> None:
    story = quiet_story
    dead = "127.0.0.1:9"
    settings = tmp_path / "registries.yaml"
    head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
    settings.write_text(f'{head}  "{dead}": {{insecure: true}}\n')
    story.start_agent("--registries", str(settings))
    story.setpoint("image", "load", busybox_archive)
    name = json.loads(story.setpoint("image", "ls", "-o", "json"))[0]["names"][0]
    story.setpoint("image", "tag", name, f"{dead}/lab/busybox:1")
    story.commit({"shop/compose.yaml": SHOP.format(host=dead, policy=policy, seconds=1001)})
    eventually(lambda: "runs the image that is here" in message(story), "it is said, and it runs")
    assert story.pid(WEB) and "connection refused" in message(story)
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    assert "PullFailed" in story.setpoint("events", WEB)


def test_a_platform_that_the_registry_does_not_have(story: Story, registry: Registry) -> None:
    text = SHOP.format(host=registry.host, policy="missing", seconds=1001) + "    platform: linux/arm64\n"
    story.commit({"shop/compose.yaml": text})
    eventually(lambda: "not for linux/arm64" in message(story), "it is said")
