"""How an image came to be, step by step, as its config tells: JSON from outside to values. Pure.

Called for `setpoint image history` and `inspect`. What a config says of its history is believed no more than
its labels are: it is text to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.images.config import parse_time

MAX_STEPS = 1000
MAX_TEXT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Step:
    """layer: the diff id of what it made, "" for one that changed no file. created_at: Unix seconds, 0.0
    for not said."""

    created_by: str
    created_at: float
    comment: str
    author: str
    layer: str


def read_history(config: Mapping[str, Any], diff_ids: Sequence[str]) -> tuple[Step, ...]:
    """Lowest first. Layers that no step tells of come as steps without words, so that none is missing."""
    said = config.get("history")
    entries = [each for each in said if isinstance(each, dict)][:MAX_STEPS] if isinstance(said, list) else []
    left = list(diff_ids)
    steps = []
    for entry in entries:
        is_empty = entry.get("empty_layer") is True or not left
        steps.append(_to_step(entry, "" if is_empty else left.pop(0)))
    return (*steps, *(Step("", 0.0, "", "", diff_id) for diff_id in left))


def _to_step(entry: Mapping[str, Any], layer: str) -> Step:
    return Step(
        _text(entry.get("created_by")), parse_time(entry.get("created")), _text(entry.get("comment")),
        _text(entry.get("author")), layer,
    )  # fmt: skip


def _text(value: object) -> str:
    return value.encode("utf-8", "replace").decode()[:MAX_TEXT] if isinstance(value, str) else ""
