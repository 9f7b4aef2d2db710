"""`setpoint image build` as people use it, and what a killed agent leaves of a build."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from agent.wire import PREFIX
from tests.e2e.story import PROGRAM, Story, eventually

DOCKERFILE = """\
FROM busybox AS base
ARG VERSION=0
COPY file /file
RUN echo "version $VERSION" > /version
FROM base AS test
RUN false
FROM base
RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length
"""


@pytest.fixture
def story_with_images(quiet_story: Story, busybox_archive: Path) -> Story:
    quiet_story.start_agent()
    quiet_story.setpoint("image", "load", str(busybox_archive))
    return quiet_story


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "file").write_text("content")
    return place


def build(
    story: Story, *words: str | Path, code: int = 0, stdin: bytes = b"", **more: str
) -> tuple[str, str]:
    done = subprocess.run(
        [PROGRAM, "image", "build", *map(str, words)], input=stdin, capture_output=True, cwd="/",
        env={**story.environment, **more}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def test_options_progress_and_history(story_with_images: Story, context: Path, tmp_path: Path) -> None:
    story = story_with_images
    (tmp_path / "token").write_text("five5")
    words = ["--build-arg", "VERSION=2", "--secret", f"id=token,src={tmp_path / 'token'}", "-t", "lab/app:1"]
    words += ["--label", "a=b", "--iidfile", str(tmp_path / "id"), "--progress", "plain"]
    said, shown = build(story, *words, context)
    image = (tmp_path / "id").read_text()
    assert said == f"built lab/app:1 {image[7:19]}\n" and "RUN false" not in shown
    assert '#3 [base 3/3] RUN echo "version $VERSION" > /version' in shown and "DONE" in shown
    found = json.loads(story.setpoint("image", "inspect", "-o", "json", "lab/app:1"))
    assert found["id"] == image and found["config"]["config"]["Labels"] == {"a": "b"}
    again, shown = build(story, *words, context)
    assert again == said and shown.count("CACHED") == 3 and "DONE" not in shown
    assert build(story, "-q", *words, context)[0] == f"{image}\n"
    builds = json.loads(story.setpoint("image", "builds", "-o", "json"))
    assert [each["state"] for each in builds] == ["done"] * 3 and builds[0]["run"] == 0
    assert "version $VERSION" in story.setpoint("image", "builds", builds[-1]["id"][:6])


def test_a_failed_build_says_where(story_with_images: Story, context: Path) -> None:
    _, shown = build(story_with_images, "--target", "test", context, code=1)
    assert "Dockerfile:6: RUN" in shown and "exit code 1" in shown
    _, shown = build(story_with_images, "--target", "nowhere", context, code=1)
    assert "nowhere" in shown
    (context / "Dockerfile").write_text("FROM busybox\nRUNN x\nCOPY\n")
    _, shown = build(story_with_images, context, code=1)
    assert "Dockerfile:2" in shown and "Dockerfile:3" in shown and "RUN" in shown


def test_contexts_from_stdin_and_dockerfiles_from_elsewhere(
    story_with_images: Story, context: Path, tmp_path: Path
) -> None:
    story = story_with_images
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(context, ".")
    said, _ = build(story, "-t", "lab/tar:1", "--target", "base", "-", stdin=buffer.getvalue())
    assert said.startswith("built lab/tar:1")
    other = tmp_path / "Other"
    other.write_text("FROM scratch\nCOPY file /other\n")
    build(story, "-t", "lab/other:1", "-f", other, context)
    build(story, "-t", "lab/stdin:1", "-f", "-", context, stdin=b"FROM scratch\nCOPY file /stdin\n")
    names = story.setpoint("image", "ls")
    assert "lab/other:1" in names and "lab/stdin:1" in names


def test_the_same_digest_twice(story_with_images: Story, context: Path) -> None:
    words = ("--no-cache", "-q", "--target", "base", context)
    first, _ = build(story_with_images, *words, SOURCE_DATE_EPOCH="1600000000")
    os.utime(context / "file", (1_700_000_000, 1_700_000_000))
    assert build(story_with_images, *words, SOURCE_DATE_EPOCH="1600000000")[0] == first


def test_a_killed_agent_leaves_nothing_of_a_build(story_with_images: Story, context: Path) -> None:
    story = story_with_images
    (context / "Dockerfile").write_text(
        'FROM busybox\nRUN --mount=type=secret,id=t,env=T test -n "$T" && echo begun && sleep 1000\n'
    )
    words = [PROGRAM, "image", "build", "--secret", "id=t,env=TOKEN", str(context)]
    environment = {**story.environment, "TOKEN": "canary-of-a-killed-build"}
    building = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(lambda: "running" in story.setpoint("image", "builds"), "the build runs")
        eventually(lambda: list(story.layout.containers.glob("*/log/log")), "its step runs")
        story.kill(story.agent_pid())
        assert building.wait(60) == 1
    finally:
        building.kill()
        building.communicate()
    kept = [path for path in story.layout.data.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"canary-of-a-killed" in path.read_bytes()]
    story.start_agent()
    eventually(lambda: not list(story.layout.containers.iterdir()), "the step is removed")
    assert "broken off" in story.setpoint("image", "builds")
    eventually(lambda: story.setpoint("doctor", "--leaks", code=None).count("leaked") < 2, "nothing leaks")
    assert not list(story.layout.run_builds.glob("*"))
    build(story, "--target", "base", "-f", "-", context, stdin=DOCKERFILE.encode())


AS_NOBODY = """\
import http.client, os, socket, sys
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
connection = http.client.HTTPConnection("setpoint")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("POST", sys.argv[2], sys.stdin.read())
print(connection.getresponse().read().decode())
"""


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"context_kind": "directory", "context": "/etc"}, "only root may name a directory"),
        ({"contexts": {"etc": ["directory", "/etc"]}}, "only root may name a directory"),
        ({"contexts": {"etc": ["tar", "/etc/shadow"]}}, "only root may name a directory"),
        ({"ssh": {"default": "/run/agent.sock"}}, "only root may name a socket"),
        ({"network": "host"}, "only root may build in the host"),
        ({"contexts": {"base": ["image", "busybox"]}}, '"images"'),
    ],
)
def test_d4_who_is_not_root_names_nothing_of_this_host(
    story_with_images: Story, order: dict[str, object], said: str
) -> None:
    """Somebody whom the socket is open to: the agent reads as root what an order names."""
    socket = story_with_images.layout.agent_socket
    socket.chmod(0o666)
    body = json.dumps({"dockerfile_text": "FROM busybox\n", **order}) + "\n"
    words = [sys.executable, "-c", AS_NOBODY, socket.name, f"{PREFIX}/image/build"]
    done = subprocess.run(words, cwd=socket.parent, input=body, capture_output=True, text=True, check=True)
    assert said in done.stdout
