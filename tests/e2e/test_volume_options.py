"""Volumes and networks with options, from a commit to the container and away again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import mount_table
from tests.e2e.project import BASE, Project
from tests.e2e.story import Story, eventually

COMPOSE = (
    BASE
    + """
services:
  web:
    <<: *base
    volumes: ["data:/data", "cache:/cache", "beside:/beside"]
    networks: [front]
    logging: {{driver: none}}
networks:
  front: {{driver_opts: {{com.docker.network.bridge.name: {link}}}}}
volumes:
  data: {{driver_opts: {{type: none, o: bind, device: {place}}}}}
  cache: {{driver_opts: {{type: tmpfs, device: tmpfs, o: "size=1m"}}}}
  beside: {{keep: false, driver_opts: {{type: none, o: "bind,ro", device: ./beside}}}}
"""
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    (made / "kept").write_text("kept")
    return made


@pytest.fixture
def project(request: pytest.FixtureRequest, shared_story: Story, place: Path) -> Iterator[Project]:
    link = f"t{shared_story.layout.instance[-8:]}v"
    found = Project(shared_story, request.node.originalname.split("_")[1])  # volumes outlive their manifest
    found.apply(COMPOSE.format(place=place, link=link), {"beside/note": "beside it"})
    yield found
    if (found.directory / "compose.yaml").exists():
        found.commit(None, {"beside/note": None})


def mounted(project: Project) -> set[str]:
    below = f"{project.story.layout.volumes}/"
    return {Path(point).parent.name for point in mount_table.points_below(below)}


def links() -> str:
    return subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout


def test_they_come_serve_and_go_and_nothing_of_the_host_goes_with_them(project: Project, place: Path) -> None:
    story = project.story
    link = f"t{story.layout.instance[-8:]}v"
    assert project.sh("web", "cat /data/kept /beside/note; echo new > /data/new; echo x > /cache/x") == (
        "keptbeside it"
    )
    project.sh("web", "touch /beside/x", code=1)
    names = {f"{project.name}_{name}" for name in ("data", "cache", "beside")}
    assert mounted(project) == names and f"{link} " in links()
    assert project.logs("web") == ""
    with story.without_agent():
        assert mounted(project) == names
    assert project.sh("web", "cat /cache/x") == "x\n", "memory is there as long as who uses it"
    project.commit(None, {"beside/note": None})
    eventually(lambda: not mounted(project) and f"{link} " not in links(), "all is unmounted")
    assert (place / "kept").read_text() == "kept" and (place / "new").read_text() == "new\n"
    eventually(
        lambda: not (story.layout.volumes / f"{project.name}_beside").exists(), "keep: false is removed"
    )
    assert (story.layout.volumes / f"{project.name}_data").is_dir()


def test_other_options_are_said_and_change_nothing(project: Project, place: Path) -> None:
    link = f"t{project.story.layout.instance[-8:]}v"
    (place.parent / "other").mkdir()
    project.commit(COMPOSE.format(place=place.parent / "other", link=link), {"beside/note": "beside it"})
    eventually(lambda: "has other driver_opts" in project.refresh()["volume/data"]["message"], "it is said")
    assert project.sh("web", "cat /data/kept") == "kept"
