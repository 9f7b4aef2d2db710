"""A Docker daemon's containers, networks, volumes and images come over: manifests, and what they hold."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.e2e.story import Story

pytestmark = pytest.mark.skipif(not engines.HAS_DOCKER, reason="no dockerd here: ops/test --with-peers")
HOLE = 64 << 20
# Of cap_net_raw, in the form of version 2: capabilities(7).
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


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
        assert "warning: volume data: the device null is left out: a volume is data" in story.said
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
    os.mkfifo(data / "fifo")
    (data / "fifo").chmod(0o622)
    os.mknod(data / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "socket"))
    (data / "program").write_text("#!/bin/sh\n")
    (data / "program").chmod(0o4755)
    os.setxattr(data / "program", "security.capability", CAPABILITY)
    (data / "shared").mkdir()
    (data / "shared").chmod(0o3777)
    os.symlink("nowhere", os.fsencode(data) + b"/odd \n\xff name")
    os.chown(os.fsencode(data) + b"/odd \n\xff name", 7, 8, follow_symlinks=False)
    os.utime(data / "inner", ns=(1, 1_500_000_000_123_456_789))
    data.chmod(0o2750)
    os.chown(data, 999, 998)
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
    fifo = (data / "fifo").stat()
    assert stat.S_ISFIFO(fifo.st_mode) and stat.S_IMODE(fifo.st_mode) == 0o622
    assert not (data / "null").exists() and not (data / "socket").exists()
    assert stat.S_IMODE((data / "program").stat().st_mode) == 0o4755
    assert os.getxattr(data / "program", "security.capability") == CAPABILITY
    assert stat.S_IMODE((data / "shared").stat().st_mode) == 0o3777
    odd = os.fsencode(data) + b"/odd \n\xff name"
    link = os.lstat(odd)
    assert os.readlink(odd) == b"nowhere" and (link.st_uid, link.st_gid) == (7, 8)
    assert (data / "inner").stat().st_mtime_ns == 1_500_000_000_123_456_789
    top = data.stat()
    assert (top.st_uid, top.st_gid, stat.S_IMODE(top.st_mode)) == (999, 998, 0o2750)


def test_no_daemon_is_said(story: Story) -> None:
    story.setpoint("import", "docker", "--host", "unix:///nowhere.sock", code=1)
    assert "is the Docker daemon running?" in story.said
    story.setpoint("import", "docker", "--host", "tcp://10.0.0.1:2375", code=1)
    assert "not a socket on this host" in story.said


def test_volumes_that_lie_elsewhere_and_what_the_daemon_adds(
    story: Story, docker_folder: Path, tmp_path: Path
) -> None:
    """Data that a volume's options have mounted stays where it is; no name of the host's is asked for."""
    archive, place = tmp_path / "busybox.tar", tmp_path / "place"
    place.mkdir()
    (place / "file").write_text("elsewhere\n")
    story.setpoint("image", "save", "busybox", "-o", archive)
    with engines.dockerd(docker_folder) as docker:
        docker("load", "-i", archive)
        for name, options in (
            ("bound", ("type=none", "o=bind", f"device={place}")),
            ("memory", ("type=tmpfs", "o=size=1m,uid=1000", "device=tmpfs")),
        ):
            docker("volume", "create", *(word for each in options for word in ("-o", each)), name)
        docker(
            "run", "-d", "--name", "far", "--network", "host",
            "-v", "bound:/bound", "-v", "memory:/memory:nocopy",
            "--memory-swappiness", "0", "--stop-signal", "KILL", "--init", "--sysctl", "kernel.msgmax=9000",
            "--health-cmd", "echo $A", "--health-start-interval", "2s", "--health-start-period", "9s",
            "--ulimit", "nofile=100:200", "--tmpfs", "/run:size=1m,noexec", "--log-driver", "none",
            "--label", "a.b/c=$c", "-e", "LINES=one\ntwo=2 # $X", "--add-host", "db:10.0.0.9",
            "--mount", "type=volume,target=/nameless", "busybox", "sh", "-c", "cat /bound/file; sleep 1000",
        )  # fmt: skip
        host = f"unix://{docker_folder}/sock"
        story.setpoint("import", "docker", "--host", host, "--to", story.tree, "--volumes")
        assert "left out" not in story.said and "otherwise" not in story.said
    text = (story.tree / "imported/compose.yaml").read_text()
    for words in (
        "network_mode: host", f"device: {place}", "mem_swappiness: 0", "stop_signal: KILL", "init: true",
        "kernel.msgmax: \"9000\"", "echo $$A", "start_interval: 2s", "size=1m", "driver: none", "a.b/c: $$c",
        "LINES: |-\n        one\n        two=2 # $$X\n", "db:10.0.0.9", "memory:/memory:nocopy",
    ):  # fmt: skip
        assert words in text, text
    story.apply({"imported/compose.yaml": text})
    assert "elsewhere" in story.setpoint("exec", "imported/far", "cat", "/bound/file")
    assert (place / "file").read_text() == "elsewhere\n"
    assert "size=1024k" in story.setpoint("exec", "imported/far", "grep", "/memory", "/proc/mounts")
    assert story.setpoint("exec", "imported/far", "sh", "-c", 'echo "$LINES"') == "one\ntwo=2 # $X\n"
    assert story.setpoint("plan").strip() == "nothing to do"
    assert all(each["ready"] and not each["message"] for each in story.status()["objects"])
