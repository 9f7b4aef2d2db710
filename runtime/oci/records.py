"""What `oci` keeps of a container between its commands: a directory below --root.

    <root>/<id>/state.json    pid, its start time, bundle, creation
                config.json   the config as it was at creation, with later updates
                start.sock    there until the container is started: its process waits behind it

Read and written by the commands only, each for itself; nothing stays running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from runtime import cgroups, syscalls
from runtime.errors import Conflict, Invalid, NotFound

VERSION = "1.2.0"
MAX_CONFIG_BYTES = 4 << 20
_ID = re.compile(r"[A-Za-z0-9_+.-]{1,255}")
Status = Literal["creating", "created", "running", "paused", "stopped"]


@dataclass(frozen=True, slots=True)
class Record:
    """state.json. start_ticks: field 22 of /proc/PID/stat, which tells a reused pid."""

    id: str
    bundle: str
    pid: int
    start_ticks: int
    cgroup: str
    created: str


def directory(root: Path, id: str) -> Path:
    """The directory of a container. `Invalid` for an id that is not a plain name."""
    if not _ID.fullmatch(id) or id in (".", ".."):
        raise Invalid("use container", id, "not a valid id", "letters, digits, '_', '+', '-' and '.'")
    return root / id


def claim(root: Path, id: str) -> Path:
    """Make a container's directory. `Conflict` when the id is taken."""
    place = directory(root, id)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        place.mkdir(mode=0o700)
    except FileExistsError as error:
        raise Conflict("create container", id, "the id is in use", "delete the other one") from error
    return place


def forget(root: Path, id: str) -> None:
    """Remove a container's directory, if it is there."""
    shutil.rmtree(directory(root, id), ignore_errors=True)


def write(place: Path, record: Record, config: Mapping[str, Any]) -> None:
    """Write both files, the record last: a directory without it is a creation that did not end."""
    write_atomically(place / "config.json", json.dumps(config))
    write_atomically(place / "state.json", json.dumps(asdict(record)))


def write_atomically(path: Path, text: str) -> None:
    """Write a file by one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)


def read(root: Path, id: str) -> Record:
    """A container's record. `NotFound`."""
    place = directory(root, id)
    try:
        return Record(**json.loads((place / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise NotFound("find container", id, "it does not exist", f"look into {root}") from error


def read_config(root: Path, id: str) -> dict[str, Any]:
    """A container's config as it was created."""
    found: dict[str, Any] = json.loads((directory(root, id) / "config.json").read_text())
    return found


def read_bundle(bundle: Path) -> dict[str, Any]:
    """The config.json of a bundle. `Invalid` when it is missing, too large or no object."""
    path = bundle / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise Invalid("read config", str(path), "larger than 4 MiB", "")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Invalid("read config", str(path), str(error), "is --bundle right?") from error
    if not isinstance(found, dict) or not isinstance(found.get("ociVersion"), str):
        raise Invalid(
            "read config", str(path), "no ociVersion in it", "`setpoint oci spec` writes an example"
        )
    return found


def list_ids(root: Path) -> tuple[str, ...]:
    """The ids of all containers that are there."""
    if not root.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in root.iterdir() if (entry / "state.json").exists()))


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone or a zombie."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in ("Z", "X") else int(fields[19])
    return 0


def status(root: Path, record: Record) -> Status:
    """The container's status as the kernel shows it now."""
    if start_ticks(record.pid) != record.start_ticks or not record.start_ticks:
        return "stopped"
    if (directory(root, record.id) / "start.sock").exists():
        return "created"
    return "paused" if record.cgroup and cgroups.is_frozen(record.cgroup) else "running"


def open_process(record: Record) -> int:
    """A pidfd of the container's first process. `Invalid` when it has ended."""
    try:
        pidfd = syscalls.pidfd_open(record.pid)
    except OSError as error:
        raise not_running(record.id) from error
    # Opened, then compared: now the number cannot come to mean another process.
    if start_ticks(record.pid) != record.start_ticks:
        os.close(pidfd)
        raise not_running(record.id)
    return pidfd


def not_running(id: str) -> Invalid:
    return Invalid("use container", id, "container not running", "")


def state(root: Path, record: Record) -> dict[str, Any]:
    """The state object of the runtime-spec."""
    now = status(root, record)
    annotations = read_config(root, record.id).get("annotations") or {}
    made = {
        "ociVersion": VERSION, "id": record.id, "status": now,
        "pid": 0 if now == "stopped" else record.pid,
        "bundle": record.bundle, "created": record.created,
    }  # fmt: skip
    return made | ({"annotations": annotations} if annotations else {})
