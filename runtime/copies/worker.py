"""The process that reads and writes a container's files, one for each `docker cp`, `diff`, `export` and
`commit`: what they hold and what their names are, strangers decide.

    nursery ─ "." ─> main ─ fork ─> a spare <─ a line of JSON, descriptors, on a socket of its own ─ nursery
                                      └─> work ─> lines

    stat  {"stat": …}
    get   {"stat": …}, the tar into the pipe, {"done": …}
    put   the tar out of the pipe, or the connection, {"done": …}     any of them: {"error": …} in its place
    export, diff  of its layers: the tar into the pipe; {"changes": […]} …, {"done": …}
    commit        of its topmost layer, into the image store: see `committing`

It has found the container's root, or its layers, and entered its user namespace if it has one of its own,
before it binds itself: by Landlock to what is below them, and to reading unless it is to write there, to the
few capabilities that its work needs, to a bounded memory, and to its parent's life. From there on it imports
nothing and runs nothing. Started by `nursery` alone.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from runtime import landlock, mounts, syscalls, worker_bounds
from runtime.copies import layers
from runtime.copies.composed import compose
from runtime.copies.giving import give
from runtime.copies.outlet import Outlet
from runtime.copies.places import stat_of
from runtime.copies.putting import put
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.error_view import to_view
from runtime.images.walk import open_root as open_layer
from runtime.supervisor import immortal, interpreter
from runtime.supervisor.process import enter_users

MEMORY_BYTES = 1024 * 1024 * 1024  # of address space: decoders take up to 128 MiB
_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID, _SYS_ADMIN, _MKNOD, _SETFCAP = (
    0, 1, 2, 3, 4, 21, 27, 31,
)  # fmt: skip
READS = (_DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER)
LAYER_READS = (*READS, _SYS_ADMIN)  # trusted.overlay.opaque is shown to nobody else (xattr(7))
WRITES = (_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _FSETID, _MKNOD, _SETFCAP)
COMMITS = (*WRITES, _SYS_ADMIN)  # a layer's tree in the store has trusted.overlay.opaque, too
MAX_DESCRIPTORS = 8  # that come with what there is to do


def main() -> int:
    """Fork a spare for each that is asked for, and hand over a pidfd of it and its socket, until nobody is
    there to ask. `nursery` says what the bytes mean."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # they are reaped by the kernel
    worker_bounds.enter()
    is_settled = False
    with socket.socket(fileno=0) as channel:
        while word := channel.recv(1):
            if word == b".":
                _fork_spare(channel)
            else:
                load(has_changes=word == b"C")
                is_settled = False
            if not is_settled:  # once the first is on its way: that takes as long as a copy
                immortal.make_immortal()
                gc.freeze()
                is_settled = True
    return 0


def load(*, has_changes: bool) -> None:
    """What few need: after it is bound a worker could not."""
    from runtime.copies import committing

    if has_changes:
        committing.load_changes()


def _fork_spare(channel: socket.socket) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        pid = os.fork()
        if not pid:
            ours.close()
            _be_worker(channel, theirs)
        pidfd = os.pidfd_open(pid)  # it waits: its socket is open
        socket.send_fds(channel, [b"."], [pidfd, ours.fileno()])
        os.close(pidfd)


def _be_worker(channel: socket.socket, own: socket.socket) -> NoReturn:
    """Wait to be told, and do that. Nothing of who forked it is left to it."""
    status = 1
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, channel.detach())
        os.close(null)
        heard = hear(own)
        if heard is None:
            os._exit(0)
        own.close()
        told = heard[0]
        os.dup2(told["lines"], 1)
        os.close(told["lines"])
        if told["verb"] == "commit":
            _prepare_commit(told)
        status = work(told)
    finally:
        os._exit(status)


def _prepare_commit(told: Mapping[str, Any]) -> None:
    load(has_changes=told["has_changes"])  # it is there, unless this is the first
    if interpreter.FAILPOINTS in os.environ:
        from runtime import failpoints

        failpoints.install("images")


def work(told: dict[str, Any]) -> int:
    """One copy. Its end is the last line."""
    verb, op = told["verb"], op_of(told)
    try:
        roots = _open_roots(told)
        confine(reach_of(told, roots), _CAPABILITIES[verb])
        worker_bounds.limit_cpu(op, told["name"], lambda error: _fail(error, op))
        _VERBS[verb](roots, told)
    except SetpointError as error:
        return _fail(error, op)
    except MemoryError:
        bomb = Invalid(op, told["name"], "it takes too much memory", "the archive looks like a bomb")
        return _fail(bomb, op)
    except OSError as error:
        return _fail(_explained(error, op, told["name"]), op)
    return 0


def op_of(told: Mapping[str, Any]) -> str:
    """What it is called in errors."""
    return "copy" if told["verb"] in ("stat", "get", "put") else str(told["verb"])


def _open_roots(told: Mapping[str, Any]) -> list[int]:
    if told["verb"] == "commit":
        return []  # by their paths, which are ours
    return list(map(open_layer, told["layers"])) if "layers" in told else [open_root(told)]


def reach_of(told: Mapping[str, Any], roots: Sequence[int]) -> landlock.Reach:
    paths = tuple(f"/proc/self/fd/{root}" for root in roots)
    match told["verb"]:
        case "put":
            return landlock.Reach(read=("/proc/self",), whole=paths)
        case "commit":
            return landlock.Reach(read=("/proc/self", told["upper"]), whole=(told["store"],))
        case _:
            return landlock.Reach(read=("/proc/self", *paths))


def hear(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What to do, with the descriptors that came with it by their names, and they alone. None at the end."""
    line, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, MAX_DESCRIPTORS)
    while line and not line.endswith(b"\n"):
        more = channel.recv(1 << 16)
        line = line + more if more else b""
    if not line:
        return None
    told: dict[str, Any] = json.loads(line)
    return told | dict(zip(told["descriptors"], descriptors, strict=True)), descriptors


def open_root(told: Mapping[str, Any]) -> int:
    """The container's root: the descriptor that was given of one that runs, else made now."""
    if "root" in told:
        if "users" in told:
            enter_users(told["users"])
        return int(told["root"])
    overlay = mounts.Overlay.parse(told["overlay"])
    return compose(overlay, told["mounts"], read_only=told["read_only"])


def confine(reach: landlock.Reach, capabilities: tuple[int, ...]) -> None:
    """For good. Where the kernel has no Landlock, descriptors and capabilities have to do."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    worker_bounds.limit_memory(MEMORY_BYTES)
    if capabilities != COMMITS:  # what a container gets has the modes that an archive says
        os.umask(0)
    landlock.restrict(reach)
    mask = sum(1 << number for number in capabilities) & syscalls.capget().permitted
    syscalls.capset(mask, mask, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # forgotten as a user namespace was entered


def _stat(roots: Sequence[int], told: Mapping[str, Any]) -> None:
    _say({"stat": asdict(stat_of(roots[0], told["path"]))})


def _get(roots: Sequence[int], told: Mapping[str, Any]) -> None:
    _stat(roots, told)
    give(roots[0], told["path"], Outlet(int(told["pipe"])), told["name"])
    _say({"done": "get"})


def _export(roots: Sequence[int], told: Mapping[str, Any]) -> None:
    layers.export(roots, int(told["pipe"]), told["name"])
    _say({"done": "export"})


def _diff(roots: Sequence[int], told: Mapping[str, Any]) -> None:
    for piece in layers.diff(roots, told["name"]):
        _say({"changes": piece})
    _say({"done": "diff"})


def _put(roots: Sequence[int], told: Mapping[str, Any]) -> None:
    put(roots[0], told)
    _say({"done": "put"})


def _commit(_roots: Sequence[int], told: Mapping[str, Any]) -> None:
    from runtime.copies.committing import commit  # it is loaded

    commit(told, _say)


_VERBS: Mapping[str, Callable[[Sequence[int], Mapping[str, Any]], None]] = {
    "stat": _stat, "get": _get, "put": _put, "export": _export, "diff": _diff, "commit": _commit
}  # fmt: skip
_CAPABILITIES = {
    "stat": READS, "get": READS, "put": WRITES, "export": LAYER_READS, "diff": LAYER_READS, "commit": COMMITS
}  # fmt: skip


def _explained(error: OSError, op: str, name: str) -> SetpointError:
    if op == "commit":
        return Temporary(op, name, error.strerror or str(error))
    if error.errno == errno.EROFS:
        return Invalid("", "", "mounted volume is marked read-only")
    if error.errno == errno.EPIPE:
        return Temporary(op, name, "nobody reads it any more")
    if error.errno in (errno.EPERM, errno.EACCES):
        reason = f"{error.strerror}: {str(error.filename or '')[:200]}"
        return Invalid(op, name, reason, "the container may not have such a file")
    return Temporary(op, name, error.strerror or str(error))


def _fail(error: SetpointError, op: str) -> int:
    if op != "commit" and error.op in ("unpack layer", "read tar", "unpack", "write layer", "read files"):
        error = type(error)(op, *error.args[1:])
    _say({"error": to_view(error)})
    return 1


def _say(value: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
