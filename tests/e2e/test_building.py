"""A commit changes what an image is built of: it is built, and rolls out. A failed build changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually

SHOP = """\
services:
  web:
    build: {context: ./web, args: {VERSION: "{version}"}}
    image: shop/web:dev
    command: [sleep, "1004"]
    stop_signal: SIGKILL
"""
DOCKERFILE = """\
FROM busybox
ARG VERSION
COPY index /srv/
RUN echo "$VERSION" > /srv/version
"""
WEB = "shop/container/web"


@pytest.fixture
def building_story(quiet_story: Story, busybox_archive: Path) -> Story:
    quiet_story.start_agent()
    quiet_story.setpoint("image", "load", str(busybox_archive))
    return quiet_story


def files(version: str = "1", index: str = "one", dockerfile: str = DOCKERFILE) -> dict[str, str | None]:
    return {
        "shop/compose.yaml": SHOP.replace("{version}", version),
        "shop/web/Dockerfile": dockerfile,
        "shop/web/index": index,
    }


def seen(story: Story, code: int | None = 0) -> str:
    """code: None while it may be rolling."""
    return story.setpoint("exec", WEB, "cat", "/srv/index", "/srv/version", code=code)


def test_what_is_committed_is_built_rolled_out_and_rolled_again(building_story: Story) -> None:
    story = building_story
    story.apply(files())
    assert seen(story) == "one1\n"
    first = story.pid(WEB, 0)
    story.apply(files(index="two"))
    assert seen(story) == "two1\n" and story.pid(WEB, 0) != first
    story.apply(files(index="two", version="2"))
    assert seen(story) == "two2\n"
    assert "shop/web:dev" in story.setpoint("image", "ls")
    told = story.setpoint("events", WEB)
    assert told.count("ImageBuilt") == 3 and "another image now" in told
    second = story.pid(WEB, 0)
    story.apply({**files(index="two", version="2"), "shop/notes.txt": "of no build"})
    assert story.pid(WEB, 0) == second


def test_a_build_that_fails_leaves_what_runs(building_story: Story) -> None:
    story = building_story
    story.apply(files())
    pid = story.pid(WEB, 0)
    story.commit(files(dockerfile=DOCKERFILE + "RUN echo told; exit 7\n"))
    story.setpoint("sync")
    eventually(lambda: "BuildFailed" in story.setpoint("events", WEB), "the build failed")
    found = story.object(WEB)
    assert found is not None
    assert "Dockerfile:5: RUN" in found["message"] and "exit code 7" in found["message"]
    assert story.pid(WEB, 0) == pid and seen(story) == "one1\n"
    assert "failed" in story.setpoint("image", "builds")
    story.apply(files())
    assert story.pid(WEB, 0) == pid


def test_a_plan_of_other_files_builds_nothing_that_is_built(building_story: Story, tmp_path: Path) -> None:
    story = building_story
    story.apply(files())
    other = tmp_path / "other"
    (other / "shop").mkdir(parents=True)
    (other / "shop/compose.yaml").write_text(SHOP.replace("{version}", "1"))
    assert "build" not in story.setpoint("plan", other)
    (other / "shop/compose.yaml").write_text(SHOP.replace("{version}", "2"))
    assert "build shop/container/web: its image is not built" in story.setpoint("plan", other, code=2)


@pytest.fixture
def plain_story(quiet_story: Story, busybox_archive: Path, tmp_path: Path) -> Story:
    """It follows a plain directory: what is saved there is what is wanted."""
    quiet_story.tree = tmp_path / "plain"
    quiet_story.tree.mkdir()
    quiet_story.start_agent()
    quiet_story.setpoint("image", "load", str(busybox_archive))
    return quiet_story


def save(story: Story, found: dict[str, str]) -> None:
    for name, text in found.items():
        path = story.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def builds(story: Story) -> int:
    return len(json.loads(story.setpoint("image", "builds", "-o", "json")))


def test_what_is_saved_in_a_plain_directory_is_built_and_what_is_ignored_is_not(plain_story: Story) -> None:
    story = plain_story
    save(story, {"shop/web/.dockerignore": "*.log\n"})
    save(story, {name: text for name, text in files().items() if text})
    story.setpoint("sync", "--wait", "--timeout", "60s")
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    assert seen(story) == "one1\n"
    first = story.pid(WEB, 0)
    save(story, {"shop/web/index": "two"})  # nobody says sync
    eventually(lambda: seen(story, code=None) == "two1\n", "it rolled")
    story.setpoint("wait", "--for", "ready")
    assert story.pid(WEB, 0) != first
    second, count = story.pid(WEB, 0), builds(story)
    save(story, {"shop/web/a.log": "ignored", "shop/notes": "of no build"})
    story.setpoint("sync", "--wait")
    assert story.pid(WEB, 0) == second and builds(story) == count
    # The same content, saved again: built of the cache, and nothing rolls.
    save(story, {"shop/web/index": "two"})
    eventually(lambda: builds(story) > count, "it is looked at")
    story.setpoint("wait", "--for", "ready")
    assert story.pid(WEB, 0) == second
    save(story, {"shop/web/Dockerfile": DOCKERFILE + "RUN echo more >> /srv/version\n"})
    eventually(lambda: seen(story, code=None) == "two1\nmore\n", "it rolled again")


def test_d4_no_link_leads_a_context_out_of_a_plain_directory(plain_story: Story, tmp_path: Path) -> None:
    story = plain_story
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "index").write_text("of the host")
    save(story, {"shop/compose.yaml": SHOP.replace("{version}", "1")})
    (story.tree / "shop/web").symlink_to(tmp_path / "outside")
    save(story, {"shop/notes.env": "A=1"})
    story.setpoint("sync")
    eventually(lambda: "BuildFailed" in story.setpoint("events", WEB), "the build failed")
    found = story.object(WEB)
    assert found is not None and "a link leads out of the directory of the manifests" in found["message"]
