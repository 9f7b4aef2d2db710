"""Go's durations (`1m30s`, `1.5h`, `500ms`) to nanoseconds, as HEALTHCHECK has them. Pure."""

from __future__ import annotations

import re

from runtime.images.dockerfile.problems import Mistake, shown

_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = r"(\d{1,18})(?:\.(\d{0,18}))?|\.(\d{1,18})"
_ONE = re.compile(rf"(?:{_PART})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"\+?(?:(?:{_PART})(?:ns|us|µs|μs|ms|s|m|h)){{1,20}}", re.ASCII)
_MOST = 2**63 - 1
SHORTEST = 10**6  # Docker's: a millisecond


def nanoseconds(text: str, what: str) -> int:
    """0 for "0" and "". `Mistake`, with `what` named, for what is no duration or is under SHORTEST."""
    if text in ("", "0", "+0", "-0"):
        return 0
    if len(text) > 64 or not _WHOLE.fullmatch(text):
        raise Mistake(f"{what} {shown(text)} is no duration", "write 30s, 1m30s or 500ms", text)
    total = sum(_nanoseconds(*match.group(1, 2, 3, 4)) for match in _ONE.finditer(text))
    if total and not SHORTEST <= total <= _MOST:
        raise Mistake(f"{what} {shown(text)} is under a millisecond, or endless", "write 30s or 1m30s", text)
    return total


def _nanoseconds(whole: str | None, fraction: str | None, only_fraction: str | None, unit: str) -> int:
    digits = fraction or only_fraction or ""
    scale = _UNITS[unit]
    return int(whole or "0") * scale + (int(digits) * scale // 10 ** len(digits) if digits else 0)
