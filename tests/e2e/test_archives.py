"""Images and containers as archives, out and in again, by the command line of a running agent."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.story import PROGRAM, Story, eventually, is_alive
from tests.unit.images import craft

COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "echo hi >/made; rm /bin/vi; echo v >/data/v; exec sleep 1004"]
    environment: {PASSWORD: canary-secret}
    volumes: [data:/data]
    stop_signal: SIGKILL
volumes: {data: {}}
"""
FROM = 'services:\n  web: {image: "lab/web:1", stop_signal: SIGKILL}\n'


@pytest.fixture
def web(story: Story) -> Story:
    story.apply({"shop/compose.yaml": COMPOSE})
    eventually(lambda: "A /made" in story.setpoint("diff", "shop/web"), "it has changed its files")
    return story


def test_a_container_goes_out_and_comes_in_again(web: Story, tmp_path: Path) -> None:
    assert web.setpoint("diff", "shop/web").split("\n")[:3] == ["C /bin", "D /bin/vi", "A /data"]
    web.setpoint("export", "shop/web", "-o", tmp_path / "root.tar")
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = archive.getnames()
    assert "made" in names
    assert "data" in names
    assert not {"data/v", "bin/vi"} & set(names)
    text = web.setpoint("image", "import", tmp_path / "root.tar", "lab/web:1", "--change", "CMD sleep 1005")
    assert text == "loaded lab/web:1\n"
    web.apply({"lab/compose.yaml": FROM})
    assert web.setpoint("exec", "lab/web", "cat", "/made") == "hi\n"


def test_an_image_of_a_container_runs_here_and_moves_no_name(web: Story, tmp_path: Path) -> None:
    pid = web.pid("shop/container/web")
    change = "CMD cat /made; exec sleep 1005"
    web.setpoint("commit", "shop/web", "lab/web:1", "--change", change, "-m", "as it is")
    assert "as it is" in web.setpoint("image", "history", "lab/web:1")
    assert web.pid("shop/container/web") == pid
    web.setpoint("commit", "shop/web", "busybox", code=1)
    assert "busybox:latest: it is another image here" in web.said
    assert "--force" in web.said
    web.apply({"lab/compose.yaml": FROM})
    eventually(lambda: "hi" in web.setpoint("logs", "lab/web"), "it prints what was made")
    # What the manifest gives a container stays out of its image.
    web.setpoint("image", "save", "lab/web:1", "-o", tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        documents = [archive.extractfile(member) for member in archive if member.size < 10_000]
        assert not any(b"canary-secret" in file.read() for file in documents if file)
    web.setpoint("exec", "shop/web", "sh", "-c", "echo other >/made")
    web.setpoint("commit", "shop/web", "lab/web:1", code=1)
    assert web.setpoint("commit", "shop/web", "lab/web:1", "--force") == "committed lab/web:1\n"


def test_images_go_out_and_come_in_again(web: Story, tmp_path: Path) -> None:
    web.setpoint("commit", "shop/web", "lab/web:1")
    both = tmp_path / "both.tar"
    web.setpoint("image", "save", "lab/web:1", "busybox", "-o", both)
    with subprocess.Popen(
        [PROGRAM, "image", "save", "busybox", "lab/web:1", "-o", "-"],
        env=web.environment, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read() == both.read_bytes()  # the same bytes, in whatever order they are named
    web.setpoint("image", "save", "lab/web:1", "--format", "oci-layout", "-o", tmp_path / "layout")
    inside = f"oci:{tmp_path}/layout:docker.io/lab/web:1"
    subprocess.run(["skopeo", "inspect", "--raw", inside], check=True, capture_output=True)
    identity = web.setpoint("image", "ls", "-q", "lab/web:1")
    web.setpoint("image", "rm", "lab/web:1")
    assert web.setpoint("image", "load", tmp_path / "layout") == "loaded lab/web:1\n"
    assert web.setpoint("image", "ls", "-q", "lab/web:1") == identity
    web.setpoint("image", "rm", "lab/web:1")
    with both.open("rb") as file:
        done = subprocess.run(
            [PROGRAM, "image", "load", "-"], stdin=file, env=web.environment, capture_output=True, text=True
        )
    assert sorted(done.stdout.splitlines()) == ["loaded busybox:latest", "loaded lab/web:1"], done.stderr


def test_another_form_of_what_runs_leaves_nothing_of_the_old(web: Story, tmp_path: Path) -> None:
    """Its layers may be packed otherwise."""
    layer = web.setpoint("image", "inspect", "busybox", "-o", "json")
    web.setpoint("image", "save", "busybox", "-o", tmp_path / "saved.tar")
    packed = repacked(tmp_path / "saved.tar", tmp_path / "repacked.tar")
    pid = web.pid("shop/container/web")
    for archive in (packed, tmp_path / "saved.tar", packed):
        web.setpoint("image", "load", archive)
        assert "nothing is lost" in web.setpoint("doctor", "--leaks")
    assert web.setpoint("image", "inspect", "busybox", "-o", "json") != layer
    assert web.pid("shop/container/web") == pid
    web.setpoint("image", "save", "busybox", "-o", tmp_path / "again.tar")


def repacked(saved: Path, target: Path) -> Path:
    """The same image in the form of older tools, its layer packed by gzip at its fastest."""
    with tarfile.open(saved) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        [entry] = json.loads(read("manifest.json"))
        layers = [read(name) for name in entry["Layers"]]
        plain = [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in layers]
        config = read(entry["Config"])
    names = [f"{number}/layer.tar" for number in range(len(plain))]
    listing = [{"Config": "config.json", "RepoTags": entry["RepoTags"], "Layers": names}]
    packed = [gzip.compress(each, 1) for each in plain]
    members = {"config.json": config, "manifest.json": json.dumps(listing).encode()}
    return craft.write_tar(target, {**members, **dict(zip(names, packed, strict=True))})


def test_an_agent_killed_in_a_commit_leaves_nobody_paused(web: Story) -> None:
    """However far it had come, the container runs on under the next agent."""
    web.setpoint("exec", "shop/web", "sh", "-c", "head -c 60000000 /dev/urandom >/large")
    pid, agent = web.pid("shop/container/web"), web.agent_pid()
    with subprocess.Popen(
        [PROGRAM, "commit", "shop/web", "lab/web:1"], env=web.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        paused = web.layout.run_containers
        eventually(lambda: list(paused.glob("*/paused-for-commit")), "it is paused")
        os.kill(agent, signal.SIGKILL)
        process.wait()
    web.start_agent()
    eventually(lambda: web.setpoint("exec", "shop/web", "echo", "on", code=None) == "on\n", "it runs on")
    assert is_alive(pid)
    assert not list(paused.glob("*/paused-for-commit"))
    assert web.setpoint("commit", "shop/web", "lab/web:1") == "committed lab/web:1\n"
    eventually(lambda: "nothing is lost" in web.setpoint("doctor", "--leaks", code=None), "nothing is left")
