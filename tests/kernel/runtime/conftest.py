"""A container by hand: a busybox root of three layers, a config, and the launch path below the engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups, devices, security
from runtime.layout import Layout
from runtime.supervisor.exec_plan import plan_exec
from runtime.supervisor.launch import (
    ExecRequest,
    Launched,
    LaunchRequest,
    launch,
    launch_exec,
    receive,
)

BUSYBOX = Path("/bin/busybox")


@dataclass
class Run:
    """How one process went: its messages, its output and its exit status."""

    status: int
    output: str
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def error(self) -> str:
        for message in self.messages:
            if "error" in message:
                return f"{message['error']['op']} {message['error']['subject']}: {message['error']['reason']}"
        return ""


class Box:
    """One container: change `config` and `layer` (a layer of the image, over `base`, which all tests
    share), then `run` it to its end, or `start` it."""

    def __init__(self, place: Path, layout: Layout, base: Path) -> None:
        self.place, self.layout = place / "box", layout
        self.cgroup = f"/{layout.cgroup_parent}/box"
        for part in ("layer", "upper", "work"):
            (self.place / part).mkdir(parents=True)
        self.base, self.layer = base, self.place / "layer"
        self.config = base_config(self.place, base, self.cgroup)
        self.running: list[Launched] = []

    def launch(self, *argv: str, stdout: int = -1, **options: Any) -> Launched:
        if argv:
            self.config["process"]["args"] = list(argv)
        null = os.open("/dev/null", os.O_RDWR)
        try:
            out = null if stdout < 0 else stdout
            launched = launch(LaunchRequest(self.config, str(self.place), (null, out, out), **options))
        finally:
            os.close(null)
        self.running.append(launched)
        return launched

    def run(self, *argv: str, **options: Any) -> Run:
        """Run to the end; the output is what went to stdout and stderr."""
        reader, writer = os.pipe()
        try:
            launched = self.launch(*argv, stdout=writer, **options)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return self.collect(launched, reader)

    def start(self, *argv: str) -> Launched:
        """Start and return when the program runs."""
        launched = self.launch(*argv)
        for message in messages_of(launched):
            assert "error" not in message, message
        return launched

    def exec(self, launched: Launched, *argv: str, **process: Any) -> Run:
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        made = {**self.config["process"], **process, "args": list(argv)}
        try:
            child = launch_exec(
                ExecRequest(
                    launched.pid, launched.pidfd, plan_exec(self.config, made), (null, writer, writer)
                )
            )
        finally:
            os.close(null)
            os.close(writer)
        self.running.append(child)
        return self.collect(child, reader)

    def collect(self, launched: Launched, reader: int) -> Run:
        messages = messages_of(launched)
        output = b""
        with os.fdopen(reader, "rb") as file:
            output = file.read()
        found = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
        assert found is not None
        self.forget(launched)
        status = found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
        return Run(status, output.decode(errors="replace"), messages)

    def forget(self, launched: Launched) -> None:
        self.running.remove(launched)
        os.close(launched.pidfd)
        launched.channel.close()

    def end(self) -> None:
        cgroups.kill(self.cgroup)
        for launched in list(self.running):
            with suppress(ProcessLookupError):
                os.kill(launched.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
            self.forget(launched)
        cgroups.delete(self.cgroup)
        shutil.rmtree(self.place)


def messages_of(launched: Launched) -> list[Mapping[str, Any]]:
    found = []
    while (message := receive(launched.channel)) is not None:
        found.append(message.body)
        if message.descriptor >= 0:
            os.close(message.descriptor)
    return found


def make_busybox(root: Path, programs: Sequence[str] = ()) -> None:
    """A root with these of busybox's programs, or all."""
    for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev", "srv"):
        (root / name).mkdir()
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    listed = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout
    for name in programs or listed.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwheel:x:10:root,web\nweb:x:1001:\nvideo:x:44:\n")


def base_config(place: Path, base: Path, cgroup: str) -> dict[str, Any]:
    caps = list(security.DEFAULT_CAPABILITIES)
    layers = {
        "lower": [str(place / "layer"), str(base)],
        "upper": str(place / "upper"), "work": str(place / "work"),
    }  # fmt: skip
    return {
        "ociVersion": "1.2.0",
        "hostname": "box",
        "root": {"path": "rootfs"},
        "annotations": {"setpoint.rootfs": json.dumps(layers), "setpoint.groups": "[]"},
        "process": {
            "args": ["true"], "cwd": "/", "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0, "username": ""},
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "mounts": [
            mount("/proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "gid=5"),
            mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "cgroup", "network")],
            "cgroupsPath": cgroup,
            "resources": {
                "devices": devices.rules_to_oci([devices.Rule(False), *devices.DEFAULT_RULES]),
                "memory": {"limit": 1 << 28}, "pids": {"limit": 100},
            },
            "maskedPaths": list(security.MASKED_PATHS),
            "readonlyPaths": list(security.READ_ONLY_PATHS),
        },
    }  # fmt: skip


def mount(target: str, kind: str, *options: str, source: str = "") -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source or kind, "options": list(options)}


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with busybox, as a layer that nobody writes to."""
    root = tmp_path_factory.mktemp("busybox")
    make_busybox(root)
    return root


@pytest.fixture
def box(instance: Layout, tmp_path: Path, busybox: Path) -> Iterator[Box]:
    """A container on an instance's name of its own; whatever it started is ended."""
    made = Box(tmp_path, instance, busybox)
    yield made
    made.end()
    with suppress(Exception):
        cgroups.delete(f"/{instance.cgroup_parent}")
