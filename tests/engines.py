"""Other engines beside ours, each in directories of its own: docker (its daemon started by hand) and podman.

with dockerd(folder) as docker:        docker("load", "-i", archive).stdout
podman = podman_in(folder)             podman("images").stdout
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Engine = Callable[..., subprocess.CompletedProcess[str]]
HAS_DOCKER = shutil.which("dockerd") is not None and shutil.which("docker") is not None
HAS_PODMAN = shutil.which("podman") is not None
PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def dockerd(folder: Path) -> Iterator[Engine]:
    """A daemon without networks, ended with the block. The socket's path must be short (unix(7))."""
    folder.mkdir(parents=True, exist_ok=True)
    parent = f"docker-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    command = [
        "dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "-p", folder / "pid",
        "-H", f"unix://{folder}/sock", "--bridge", "none", "--iptables=false", "--ip6tables=false",
        "--ip-forward=false", "--ip-masq=false", "--experimental",  # which its checkpoints are
        "--cgroup-parent", f"/{parent}",  # so that two daemons do not take away each other's
    ]  # fmt: skip
    temporary = {**os.environ, "TMPDIR": str(folder)}  # of which its containerd leaves some
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=temporary)

    def docker(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**temporary, "DOCKER_HOST": f"unix://{folder}/sock", "DOCKER_CONFIG": str(folder)}
        return _run(["docker", *words], environment, check=check)

    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while docker("version", check=False).returncode:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.05)
        yield docker
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        # Of containers in the host's network it leaves one mounted, and on a busy machine its directory.
        for point in _mounts_below(folder):
            subprocess.run(["umount", "-q", point], check=False)
        for top in _cgroups(parent):
            _remove_empty(top)


def _mounts_below(folder: Path) -> list[str]:
    """The last made first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def _cgroups(name: str) -> list[Path]:
    """What dockerd makes at each hierarchy's top and leaves there."""
    hierarchies = Path("/sys/fs/cgroup")
    return [*hierarchies.glob(name), *hierarchies.glob(f"*/{name}")]


def _remove_empty(top: Path) -> None:
    for folder in sorted((each for each in top.rglob("*") if each.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    with contextlib.suppress(OSError):
        top.rmdir()


def podman_in(folder: Path) -> Engine:
    """podman with its storage below the folder; for images, so that nothing of it is mounted or runs."""
    options = [
        "podman", "--root", folder / "root", "--runroot", folder / "run", "--tmpdir", folder / "tmp",
        "--runtime", "runc", "--storage-driver", "vfs", "--log-level", "error",
    ]  # fmt: skip

    def podman(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        return _run([*options, *words], environment, check=check)

    return podman


def _run(
    command: list[str | Path], environment: dict[str, str], *, check: bool
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done
