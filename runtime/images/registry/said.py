"""What a registry says with an answer that is no success: its words and its wishes, to errors of ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.registry.transport import explained

MAX_ERROR_BYTES = 64 * 1024
MAX_WAIT_SECONDS = 60.0


def to_error(
    answer: urllib3.BaseHTTPResponse, subject: str, what: str, clean: Callable[[str], str]
) -> SetpointError:
    """The error for an answer that is neither a success nor a 401 or 403. what: "manifests/TAG", …
    clean: takes our secrets out of what the registry says."""
    status, said = answer.status, clean(message_of(answer, subject))
    if status == 404:
        return NotFound("pull image", subject, f"there is no {_named(what)}", "see which tags there are")
    words = "it is asked too often" if status == 429 else f"it answers {status}"
    reason = words + (f": {said}" if said else "")
    if status == 429 or status >= 500:
        wait = retry_after(answer.headers.get("Retry-After", ""))
        return Temporary("pull image", subject, reason, "what is here already runs without it", wait)
    return untrusted(subject, reason)


def message_of(answer: urllib3.BaseHTTPResponse, subject: str) -> str:
    """The first message of the registry's own, in one short line. Closes the answer."""
    try:
        with explained(subject):
            errors = json_object(answer.read(MAX_ERROR_BYTES)).get("errors")
    except SetpointError:
        return ""
    finally:
        answer.close()
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    text = first.get("message") or first.get("code") or ""
    return " ".join(text.split())[:200] if isinstance(text, str) else ""


def untrusted(subject: str, reason: str) -> Invalid:
    return Invalid("pull image", subject, reason, "the registry is broken or not to be trusted")


def retry_after(text: str, now: float | None = None) -> float:
    """Seconds, or a date (RFC 9110, 10.2.3); at most a day. What is neither counts as the longest that a
    pull waits for. now: as time.time()."""
    if not text:
        return 1.0
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return min(float(text), 86400.0)
    try:
        date = parsedate_to_datetime(text[:100])
        at = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return MAX_WAIT_SECONDS
    return min(max(at - (time.time() if now is None else now), 0.0), 86400.0)


def json_object(data: bytes) -> Mapping[str, Any]:
    """Empty for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _named(what: str) -> str:
    kind, _, name = what.partition("/")
    return f"{'manifest' if kind == 'manifests' else 'blob'} {name[:100]!r}"
