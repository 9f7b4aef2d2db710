"""What a forked child tells its parent, and how the parent hears it: JSON over a SEQPACKET socket.

Used on both sides of the fork. Everything that it needs is imported here, before the fork.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
from collections.abc import Mapping

from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary, Unsupported
from runtime.typed import Any, NamedTuple

MAX_BYTES = 16384
_CLASSES = {each.__name__: each for each in (Invalid, NotFound, Conflict, Unsupported, Temporary)}
# A full or failing disk, or a host in want: it may go well later, and no manifest is to blame.
PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
)


class Message(NamedTuple):
    """One message of a child. descriptor is the pty's master with "console", else -1."""

    body: Mapping[str, Any]
    descriptor: int


def send(channel: socket.socket, body: Mapping[str, Any], descriptor: int = -1) -> None:
    """Send one message, with a descriptor if it is not -1."""
    data = json.dumps(body).encode()[:MAX_BYTES]
    if descriptor < 0:
        channel.send(data, socket.MSG_NOSIGNAL)
        return
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
    channel.sendmsg([data], [rights], socket.MSG_NOSIGNAL)


def warn(channel: socket.socket, text: str) -> None:
    """Something that the program runs without. A parent that has died since is no reason not to run it."""
    with contextlib.suppress(ConnectionError):
        send(channel, {"warning": text})


def receive(channel: socket.socket) -> Message | None:
    """The next message, or None at EOF. BlockingIOError on a non-blocking channel without one."""
    data, descriptors, _flags, _address = socket.recv_fds(channel, MAX_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    for extra in descriptors[1:]:
        os.close(extra)
    return Message(json.loads(data), descriptors[0] if descriptors else -1)


def failure(op: str, subject: str, error: OSError, hint: str = "") -> SetpointError:
    """An OSError with what was being done; keeps the errno for the exit status."""
    kind = Temporary if error.errno in PASSING else Invalid
    raised = kind(op, subject, str(error.args[1] if len(error.args) > 1 else error), hint)
    raised.__cause__ = error
    return raised


def error_body(error: BaseException) -> dict[str, Any]:
    """The body of an error message for any exception."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = cause.errno if isinstance(cause, OSError) else None
    if isinstance(error, SetpointError):
        kind, op, subject = type(error).__name__, error.op, error.subject
        return {
            "error": {
                "kind": kind, "op": op, "subject": subject, "reason": error.reason, "hint": error.hint,
                "errno": number,
            }
        }  # fmt: skip
    reason = f"{type(error).__name__}: {error}"
    return {
        "error": {"kind": "", "op": "start", "subject": "", "reason": reason, "hint": "", "errno": number}
    }


def to_error(body: Mapping[str, Any]) -> SetpointError:
    """The exception for the value of "error" in a message."""
    kind = _CLASSES.get(body.get("kind", ""), SetpointError)
    return kind(body["op"], body["subject"], body["reason"], body["hint"])
