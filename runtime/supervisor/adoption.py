"""Taking over the containers of a supervisor that was killed.

A run directory's state.json names a process by pid, start time and boot; if that process lives, its
pidfd is opened, its FIFOs are read on (they kept what was written meanwhile), and its exit is told by
the kernel (PIDFD_INFO_EXIT, 6.15) though it is not our child. Before 6.15 the code is unknown, unless
it is still a zombie. If it is gone, that is written down as an exit with an unknown code.
"""

from __future__ import annotations

import contextlib
import os
import time

from runtime import cgroups, syscalls
from runtime.errors import SetpointError
from runtime.supervisor import records
from runtime.supervisor.container import Container
from runtime.supervisor.process import GATE_LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.supervisor.loop import Loop
    from runtime.supervisor.server import Supervisor

REAP_WAIT_SECONDS = 0.02  # between looks while the new parent (init) has not reaped
REAP_LOOKS = 50
BEGIN_WAIT_SECONDS = 0.001  # between looks at a child on its way from its gate to its program
BEGIN_LOOKS = 1000


def adopt_all(server: Supervisor) -> int:
    """Adopt what lives; record the end of what does not. Returns how many live."""
    adopted = 0
    try:
        names = os.listdir(server.run_directory)
    except FileNotFoundError:
        return 0
    for name in names:
        _end_half_restored(f"{server.run_directory}/{name}")
        record = _find_record(f"{server.run_directory}/{name}")
        if record is not None and record.get("name") == name and name not in server.containers:
            adopted += _adopt(server, record, f"{server.run_directory}/{name}")
    return adopted


def _end_half_restored(directory: str) -> None:
    """What was being made of a checkpoint, CRIU included, when a supervisor was killed: nobody was told that
    it runs."""
    record = records.read(directory, records.RESTORING)
    if record is None:
        return
    if records.read(directory, records.STATE) is None:
        with contextlib.suppress(SetpointError, OSError):
            cgroups.kill(str(record.get("cgroup", "")))
    records.remove(directory, records.RESTORING)


def _find_record(directory: str) -> dict[str, Any] | None:
    """Of a container that was started and whose end is not yet written down."""
    record = records.read(directory, records.STATE)
    if record is None:
        prepared = records.pending(records.STATE)
        record = records.read(directory, prepared)
        if record is None or not has_begun(record):
            records.remove(directory, prepared)
            return None
        records.publish(directory, records.STATE)
    elif _is_over(record, directory):
        records.remove(directory, records.STATE)
        return None
    return record


def _is_over(record: dict[str, Any], directory: str) -> bool:
    """Whether its end is known: the supervisor was killed between the two records, and knew more than we."""
    process = (record.get("pid"), record.get("start_time"))
    for place in (str(record.get("bundle", "")), directory):
        end = records.read(place, records.EXIT)
        if end is not None and (end.get("pid"), end.get("start_time")) == process:
            return True
    return False


def has_begun(record: dict[str, Any]) -> bool:
    """Whether a child whose supervisor was killed as it opened the gate went through it; else it ends now,
    and the container was never started. Looked at until its program runs, or it is gone."""
    pidfd = open_pidfd(record)
    if pidfd < 0:
        return False
    try:
        for _ in range(BEGIN_LOOKS):
            if (status := _status_of(record["pid"], record["start_time"], pidfd)) is not None:
                return _code(status) != GATE_LOST
            if records.start_time(record["pid"]) != record["start_time"]:
                return False
            if not _is_this_program(record["pid"]):
                return True
            time.sleep(BEGIN_WAIT_SECONDS)
    finally:
        os.close(pidfd)
    return True


def _is_this_program(pid: int) -> bool:
    """A forked child that has not executed another one yet."""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/exe"), os.stat("/proc/self/exe")
    except OSError:
        return True
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _adopt(server: Supervisor, record: dict[str, Any], directory: str) -> bool:
    try:
        container = Container(server.loop, record, directory)
        container.is_running = True
        container.pidfd = open_pidfd(record)
        container.reopen_outputs()
    except (OSError, KeyError, TypeError, ValueError):
        return False
    server.register(container)
    container.read_outputs()
    if container.pidfd < 0:
        server.finish(container, None)
        return False
    if container.has_stdin and not container.is_tty:
        container.open_stdin()
    server.watch_adopted(container)
    return True


def open_pidfd(record: dict[str, Any]) -> int:
    """A pidfd of the very process that the record names, or -1: pids are given out again."""
    if record.get("boot_id") != records.boot_id() or not record.get("pid"):
        return -1
    try:
        pidfd = os.pidfd_open(record["pid"])
    except ProcessLookupError:
        return -1
    if records.start_time(record["pid"]) != record.get("start_time"):
        os.close(pidfd)
        return -1
    return pidfd


def find_exit_code(
    loop: Loop, container: Container, found: Callable[[int | None], None], looks: int = REAP_LOOKS
) -> None:
    """Call found(code) as soon as the kernel tells how an adopted process ended; None if it never does."""
    loop.forget(container.pidfd)
    status = _status(container)
    if status is None and looks > 0 and _may_come(container):
        loop.call_later(REAP_WAIT_SECONDS, lambda: find_exit_code(loop, container, found, looks - 1))
        return
    found(None if status is None else _code(status))


def _status(container: Container) -> int | None:
    return _status_of(container.pid, container.start_time, container.pidfd)


def _status_of(pid: int, start_time: int, pidfd: int) -> int | None:
    status = records.zombie_status(pid, start_time)
    if status is None:
        with contextlib.suppress(OSError):  # ESRCH or ENOTTY: this kernel does not tell
            status = syscalls.pidfd_getinfo(pidfd).exit_status
    return status


def _may_come(container: Container) -> bool:
    return records.start_time(container.pid) == container.start_time


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
