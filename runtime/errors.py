"""Errors named for what the caller should do.

    SetpointError
    ├── Invalid       edit the manifest or the argument; a retry cannot help
    ├── NotFound      the thing named is not there
    ├── Conflict      something else holds the name, the port or the state
    ├── Unsupported   this kernel or this build lacks it; `setpoint doctor` tells
    └── Temporary     try again after `retry_after_seconds`
        └── Unkillable    a process that SIGKILL does not end; its own end is what to wait for

Anything else that is raised is our bug. Raised at the edge, decided in two places only: the
reconcile loop and the API server.
"""

from __future__ import annotations


class SetpointError(Exception):
    """An error a person can act on.

    op: what was being done, as a verb ("start", "load image").
    subject: what it was done to ("shop/web", a path).
    reason: what went wrong, in one clause.
    hint: what to do about it, or "".
    """

    def __init__(self, op: str, subject: str, reason: str, hint: str = "") -> None:
        super().__init__(op, subject, reason, hint)
        self.op = op
        self.subject = subject
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        """`start shop/web: mount overlay: EINVAL (hint: needs kernel 5.11 or newer)`."""
        text = f"{self.op} {self.subject}: {self.reason}" if self.subject else f"{self.op}: {self.reason}"
        return f"{text} (hint: {self.hint})" if self.hint else text


class Invalid(SetpointError):
    """The input is wrong: edit it."""


class NotFound(SetpointError):
    """The thing named does not exist."""


class Conflict(SetpointError):
    """Something else holds what was asked for."""


class Unsupported(SetpointError):
    """This kernel, or this version of Setpoint, cannot do it."""


class Temporary(SetpointError):
    """It may work later: retry after `retry_after_seconds`."""

    def __init__(
        self, op: str, subject: str, reason: str, hint: str = "", retry_after_seconds: float = 1.0
    ) -> None:
        super().__init__(op, subject, reason, hint)
        self.retry_after_seconds = retry_after_seconds


class Unkillable(Temporary):
    """A process waits in the kernel, or is frozen: nobody can end it now, and nobody waits for it."""
