"""`setpoint image push|tag|inspect|history|search|tags|rm` against a real registry, as a user has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story
from tests.registry import Registry, started


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def story(quiet_story: Story, registry: Registry, tmp_path: Path, busybox_archive: Path) -> Story:
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    quiet_story.start_agent("--registries", str(settings))
    quiet_story.setpoint("image", "load", busybox_archive)
    return quiet_story


def first_name(story: Story) -> str:
    return str(json.loads(story.setpoint("image", "ls", "-o", "json"))[0]["names"][0])


def test_tag_push_and_what_the_registry_says_of_it(story: Story, registry: Registry) -> None:
    name = f"{registry.host}/team/app:1"
    assert story.setpoint("image", "tag", first_name(story), name) == f"tagged {name}\n"
    here = json.loads(story.setpoint("image", "inspect", name, "-o", "json"))
    said = story.setpoint("image", "push", name)
    assert said.startswith(f"pushed {name} {here['digest']} (") and "sent" in said
    assert story.setpoint("image", "push", "-q", name) == f"{here['digest']}\n"
    skopeo = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"]
    done = subprocess.run(skopeo, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout.strip() == here["digest"]

    story.setpoint("image", "tag", name, f"{registry.host}/team/app:2", f"{registry.host}/other:1")
    story.setpoint("image", "push", f"{registry.host}/team/app:2")
    assert "taken from other repositories" in story.setpoint("image", "push", f"{registry.host}/other:1")
    assert set(story.setpoint("image", "tags", f"{registry.host}/team/app").split()) == {"1", "2"}
    assert f"{registry.host}/team/app" in story.setpoint("image", "search", f"{registry.host}/app")
    listed = json.loads(story.setpoint("image", "search", f"{registry.host}/", "-o", "json"))
    assert {each["name"] for each in listed} == {f"{registry.host}/{path}" for path in ("team/app", "other")}
    assert story.setpoint("image", "search", f"{registry.host}/nothing-of-that").count("\n") == 1

    remote = json.loads(story.setpoint("image", "inspect", "--remote", name, "-o", "json"))
    assert (remote["digest"], remote["config_digest"]) == (here["digest"], here["id"])
    assert [each["digest"] for each in remote["layers"]] == [each["digest"] for each in here["layers"]]
    story.setpoint("image", "inspect", "--remote", f"{registry.host}/team/app:none", code=1)
    assert "there is no manifest 'none'" in story.said
    story.setpoint("image", "inspect", "--remote", name, "--platform", "linux/arm64", code=1)
    assert "linux/arm64" in story.said


def test_push_says_what_to_do(story: Story, registry: Registry) -> None:
    story.setpoint("image", "push", f"{registry.host}/not/here:1", code=1)
    assert "no such image here" in story.said
    identity = json.loads(story.setpoint("image", "inspect", first_name(story), "-o", "json"))["id"]
    story.setpoint("image", "push", identity, code=1)
    assert "push it by a name" in story.said


def test_inspect_and_history_of_what_is_here(story: Story) -> None:
    name = first_name(story)
    found = json.loads(story.setpoint("image", "inspect", name, "-o", "json"))
    assert found["names"] == [name] and found["config"]["os"] == "linux" and found["containers"] == []
    assert all(layer["is_kept"] and layer["size_bytes"] > 0 for layer in found["layers"])
    assert "media_type:" in story.setpoint("image", "inspect", name)
    steps = json.loads(story.setpoint("image", "history", name, "-o", "json"))
    assert sum(1 for step in steps if step["layer"]) == len(found["layers"])
    assert "STEP" in story.setpoint("image", "history", name)
    story.setpoint("image", "history", "no/such:1", code=1)
    assert "no such image here" in story.said


def test_rm_of_several_takes_those_that_can_go(story: Story) -> None:
    story.setpoint("image", "tag", first_name(story), "lab/one:1", "lab/two:1")
    out = story.setpoint("image", "rm", "lab/one:1", "lab/none:1", "lab/two:1", code=1)
    assert "removed lab/one:1" in out and "removed lab/two:1" in out
    assert "lab/none:1" in story.said
    assert "lab/" not in story.setpoint("image", "ls")
