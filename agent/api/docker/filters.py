"""The `filters` of a query: {"label": ["a=b"]} in today's form, {"label": {"a=b": true}} in the old one.
Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from runtime.errors import Invalid

MAX_BYTES = 64 * 1024
Filters = Mapping[str, tuple[str, ...]]


def read_filters(text: str, known: Collection[str]) -> Filters:
    """Filter -> its values; {} for an empty text. Invalid for what is no filter, or is not in `known`."""
    if not text:
        return {}
    if len(text) > MAX_BYTES:
        raise Invalid("", "", f"invalid filter: longer than {MAX_BYTES} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("", "", f"invalid filter: not JSON: {text[:40]}") from None
    if not isinstance(data, dict):
        raise Invalid("", "", f"invalid filter: not an object: {text[:40]}")
    for name in data:
        if name not in known:
            raise Invalid("", "", f"invalid filter '{name[:40]}'")
    return {name: _values(name, value) for name, value in data.items()}


def _values(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        value = [text for text, is_on in value.items() if is_on is True]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid("", "", f"invalid filter '{name}': its values are no list of strings")
    return tuple(value)


def fits_labels(labels: Mapping[str, str], wanted: Collection[str]) -> bool:
    """Whether all of "name" and "name=value" are so."""
    for text in wanted:
        name, sign, value = text.partition("=")
        if name not in labels or (sign and labels[name] != value):
            return False
    return True


def flag_of(filters: Filters, name: str) -> bool | None:
    """A filter that is true or false; None when it is not asked for."""
    values = filters.get(name)
    if not values:
        return None
    words = {"true": True, "1": True, "false": False, "0": False}
    if values[-1].lower() not in words:
        raise Invalid("", "", f"invalid filter '{name}=[{values[-1][:40]}]'")
    return words[values[-1].lower()]
