"""When an image is fetched, as compose says it: `daily`, `every_1d12h`. Pure. Called by the parser and by
`reconcile.refresh`.
"""

from __future__ import annotations

import functools
import re

MIN_SECONDS = 60.0
NAMES = ("always", "if_newer", "missing", "never", "if_not_present", "daily", "weekly")
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_EVERY = re.compile(r"every_((?:[0-9]{1,6}[wdhms])+)")
_FIXED = {"daily": 86400.0, "weekly": 604800.0}


@functools.lru_cache(maxsize=64)
def period_seconds(policy: str) -> float:
    """Of `daily`, `weekly`, `every_1d12h`; 0.0 for others."""
    match = _EVERY.fullmatch(policy)
    if match is None:
        return _FIXED.get(policy, 0.0)
    parts = re.findall(r"([0-9]+)([wdhms])", match[1])
    return float(sum(int(number) * _SECONDS[unit] for number, unit in parts))
