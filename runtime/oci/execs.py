"""exec, ps, pause, resume, update: what `oci` does to a container that runs.

Called by `agent.cli.oci`. Raises runtime.errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import cgroups, seccomp
from runtime.errors import Invalid
from runtime.oci import lifecycle, records, terminals
from runtime.supervisor.exec_plan import plan_exec
from runtime.supervisor.launch import ExecRequest, Launched, launch_exec, receive, to_error


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """The options of exec that are not part of the process object."""

    console_socket: str = ""
    pid_file: str = ""
    detach: bool = False
    preserve_fds: int = 0


def run(root: Path, id: str, process: Mapping[str, Any], options: ExecOptions) -> int:
    """Run a further process in a container. Returns its exit status, 0 when detached."""
    record = records.read(root, id)
    if records.status(root, record) != "running":
        raise records.not_running(id)
    config = records.read_config(root, id)
    profile = (config.get("linux") or {}).get("seccomp")
    plan = plan_exec(config, process, seccomp.compile_profile(profile) if profile else None)
    pidfd = records.open_process(record)
    try:
        launched = launch_exec(ExecRequest(record.pid, pidfd, plan, keep_descriptors=options.preserve_fds))
    finally:
        os.close(pidfd)
    master = _await_program(launched, options)
    if options.pid_file:
        records.write_atomically(Path(options.pid_file), str(launched.pid))
    if options.detach:
        return 0
    if master >= 0:
        terminals.relay(master, launched.pidfd)
    return lifecycle.wait(launched)


def _await_program(launched: Launched, options: ExecOptions) -> int:
    master = -1
    while (message := receive(launched.channel)) is not None:
        if "error" in message.body:
            lifecycle.wait(launched)
            raise to_error(message.body["error"])
        if "console" in message.body and options.console_socket:
            terminals.hand_over(options.console_socket, message.descriptor)
        elif "console" in message.body:
            master = message.descriptor
    return master


def merge_process(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The container's own process object with what an exec changes. Pure. env is added to."""
    process = dict(config.get("process") or {})
    process.pop("terminal", None)
    process.pop("consoleSize", None)
    environment = [*(process.get("env") or ()), *(changes.get("env") or ())]
    return {**process, **changes, "env": environment}


def add_capabilities(process: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A process object with further capabilities in its sets. Pure."""
    sets = {key: list(value) for key, value in (process.get("capabilities") or {}).items()}
    for key in ("bounding", "effective", "permitted"):
        sets[key] = sorted({*sets.get(key, []), *names})
    return {**process, "capabilities": sets}


def list_processes(root: Path, id: str) -> tuple[int, ...]:
    """The host's pids of a container."""
    return cgroups.list_pids(records.read(root, id).cgroup)


def pause(root: Path, id: str) -> None:
    """Freeze a running container."""
    record = records.read(root, id)
    if records.status(root, record) not in ("running", "created"):
        raise records.not_running(id)
    cgroups.freeze(record.cgroup)


def resume(root: Path, id: str) -> None:
    """Thaw a paused container."""
    record = records.read(root, id)
    if records.status(root, record) != "paused":
        raise Invalid("resume container", id, "it is not paused", "")
    cgroups.thaw(record.cgroup)


def update(root: Path, id: str, resources: Mapping[str, Any]) -> None:
    """Change limits of a container, in the kernel and in its record."""
    record = records.read(root, id)
    if records.status(root, record) == "stopped":
        raise records.not_running(id)
    cgroups.update(record.cgroup, resources)
    config = records.read_config(root, id)
    kept = config.setdefault("linux", {}).setdefault("resources", {})
    for key, value in resources.items():
        kept[key] = {**(kept.get(key) or {}), **value} if isinstance(value, dict) else value
    records.write(records.directory(root, id), record, config)
