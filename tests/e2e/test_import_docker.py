"""A Docker daemon's containers, networks, volumes and images come over: manifests, and what they hold."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.e2e.story import Story

pytestmark = pytest.mark.skipif(not engines.HAS_DOCKER, reason="no dockerd here: ops/test --with-peers")
HOLE = 64 << 20


@pytest.fixture
def docker_folder() -> Iterator[Path]:
    """Short, since there is a socket in it (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        yield Path(folder) / "d"


def test_all_of_it_runs_here_afterwards(story: Story, docker_folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    story.setpoint("image", "save", "busybox", "-o", archive)
    with engines.dockerd(docker_folder) as docker:
        docker("load", "-i", archive)
        docker("tag", "busybox", "lab/own:1")
        docker(
            "create", "--name", "web", "--network", "none", "-e", "PASSWORD=geheim", "-e", "MODE=a$b",
            "-v", "data:/data", "--memory", "64m", "--cgroup-parent", "/x", "--restart", "always",
            "lab/own:1", "sh", "-c", "cat /data/file; sleep 1000",
        )  # fmt: skip
        data = Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", "data").stdout.strip())
        _fill(data)
        host = f"unix://{docker_folder}/sock"
        shown = story.setpoint("import", "docker", "--host", host)
        assert "geheim" not in shown + story.said and "MODE: a$$b" in shown
        assert "# container web: left out: CgroupParent (/x)" in shown
        story.setpoint("import", "docker", "--host", host, "--to", story.tree, "--volumes", "--images")
        assert "CgroupParent" in story.said and "geheim" not in story.said
        story.setpoint("import", "docker", "nobody", "--host", host, code=1)
        assert "no such container" in story.said
        story.setpoint("import", "docker", "--host", host, "--to", story.tree, code=1)
        assert "there already" in story.said
        assert docker("ps", "-aq").stdout.count("\n") == 1, "the daemon is as it was"
    file = story.tree / "imported/compose.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert "PASSWORD: geheim" in text and "ensure: stopped" in text
    story.apply({"imported/compose.yaml": text.replace("    ensure: stopped\n", "")})
    assert story.setpoint("logs", "imported/web").strip().endswith("what it holds")
    _check(story.layout.data / "volumes/data/_data")


def _fill(data: Path) -> None:
    """Owners, modes, attributes, hard links, links and holes."""
    (data / "file").write_text("what it holds\n")
    os.chown(data / "file", 1234, 4321)
    (data / "file").chmod(0o640)
    os.setxattr(data / "file", "user.note", b"kept")
    os.link(data / "file", data / "same")
    (data / "away").symlink_to("/etc/passwd")
    (data / "inner").mkdir(mode=0o711)
    with (data / "inner/hole").open("wb") as file:
        file.truncate(HOLE)
        file.seek(HOLE // 2)
        file.write(b"middle")
    subprocess.run(["sync", data], check=True)


def _check(data: Path) -> None:
    found = (data / "file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777, found.st_nlink) == (1234, 4321, 0o640, 2)
    assert os.getxattr(data / "file", "user.note") == b"kept"
    assert (data / "same").stat().st_ino == found.st_ino
    assert (data / "away").readlink() == Path("/etc/passwd")
    assert (data / "inner").stat().st_mode & 0o777 == 0o711
    hole = (data / "inner/hole").stat()
    assert hole.st_size == HOLE and hole.st_blocks * 512 < HOLE // 4
    with (data / "inner/hole").open("rb") as file:
        file.seek(HOLE // 2)
        assert file.read(6) == b"middle"


def test_no_daemon_is_said(story: Story) -> None:
    story.setpoint("import", "docker", "--host", "unix:///nowhere.sock", code=1)
    assert "is the Docker daemon running?" in story.said
    story.setpoint("import", "docker", "--host", "tcp://10.0.0.1:2375", code=1)
    assert "not a socket on this host" in story.said
