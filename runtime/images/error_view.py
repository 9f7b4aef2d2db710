"""Errors as JSON, between a process that unpacks and the one that waits for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime import errors
from runtime.errors import SetpointError, Temporary


def to_view(error: SetpointError) -> dict[str, Any]:
    fields: list[object] = [error.op, error.subject, error.reason, error.hint]
    if isinstance(error, Temporary):
        fields.append(error.retry_after_seconds)
    return {"kind": type(error).__name__, "fields": fields}


def to_error(view: Mapping[str, Any]) -> SetpointError:
    kind = getattr(errors, view["kind"], SetpointError)
    error = kind(*view["fields"])
    assert isinstance(error, SetpointError)
    return error
