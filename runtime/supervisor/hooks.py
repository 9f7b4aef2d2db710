"""OCI hooks: programs run at points of a container's life with its state as JSON on stdin.

Called by `oci` in the runtime's namespaces and by the forked child in the container's. Uses fork and
exec by hand: subprocess would import. Hooks are the host's programs, named by the config's author.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from runtime import syscalls
from runtime.errors import Invalid
from runtime.typed import Any


def run_hooks(hooks: Sequence[Mapping[str, Any]], name: str, state: Mapping[str, Any]) -> None:
    """Run hooks in order; `Invalid` at the first that fails or exceeds its timeout."""
    for hook in hooks:
        _run(hook, name, json.dumps(state).encode())


def _run(hook: Mapping[str, Any], name: str, state: bytes) -> None:
    path = hook["path"]
    arguments = tuple(hook.get("args") or (path,))
    environment = dict(each.split("=", 1) for each in hook.get("env") or () if "=" in each)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(path, arguments, environment, reader)
    pidfd = syscalls.pidfd_open(pid)
    os.close(reader)
    try:
        with suppress(BrokenPipeError):
            os.write(writer, state)
        os.close(writer)
        if not _ended(pidfd, hook.get("timeout")):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise Invalid("run hook", f"{name} {path}", f"not done in {hook['timeout']} s", "")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(pidfd)
    if status:
        raise Invalid("run hook", f"{name} {path}", f"exit status {status}", "")


def _ended(pidfd: int, timeout_seconds: float | None) -> bool:
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
    return bool(poller.poll(left))


def _become(path: str, arguments: tuple[str, ...], environment: Mapping[str, str], reader: int) -> None:
    with suppress(BaseException):
        os.dup2(reader, 0)
        os.execve(path, arguments, environment)
    os._exit(127)
