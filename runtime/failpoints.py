"""Fail points: a named place before and after every step that reaches the kernel, the disk or the database.

Nothing of this is there in an ordinary run: `wanted` is asked once, at a process's start, and only when
the variable is set does `install` replace the functions through which a step goes (`runtime.syscalls`,
`os`, sockets, netfilter, SQLite) by ones that know their place. A control file in shared memory says
what to do at a place: nothing, note it down, or wait there to be killed. tests/faults walks them all.

Standard library only, for the supervisor imports it too. Must be installed before the modules that take
names out of `os` or `runtime.syscalls`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from runtime import syscalls
from runtime.supervisor.interpreter import FAILPOINTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Any

# The control file: what to do, where a process waits, and one region a process to note down in.
OFF, RECORD, ARMED = 0, 1, 2
MODE_AT, STATE_AT, NTH_AT, PASSED_AT, LENGTH_AT, SLOT_AT, PID_AT, NAME_AT = 0, 4, 8, 12, 16, 20, 24, 64
NOTHING, PARKED, RELEASED = 0, 1, 2
SLOTS, SLOT_BYTES, SLOTS_AT = 256, 1 << 18, 4096
SIZE = SLOTS_AT + SLOTS * SLOT_BYTES
MAX_NAME_BYTES = 1024

_WORD = struct.Struct("=I")
_ROOT = str(Path(__file__).resolve().parent.parent) + os.sep
_OURS = tuple(f"{_ROOT}{room}{os.sep}" for room in ("agent", "runtime", "store"))
_OWN_FILE = str(Path(__file__).resolve())
_FRAMES = 3  # of our own code, that a name tells
_PARKED_SECONDS = 0.0005

# What `os` does to the world. Opening counts when it may make or empty a file.
_OS_STEPS = (
    "chmod", "chown", "copy_file_range", "fchmod", "fchown", "fdatasync", "fsync", "ftruncate", "kill",
    "killpg", "lchown", "link", "mkdir", "mkfifo", "mknod", "pwrite", "removexattr", "rename", "replace",
    "rmdir", "sendfile", "setxattr", "splice", "symlink", "truncate", "unlink", "utime", "waitpid", "write",
    "writev",
)  # fmt: skip
_MAKES = os.O_CREAT | os.O_TRUNC
# What only looks, or only has to do with the caller's own descriptors.
_ONLY_LOOKS = frozenset(
    ("capget", "close_range", "file_system", "inotify_add_watch", "inotify_init", "mount_id", "pidfd_getfd",
     "pidfd_getinfo", "pidfd_open", "seccomp_keep_filter", "syscall_number")
)  # fmt: skip

_memory: Any = None
_role = ""
_slot = 0
_lock = threading.Lock()


def install(role: str) -> None:
    """Wrap all steps of this process, called "agent", "supervisor" or "images" in the points' names."""
    global _memory, _role  # one for the process, as what is wrapped is
    if _memory is not None:
        return
    descriptor = os.open(os.environ[FAILPOINTS], os.O_RDWR | os.O_CLOEXEC)
    _memory = mmap.mmap(descriptor, SIZE)
    _role = role
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    take_slot()
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # mmap keeps a copy of the descriptor
    os.close(descriptor)
    _wrap_system_calls()
    _wrap_files()
    _wrap_sockets()
    if role != "supervisor":
        _wrap_firewall()


def take_slot() -> None:
    """A region of this process's own to note down in."""
    global _slot
    _slot = _word(SLOT_AT) % SLOTS
    _set_word(SLOT_AT, _slot + 1)


# --- at a point ------------------------------------------------------------------------------------


def _word(at: int) -> int:
    value: int = _WORD.unpack_from(_memory, at)[0]
    return value


def _set_word(at: int, value: int) -> None:
    _WORD.pack_into(_memory, at, value)


def _reach(name: str) -> None:
    mode = _word(MODE_AT)
    if mode == RECORD:
        _note(name.encode())
    elif mode == ARMED and name.encode() == _memory[NAME_AT : NAME_AT + _word(LENGTH_AT)]:
        passed = _word(PASSED_AT) + 1
        _set_word(PASSED_AT, passed)
        if passed == _word(NTH_AT):
            _park()


def _note(name: bytes) -> None:
    with _lock:
        start = SLOTS_AT + _slot * SLOT_BYTES
        used = _word(start)
        line = b"%d %s\n" % (time.monotonic_ns(), name)
        if 4 + used + len(line) <= SLOT_BYTES:
            _memory[start + 4 + used : start + 4 + used + len(line)] = line
            _set_word(start, used + len(line))


def _park() -> None:
    """Wait for SIGKILL, or for leave to go on: whom the walk kills is not always who is here."""
    _set_word(MODE_AT, OFF)
    _set_word(PID_AT, os.getpid())
    _set_word(STATE_AT, PARKED)
    while _word(STATE_AT) == PARKED:
        time.sleep(_PARKED_SECONDS)


def _place(frame: FrameType | None, is_direct: bool = False) -> str:
    """Whose step it is: the nearest functions of our own code, innermost first; "" if there is none, or
    if it must be the caller itself."""
    found: list[str] = []
    if frame is not None and is_direct and not frame.f_code.co_filename.startswith(_OURS):
        return ""
    while frame is not None and len(found) < _FRAMES:
        code = frame.f_code
        path = code.co_filename
        if path.startswith(_OURS) and path != _OWN_FILE:
            file = path[len(_ROOT) :].removesuffix(".py")
            found.append(f"{file}:{code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return "<".join(found)


def _wrapped(
    original: Any, call: str, is_step: Callable[..., bool] | None = None, is_direct: bool = False
) -> Any:
    def step(*arguments: Any, **named: Any) -> Any:
        if not _memory[MODE_AT] or (is_step is not None and not is_step(*arguments, **named)):
            return original(*arguments, **named)
        place = _place(sys._getframe(1), is_direct)
        if not place:
            return original(*arguments, **named)
        _reach(f"{_role} {place} {call} before")
        try:
            return original(*arguments, **named)
        finally:
            _reach(f"{_role} {place} {call} after")

    return step


def _wrapped_clone(original: Any) -> Any:
    """The child is a process of its own, which reaches points of its own."""

    def clone3_each(clones: Sequence[syscalls.Clone3]) -> int:
        global _role, _slot
        place = _place(sys._getframe(1))
        for index, clone in enumerate(clones):
            mine = _slot
            take_slot()
            theirs, _slot = _slot, mine
            _reach(f"{_role} {place} clone3 before")
            is_child = original((clone,)) >= 0
            if is_child:
                _role, _slot = "child", theirs
            _reach(f"{_role} {place} clone3 after")
            if is_child:
                return index
        return -1

    return clone3_each


# --- what is wrapped -------------------------------------------------------------------------------


def wrap(holder: Any, name: str, call: str, is_step: Callable[..., bool] | None = None) -> None:
    """From here on holder.name knows its place; call is what the points say."""
    setattr(holder, name, _wrapped(getattr(holder, name), call, is_step))


def _wrap_system_calls() -> None:
    for name, value in list(vars(syscalls).items()):
        own = getattr(value, "__module__", "") == syscalls.__name__
        if name.startswith("_") or not own or isinstance(value, type) or name in _ONLY_LOOKS:
            continue
        if name == "clone3_each":
            syscalls.clone3_each = _wrapped_clone(value)
        elif name == "openat2":
            wrap(syscalls, name, name, lambda _d, _p, flags, *_a, **_n: bool(flags & _MAKES))
        else:
            wrap(syscalls, name, name)


def _wrap_files() -> None:
    for name in _OS_STEPS:
        wrap(os, name, name)
    wrap(os, "execve", "execve")
    wrap(os, "open", "open", lambda _path, flags, *_a, **_n: bool(flags & _MAKES))
    wrap(signal, "pidfd_send_signal", "pidfd_send_signal")
    if _role == "supervisor":
        return
    for name in ("write_text", "write_bytes"):
        wrap(Path, name, name)


def _wrap_sockets() -> None:
    """Those that our own code sends through: what the event loop tells itself, or a client, is no step."""
    for name in ("bind", "connect", "listen", "send", "sendall", "sendmsg"):
        setattr(socket.socket, name, _wrapped(getattr(socket.socket, name), name, is_direct=True))
    wrap(subprocess.Popen, "__init__", "Popen")


def _wrap_firewall() -> None:
    from runtime.network.libnftables import Nftables

    wrap(Nftables, "run", "nft")
