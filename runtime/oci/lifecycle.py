"""create, start, kill, delete, run: a container's life by the runtime-spec, over the launch path.

    create: claim id, launch with a gate, createRuntime hooks, write the record; the process waits
    start:  connect to start.sock; the process executes its program; poststart hooks
    delete: cgroups, poststop hooks, the record

Called by `agent.cli.oci`. Raises runtime.errors.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from typing import Any

from runtime import cgroups, seccomp, syscalls
from runtime.devices import DEFAULT_RULES, rules_to_oci
from runtime.errors import Invalid, SetpointError, Temporary, Unsupported
from runtime.oci import records, terminals
from runtime.oci.records import Record
from runtime.supervisor.hooks import run_hooks
from runtime.supervisor.launch import Launched, LaunchRequest, launch, receive, to_error
from runtime.supervisor.report import send


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """The options of create and run. console_socket, pid_file: "" for none."""

    bundle: Path
    console_socket: str = ""
    pid_file: str = ""
    preserve_fds: int = 0


def create(root: Path, id: str, options: CreateOptions) -> Record:
    """Make a container up to the moment before its program. Nothing is left behind by a failure."""
    record, _, master = create_foreground(root, id, options)
    if master >= 0:
        os.close(master)
        delete(root, id, force=True)
        raise Invalid("create container", id, "a terminal needs --console-socket", "give one")
    return record


def create_foreground(root: Path, id: str, options: CreateOptions) -> tuple[Record, Launched, int]:
    """`create` for a caller that stays: also the process, and its pty's master (-1: handed over)."""
    bundle = options.bundle.resolve()
    config = records.read_bundle(bundle)
    linux = config.setdefault("linux", {})
    linux["cgroupsPath"] = cgroup_path(linux.get("cgroupsPath") or "", id)
    add_default_devices(linux)
    place = records.claim(root, id)
    try:
        with _gate(place) as gate:
            launched = launch(_request(config, bundle, gate, id, options))
        try:
            master = _await_ready(launched, config, options, _hook_state(config, id, bundle, launched.pid))
        except BaseException:
            with suppress(OSError):
                syscalls.pidfd_send_signal(launched.pidfd, SIGKILL)
            os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
            raise
        record = Record(
            id, str(bundle), launched.pid, records.start_ticks(launched.pid), linux["cgroupsPath"],
            datetime.now(UTC).isoformat(),
        )  # fmt: skip
        records.write(place, record, config)
        if options.pid_file:
            records.write_atomically(Path(options.pid_file), str(launched.pid))
    except BaseException:
        records.forget(root, id)
        with suppress(SetpointError):
            cgroups.delete(linux["cgroupsPath"])
        raise
    return record, launched, master


def add_default_devices(linux: dict[str, Any]) -> None:
    """Allow what every container has (null, tty, pseudo-terminals …) after the config's own rules: the
    runtime-spec supplies these devices whatever the config says."""
    resources = linux.setdefault("resources", {})
    resources["devices"] = [*(resources.get("devices") or ()), *rules_to_oci(DEFAULT_RULES)]


def cgroup_path(path: str, id: str) -> str:
    """The cgroup of a container: the config's, or one named by the id."""
    if ":" in path:
        raise Unsupported("use cgroup", path, "systemd's form is not supported", "use a plain path")
    return cgroups.check_path(path or f"/{id}")


def _request(
    config: Mapping[str, Any], bundle: Path, gate: socket.socket, id: str, options: CreateOptions
) -> LaunchRequest:
    profile = (config.get("linux") or {}).get("seccomp")
    return LaunchRequest(
        config=config,
        bundle=str(bundle),
        gate=True,
        seccomp=seccomp.compile_profile(profile) if profile else None,
        gate_socket=gate.fileno(),
        keep_descriptors=options.preserve_fds,
        state={"id": id, "bundle": str(bundle)},
    )


def _gate(place: Path) -> socket.socket:
    """The socket behind which the process waits. Bound by a short name: the path may be long."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    at = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{at}/start.sock")
    finally:
        os.close(at)
    listener.listen(1)
    return listener


def _await_ready(
    launched: Launched, config: Mapping[str, Any], options: CreateOptions, state: Mapping[str, Any]
) -> int:
    """Serve the child until it waits at its gate; returns the master of a terminal that stays ours."""
    master = -1
    while (message := receive(launched.channel)) is not None:
        if "error" in message.body:
            raise to_error(message.body["error"])
        if "ready" in message.body:
            return master
        if "console" in message.body:
            if options.console_socket:
                terminals.hand_over(options.console_socket, message.descriptor)
            else:
                master = message.descriptor
        if "hooks" in message.body:
            hooks = config.get("hooks") or {}
            for name in ("prestart", "createRuntime"):
                run_hooks(hooks.get(name) or (), name, state)
            send(launched.channel, {"go": True})
    raise Invalid("create container", state["id"], "its process ended early", "look at the kernel's log")


def _hook_state(config: Mapping[str, Any], id: str, bundle: Path, pid: int) -> dict[str, Any]:
    return {
        "ociVersion": records.VERSION, "id": id, "status": "creating", "pid": pid, "bundle": str(bundle),
        "annotations": config.get("annotations") or {},
    }  # fmt: skip


def start(root: Path, id: str) -> None:
    """Let a created container's program run. `Invalid` when it is not in that state."""
    record = records.read(root, id)
    if records.status(root, record) != "created":
        raise Invalid("start container", id, "it is not in the state created", "create it first")
    place = records.directory(root, id)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as gate:
        at = os.open(place, os.O_PATH | os.O_DIRECTORY)
        try:
            gate.connect(f"/proc/self/fd/{at}/start.sock")
        except OSError as error:
            raise Invalid("start container", id, error.strerror or "", "is its process alive?") from error
        finally:
            os.close(at)
        gate.send(b"start")
        message = receive(gate)
        if message is not None and "error" in message.body:
            raise to_error(message.body["error"])
    (place / "start.sock").unlink(missing_ok=True)
    hooks = records.read_config(root, id).get("hooks") or {}
    if hooks.get("poststart"):
        # A failure here does not stop what runs; it is told.
        run_hooks(hooks["poststart"], "poststart", records.state(root, record))


def kill(root: Path, id: str, signal: int, everyone: bool = False) -> None:
    """Send a signal to the first process, or to all of the container's."""
    record = records.read(root, id)
    if everyone:
        for pid in cgroups.list_pids(record.cgroup):
            with suppress(ProcessLookupError):
                os.kill(pid, signal)
        return
    pidfd = records.open_process(record)
    try:
        syscalls.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError as error:
        raise records.not_running(id) from error
    finally:
        os.close(pidfd)
    # Without a pid namespace of its own the end of the first process does not end the others.
    if signal == SIGKILL and not _has_own_pids(records.read_config(root, id)):
        cgroups.kill(record.cgroup)


def _has_own_pids(config: Mapping[str, Any]) -> bool:
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(each["type"] == "pid" and not each.get("path") for each in namespaces)


def delete(root: Path, id: str, force: bool = False) -> None:
    """Remove a stopped container; with force a running one too, and a missing one is no error."""
    try:
        record = records.read(root, id)
    except SetpointError:
        if not force:
            raise
        records.forget(root, id)
        return
    now = records.status(root, record)
    if now in ("running", "paused") and not force:
        raise Invalid("delete container", id, f"it is {now}", "kill it first, or use --force")
    if now != "stopped":
        _end(record)
    cgroups.kill(record.cgroup)
    cgroups.delete(record.cgroup)
    config = records.read_config(root, id)
    hooks = config.get("hooks") or {}
    state = records.state(root, record) | {"status": "stopped", "pid": 0}
    records.forget(root, id)
    if hooks.get("poststop"):
        run_hooks(hooks["poststop"], "poststop", state)


def _end(record: Record, timeout_seconds: float = 10.0) -> None:
    with suppress(SetpointError):
        pidfd = records.open_process(record)
        with suppress(ProcessLookupError):
            syscalls.pidfd_send_signal(pidfd, SIGKILL)
        os.close(pidfd)
        with suppress(SetpointError):
            cgroups.thaw(record.cgroup)
        deadline = time.monotonic() + timeout_seconds
        while records.start_ticks(record.pid) == record.start_ticks:
            if time.monotonic() > deadline:
                raise Temporary("delete container", record.id, "its process does not die", "")
            time.sleep(0.005)


def run(root: Path, id: str, options: CreateOptions, detach: bool) -> int:
    """create and start; without detach also wait, and delete. Returns the exit status."""
    record, launched, master = create_foreground(root, id, options)
    try:
        if detach and master >= 0:
            raise Invalid("run container", id, "a detached terminal needs --console-socket", "give one")
        start(root, id)
    except BaseException:
        delete(root, id, force=True)
        raise
    if detach:
        return 0
    try:
        if master >= 0:
            terminals.relay(master, launched.pidfd)
        return wait(launched)
    finally:
        delete(root, record.id, force=True)


def wait(launched: Launched) -> int:
    """Wait for a child of ours; its exit status, 128+n for a signal."""
    found = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
    if found is None:
        return 0
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status
