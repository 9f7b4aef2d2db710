"""Words of a query. Pure."""

from __future__ import annotations

from collections.abc import Mapping

_NO = frozenset({"", "0", "no", "false", "none"})


def truth(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """As the daemon reads it: all but these words is yes, and an empty one is no."""
    value = query.get(name)
    return default if value is None else value.strip().lower() not in _NO
