"""The one place where an error becomes an HTTP answer. Pure.

Invalid 400, NotFound 404, Conflict 409, Unsupported 501, Temporary and a store that is not
available 503, anything else 500: our bug, whose traceback is in the log and never in the answer.
"""

from __future__ import annotations

from typing import Any

from runtime import errors
from store.errors import StoreError, Unavailable

STATUS: dict[type[BaseException], int] = {
    errors.Invalid: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unsupported: 501,
    errors.Temporary: 503,
}


def status_of(error: BaseException) -> int:
    """The status code of an error's answer."""
    if isinstance(error, Unavailable):
        return 503
    return next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)


def is_bug(error: BaseException) -> bool:
    """Nobody who asks can do anything about it."""
    return not isinstance(error, errors.SetpointError | StoreError)


def to_json(error: BaseException) -> dict[str, Any]:
    """The inner part of {"error": …}; `agent.wire.error_from` is the inverse."""
    if isinstance(error, StoreError):
        kind = "Temporary" if isinstance(error, Unavailable) else "Bug"
        return _fields(kind, error.op, error.path, error.reason, error.hint)
    if not isinstance(error, errors.SetpointError):
        reason = f"a bug in the agent: {type(error).__name__}"
        return _fields("Bug", "answer", "", reason, "its traceback is in the agent's log")
    kind = next((k.__name__ for k in STATUS if isinstance(error, k)), "Bug")
    data = _fields(kind, error.op, error.subject, error.reason, error.hint)
    if isinstance(error, errors.Temporary):
        data["retry_after_seconds"] = error.retry_after_seconds
    return data


def _fields(kind: str, op: str, subject: str, reason: str, hint: str) -> dict[str, Any]:
    return {"kind": kind, "op": op, "subject": subject, "reason": reason, "hint": hint}
