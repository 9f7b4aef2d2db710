"""What the supervisor writes down of a container, so that another can take over, or tell how it ended.

    <run>/containers/<id>/state.json   while it runs: enough to adopt it
    <run>/containers/<id>/exit.json    after it ended; and <bundle>/exit.json, which survives a reboot

A process is named by (pid, start time, boot id): a pid alone is given out again. Written whole or not
at all (rename), without fsync: after a power loss the container is gone anyway.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE = "state.json"
EXIT = "exit.json"
RESTORING = "restoring.json"  # while CRIU makes its processes, whom no other record names
MAX_RECORD_BYTES = 1 << 20
_PROC_BYTES = 4096  # more than the kernel writes there: a megabyte of room is asked of it, and given back
_START_TIME_FIELD = 19  # of /proc/PID/stat after the command's ")": field 22 in proc(5)
_EXIT_CODE_FIELD = 49  # field 52
_boot_id = ""
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def boot_id() -> str:
    """This boot's UUID."""
    global _boot_id  # constant for the life of the machine
    if not _boot_id:
        _boot_id = _read("/proc/sys/kernel/random/boot_id", _PROC_BYTES).decode().strip()
    return _boot_id


def start_time(pid: int) -> int | None:
    """When pid started, in clock ticks since boot, or None if there is no such process."""
    fields = _stat_fields(pid)
    return int(fields[_START_TIME_FIELD]) if fields else None


def zombie_status(pid: int, started: int) -> int | None:
    """The wait status of a process that ended and that nobody has reaped yet (proc(5), exit_code)."""
    fields = _stat_fields(pid)
    if not fields or fields[0] not in (b"Z", b"X") or int(fields[_START_TIME_FIELD]) != started:
        return None
    return int(fields[_EXIT_CODE_FIELD])


def _stat_fields(pid: int) -> list[bytes] | None:
    try:
        data = _read(f"/proc/{pid}/stat", _PROC_BYTES)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return data[data.rindex(b")") + 2 :].split()


def write(directory: str, name: str, record: dict[str, Any]) -> None:
    """Put record into directory/name, whole or not at all. OSError."""
    prepare(directory, name, record)
    publish(directory, name)


def prepare(directory: str, name: str, record: dict[str, Any]) -> None:
    """Write it beside its place. OSError."""
    temporary = f"{directory}/{pending(name)}"
    data = _encode(record).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        if os.write(fd, data) != len(data):  # as a full disk does, before it says so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def publish(directory: str, name: str) -> None:
    """What was prepared is the record from here on. OSError."""
    os.rename(f"{directory}/{pending(name)}", f"{directory}/{name}")


def pending(name: str) -> str:
    """What a prepared record is called."""
    return f".{name}.new"


def read(directory: str, name: str) -> dict[str, Any] | None:
    """The record, or None where there is none that makes sense."""
    try:
        record = json.loads(_read(f"{directory}/{name}"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def remove(directory: str, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/{name}")


def _read(path: str, most_bytes: int = MAX_RECORD_BYTES) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(fd, most_bytes)
    finally:
        os.close(fd)
