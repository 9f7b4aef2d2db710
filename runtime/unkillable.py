"""Why a container does not die of SIGKILL, in words: for the error of a stop, and of a removal.

A process in the kernel's uninterruptible sleep (state D: a network or FUSE file system that does not answer,
a broken disk) or in a frozen cgroup takes no signal. Called when the deadline is over; reads procfs and
cgroupfs alone, which wait for nobody, and changes nothing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from runtime import cgroups
from runtime.errors import Unkillable

SHOWN = 3  # processes named in the error
RETRY_SECONDS = 5.0
_STATES = {
    "D": "uninterruptible sleep", "R": "running", "S": "sleeping", "T": "stopped", "t": "traced",
    "Z": "dead, and held by the others of its namespace",
}  # fmt: skip


def unkillable(op: str, name: str, path: str) -> Unkillable:
    """The error for a container (its cgroup's path) whose processes SIGKILL did not end."""
    pids = cgroups.list_pids(path)
    frozen = next((directory for pid in pids[:SHOWN] if (directory := frozen_at(pid))), "")
    # What sleeps in the kernel is the cause, what waits for it is not.
    described = sorted((process(pid) for pid in pids), key=lambda text: "state D" not in text)
    shown = [text for text in described if text][:SHOWN]
    more = f" and {len(pids) - len(shown)} more" if len(pids) > len(shown) else ""
    reason = f"SIGKILL did not end it: {', '.join(shown)}{more}" if shown else "SIGKILL did not end it"
    if frozen:
        return Unkillable(op, name, f"{reason}; cgroup {frozen} is frozen", f"thaw {frozen}", RETRY_SECONDS)
    hint = (
        "it dies when the device or file system answers or is unmounted by force; the rest is then done alone"
    )
    return Unkillable(op, name, reason, hint, RETRY_SECONDS)


def process(pid: int) -> str:
    """`pid 12 (cat) is in state D (uninterruptible sleep) in request_wait_answer`; "" when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return ""
    name, _, rest = text.partition("(")[2].rpartition(")")
    state = rest.split()[0]
    known = f" ({_STATES[state]})" if state in _STATES else ""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    channel = wait_channel(pid)
    return f"pid {pid} ({printable}) is in state {state}{known}" + (f" in {channel}" if channel else "")


def wait_channel(pid: int) -> str:
    """The kernel's function that it sleeps in (proc(5) wchan), "" where the kernel does not tell."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/wchan").read_text()
        return name if name.strip("0") and name.isascii() and name.isprintable() else ""
    return ""


def frozen_at(pid: int) -> str:
    """The directory of the topmost frozen cgroup that a process is in, whoever made it; "" for none."""
    found = cgroups.hierarchies()
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, names, path = line.split(":", 2)
        if not names and found.unified:
            root, file = found.unified, "cgroup.freeze"
        elif "freezer" in names.split(",") and "freezer" in found.v1:
            root, file = found.v1["freezer"], "freezer.self_freezing"
        else:
            continue
        if directory := _topmost(root, path, file):
            return directory
    return ""


def _topmost(root: str, path: str, file: str) -> str:
    directory = root
    for part in path.strip("/").split("/"):
        directory = f"{directory}/{part}"
        with contextlib.suppress(OSError):
            if Path(directory, file).read_text().strip() == "1":
                return directory
    return ""
