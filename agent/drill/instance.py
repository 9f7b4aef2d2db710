"""The throw-away instance of a drill: its own agent, supervisor, table, bridges and directories.

Nothing of the instance that somebody works with is touched, and what a killed drill left behind is found
by its name: by the next drill, and by `setpoint down`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from agent.cli.agent import stop_agent
from agent.client import Client
from agent.drill import image
from agent.reconcile.convert import sandbox_id
from runtime.cleanup import remove_instance
from runtime.errors import Conflict, Temporary
from runtime.layout import Layout, drill_layout
from runtime.network import bridges
from store.records import Key

PROJECT = "drill"
CONTAINERS = ("one", "two", "three", "four")
READY_SECONDS = 120.0

_MANIFEST = """\
x-sleeper: &sleeper
  image: {image}
  pull_policy: never
  command: [{program}]
  stop_signal: SIGKILL
  restart: always
  mem_limit: 64m
  pids_limit: 32
services:
{services}volumes:
{volumes}networks:
  far: {{{far}}}
"""
_SERVICE = """\
  {name}:
    <<: *sleeper
    networks: [{network}]
    ports: ["127.0.0.1:{port}:80"]
    volumes: ["{name}:/data"]
"""


def end_left_over(instance: str) -> bool:
    """Remove what a killed drill has left; False when there is nothing, or a drill runs."""
    layout = drill_layout(instance)
    try:
        with _lock(layout):
            return remove(layout)
    except Conflict:
        return False


class DrillInstance:
    """An open one, with its project running. Addresses containers by their service's name."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.client = Client(layout.agent_socket)

    # --- looking

    def object(self, name: str, kind: str = "container") -> dict[str, Any]:
        key = f"{PROJECT}/{kind}/{name}"
        return next(one for one in self.client.status()["objects"] if one["key"] == key)

    def container(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.object(name)["containers"][0]
        return found

    def sandbox(self, name: str) -> str:
        return sandbox_id(self.layout.instance, Key(PROJECT, "container", name), 1)

    def is_ready(self) -> bool:
        return bool(self.client.status()["ready"])

    def pids(self) -> dict[str, int]:
        """service -> the process of its container."""
        objects = {one["key"].rpartition("/")[2]: one for one in self.client.objects("container")}
        return {
            name: int(one["containers"][0].get("pid") or 0)
            for name, one in objects.items()
            if one["containers"]
        }

    def repairs_since(self, at: float) -> list[dict[str, Any]]:
        found = self.client.events(since=at, limit=100)
        return [event for event in found if event["reason"] == "DriftRepaired"]


def manifest(ports: list[int]) -> str:
    """The project. Several containers, so that one repair does not count as another's repetition."""
    networks = ("default", "default", "far", "far")
    services = (
        _SERVICE.format(name=name, network=network, port=port)
        for name, network, port in zip(CONTAINERS, networks, ports, strict=True)
    )
    volumes = "".join(f"  {name}: {{}}\n" for name in CONTAINERS)
    # Not where nobody has it: a network with it has the host pass packets on.
    far = "enable_ipv6: true" if bridges.is_forwarding6() else ""
    return _MANIFEST.format(
        image=image.NAME, program=image.PROGRAM, services="".join(services), volumes=volumes, far=far
    )


@contextlib.contextmanager
def opened(layout: Layout, *, keep: bool) -> Iterator[DrillInstance]:
    """The instance, up, from what it takes to make it to its end, whatever happens in between."""
    with _lock(layout):
        remove(layout)
        try:
            yield _start(layout)
        finally:
            if not keep:
                remove(layout)


@contextlib.contextmanager
def _lock(layout: Layout) -> Iterator[None]:
    path = f"/run/{layout.instance}.lock"
    descriptor = _locked(layout, path)
    try:
        yield
    finally:  # also of who is interrupted
        os.unlink(path)  # noqa: PTH108
        os.close(descriptor)


def _locked(layout: Layout, path: str) -> int:
    """A descriptor of the file that is there: who had the lock before may have taken it away meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):  # noqa: PTH116
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict("drill", layout.instance, "another drill runs", "wait for its end") from None
        os.close(descriptor)


def remove(layout: Layout) -> bool:
    """End and remove the instance; whether there was anything of it."""
    if not layout.data.exists() and not layout.run.exists():
        return False
    stop_agent(layout.instance)
    remove_instance(layout, with_data=True)
    return True


def _start(layout: Layout) -> DrillInstance:
    layout.volumes.mkdir(mode=0o701, parents=True)  # by which a half-made instance is known as one of ours
    tree = layout.data / "manifests" / PROJECT
    tree.mkdir(mode=0o700, parents=True)
    words = ["agent", "--detach", "--watch", str(tree.parent), "--metrics", ""]
    program = [sys.executable, "-I", "-m", "agent.cli", "--instance", layout.instance]
    done = subprocess.run(
        [*program, *words], capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode:
        raise Temporary("drill", layout.instance, done.stderr.strip().removeprefix("error: "))
    found = DrillInstance(layout)
    list(found.client.import_image(io.BytesIO(image.archive()), image.NAME))
    # Only now: nobody is to look for that image anywhere else.
    (tree / "compose.yaml").write_text(manifest(_free_ports(len(CONTAINERS))))
    found.client.sync(wait=True, timeout_seconds=READY_SECONDS)
    found.client.wait(timeout_seconds=READY_SECONDS)
    return found


def _free_ports(count: int) -> list[int]:
    import socket

    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until(what: Any, seconds: float) -> float | None:
    """How long it took until `what()` was true; None when it did not become so."""
    started = time.monotonic()
    while not what():
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.002)
    return time.monotonic() - started
