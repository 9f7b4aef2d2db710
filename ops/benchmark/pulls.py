"""A pull of a large image from a registry on loopback, by each engine that is installed.

    big_image ─> docker-registry ─> [engine, store on a file system of its own] ...        medians, ratios

Each pull has a new, empty store on a new ext4 of its own: on one file system, ext4 steps over inodes that
another pull's removal freed minutes before, and what is measured is that. Setpoint's pull is durable when
it returns; the others leave that to the kernel.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from big_image import make_image
from measure import median, run, timed, until
from sizes import Sizes

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench/big:1"
_SIZE = "8G"  # of a store's file system; sparse
_PULL = """import sys, time
from pathlib import Path
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
host, name, store = sys.argv[1:]
images = IsolatedImages(Layout("bench", Path(store, "data"), Path(store, "run")))
began = time.perf_counter()
images.pull(f"{host}/{name}", [Origin(Endpoint(host, is_insecure=True))])
print(time.perf_counter() - began)
"""


def measure_pulls(
    scratch: Path, names: Sequence[str], runs: int, sizes: Sizes, note: Callable[[str], None]
) -> dict[str, float]:
    """Seconds for each engine of `names`, in turn so that all see the same machine."""
    if not shutil.which("docker-registry"):
        note("pull: no docker-registry here, left out")
        return {}
    sys.path.insert(0, str(ROOT))
    from tests.registry import started  # what starts one for the tests

    note("pull: making an image")
    image = make_image(scratch / "image", sizes.pull_files, sizes.pull_bytes)
    found: dict[str, list[float]] = {name: [] for name in names}
    with started(scratch / "registry") as registry:
        registry.put(f"oci:{image}", NAME)
        for run_number in range(runs):
            for name in names:
                with _store(scratch / f"{name}-{run_number}") as store:
                    found[name].append(_PULLS[name](registry.host, store))
                note(f"{name}: run {run_number + 1}: pulled in {found[name][-1]:.2f} s")
    return {name: median(seconds) for name, seconds in found.items()}


@contextmanager
def _store(folder: Path) -> Iterator[Path]:
    """A new file system, gone with all in it at the end."""
    folder.mkdir()
    disk = folder.with_suffix(".ext4")
    run("truncate", "-s", _SIZE, disk)
    run("mkfs.ext4", "-q", "-F", disk)
    # noinit_itable: no thread writes inode tables beside the pull. direct: no second copy in memory.
    device = run("losetup", "--direct-io=on", "--find", "--show", disk).strip()
    try:
        run("mount", "-o", "noinit_itable", device, folder)
        os.sync()
        yield folder
    finally:
        run("umount", "--recursive", folder, check=False)
        run("losetup", "--detach", device)
        disk.unlink()


def _setpoint(host: str, store: Path) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return float(run(sys.executable, "-c", _PULL, host, NAME, store, env=environment))


def _docker(host: str, store: Path) -> float:
    """A dockerd of its own, whose start is not counted."""
    socket = f"unix://{store}/docker.sock"
    with (store / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", store / "data", "--exec-root", store / "exec",
             "--pidfile", store / "pid", "-H", socket, "--bridge", "none",
             "--iptables=false", "--ip6tables=false", "--insecure-registry", host],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        asked = ("docker", "-H", socket, "version", "-f", "{{.Server.Version}}")
        until(lambda: run(*asked, check=False).strip(), 60, "dockerd answers", 0.1)
        return timed(lambda: run("docker", "-H", socket, "pull", "-q", f"{host}/{NAME}"))
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def _podman(host: str, store: Path) -> float:
    places = ("--root", store / "data", "--runroot", store / "run")
    return timed(lambda: run("podman", *places, "pull", "-q", "--tls-verify=false", f"{host}/{NAME}"))


_PULLS = {"setpoint": _setpoint, "docker": _docker, "podman": _podman}
