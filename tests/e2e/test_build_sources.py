"""Where a build takes things from beside its context: repositories and files of servers, and the cache that
another machine left in a registry. Real ones, on loopback."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.own_story import own_story
from tests.e2e.story import Story, eventually
from tests.git_server import GitServer, served
from tests.registry import started

WEB = "shop/container/web"
SERVICE = """\
services:
  web:
    command: [sleep, "1007"]
    stop_signal: SIGKILL
    build: {context: ., FIELDS}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository: v1 is a tag, main has moved on since; and a file beside it."""
    place = tmp_path / "served"
    (place / "lab.git/web").mkdir(parents=True)
    (place / "lab.git/web/Dockerfile").write_text("FROM busybox\nCOPY said /said\n")
    git(place, "init", "-q", "-b", "main", ".")
    for text in ("one", "two"):
        (place / "lab.git/web/said").write_text(text)
        git(place, "add", "-A")
        git(place, "commit", "-qm", text)
        if text == "one":
            git(place, "tag", "v1")
    (place / "file").write_text("a file")
    return place


def git(place: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *who, "-C", place / "lab.git", *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[GitServer]:
    with served(folder, tmp_path / "certificate") as server:
        yield server


@pytest.fixture
def trusting(quiet_story: Story, busybox_archive: Path, server: GitServer) -> Story:
    """Its agent knows who signed the server's certificate."""
    quiet_story.environment["SSL_CERT_FILE"] = str(server.ca)
    quiet_story.start_agent()
    quiet_story.setpoint("image", "load", str(busybox_archive))
    return quiet_story


def commit(story: Story, dockerfile: str, fields: str = "network: host") -> None:
    story.commit({"shop/compose.yaml": SERVICE.replace("FIELDS", fields), "shop/Dockerfile": dockerfile})
    story.setpoint("sync")


def ready(story: Story, path: str) -> str:
    story.setpoint("sync", "--wait", "--timeout", "60s")
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    return story.setpoint("exec", WEB, "cat", path)


def failed(story: Story, said: str) -> None:
    eventually(lambda: said in story.setpoint("events", WEB), f"the build fails: {said}")


def test_a_repository_is_a_context(trusting: Story, server: GitServer) -> None:
    for fragment, text in (("#main:web", "two"), ("#v1:web", "one")):
        trusting.setpoint("image", "build", "-q", "-t", "lab/web:1", f"{server.url}/lab.git{fragment}")
        service = '{image: "lab/web:1", command: [sleep, "1008"], stop_signal: SIGKILL, labels: {x: TEXT}}'
        trusting.apply({"shop/compose.yaml": f"services: {{web: {service.replace('TEXT', text)}}}\n"})
        assert trusting.setpoint("exec", WEB, "cat", "/said") == text
    trusting.setpoint("image", "build", f"{server.url}/lab.git#nowhere", code=1)
    assert "it has no branch or tag nowhere" in trusting.said
    assert not list(trusting.layout.builds.glob("git-*"))


def test_a_repository_is_added(trusting: Story, server: GitServer, folder: Path) -> None:
    old = git(folder, "rev-parse", "v1")
    commit(trusting, f"FROM busybox\nADD {server.url}/lab.git#v1 /lab/\n")
    assert ready(trusting, "/lab/web/said") == "one"
    commit(trusting, f"FROM busybox\nADD --checksum={old} {server.url}/lab.git#v1:web /lab/\n")
    assert ready(trusting, "/lab/said") == "one"
    commit(trusting, f"FROM busybox\nADD --checksum={old} {server.url}/lab.git#main:web /lab/\n")
    failed(trusting, f"not {old}")
    assert trusting.setpoint("exec", WEB, "cat", "/lab/said") == "one"  # what ran, runs


def test_a_file_is_added_and_its_checksum_is_held_to(trusting: Story, server: GitServer) -> None:
    digest = f"sha256:{hashlib.sha256(b'a file').hexdigest()}"
    commit(trusting, f"FROM busybox\nADD --checksum={digest} {server.url}/file /srv/\n")
    assert ready(trusting, "/srv/file") == "a file"
    wrong = "sha256:" + "0" * 64
    commit(trusting, f"FROM busybox\nADD --checksum={wrong} {server.url}/file /other/\n")
    failed(trusting, f"it has the digest {digest}")
    assert trusting.setpoint("exec", WEB, "cat", "/srv/file") == "a file"


def test_d3_a_committed_dockerfile_reaches_no_server_of_this_machine(
    trusting: Story, server: GitServer
) -> None:
    for source in ("file", "lab.git#main"):
        commit(trusting, f"FROM busybox\nADD {server.url}/{source} /srv/\n", "network: default")
        eventually(lambda: "127.0.0.1 is this machine" in json.dumps(trusting.status()), "it is refused")
        trusting.commit({"shop/compose.yaml": None, "shop/Dockerfile": None})
        trusting.setpoint("sync", "--wait")
    assert server.asked == []


def test_a_cache_goes_by_a_registry_from_one_machine_to_another(
    busybox_archive: Path, tmp_path: Path
) -> None:
    """What one has run, the other does not: the time that the step wrote is the first one's."""
    dockerfile = "FROM busybox\nCOPY x /x\nRUN date +%s%N > /when\nRUN cat /x /when > /both\n"
    with started(tmp_path / "registry") as registry:
        settings = tmp_path / "registries.yaml"
        settings.write_text(registry.settings())
        cache = f"{registry.host}/lab/cache:1"
        when = []
        for name, fields in (
            ("one", f'cache_to: ["type=registry,ref={cache},mode=max"]'),
            ("two", f'cache_from: ["{registry.host}/no/such:1", "{cache}"]'),
        ):
            (tmp_path / name).mkdir()
            with own_story(tmp_path / name) as story:
                story.start_agent("--registries", str(settings))
                story.setpoint("image", "load", str(busybox_archive))
                story.apply({
                    "shop/compose.yaml": SERVICE.replace("FIELDS", fields),
                    "shop/Dockerfile": dockerfile,
                    "shop/x": "x\n",
                })  # fmt: skip
                when.append(story.setpoint("exec", WEB, "cat", "/both"))
                build = json.loads(story.setpoint("image", "builds", "-o", "json"))[0]
                assert (build["run"], build["cached"]) == ((3, 0) if name == "one" else (0, 3))
    assert when[0] == when[1] and when[0].startswith("x\n1")
