"""Moments as the Docker Engine API writes and reads them. Pure. Times here are Unix seconds (float)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from runtime.errors import Invalid

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,9})?)?)?([Zz]|[+-]\d\d:?\d\d)?"
)
_GO_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms|us|µs|ns))+")
_GO_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)")
_GO_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@lru_cache(4096)  # a container's moments are asked for again and again
def rfc3339(at: float | None) -> str:
    """With nanoseconds, as Go prints them; NEVER for None and 0."""
    if not at:
        return NEVER
    nanoseconds = round(at * 1e9)
    seconds, rest = divmod(nanoseconds, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


def read_moment(text: str, now: float) -> float:
    """A `since` or `until`: Unix seconds, RFC 3339, or a Go duration before now. Invalid for others."""
    try:
        return float(text)
    except ValueError:
        pass
    if _GO_DURATION.fullmatch(text):
        return now - sum(float(number) * _GO_SECONDS[unit] for number, unit in _GO_PART.findall(text))
    if found := _RFC3339.fullmatch(text):
        return _moment_of(found)
    raise Invalid("read time", text[:40], "neither Unix seconds, RFC 3339 nor a duration such as 10m")


def _moment_of(found: re.Match[str]) -> float:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        at = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError as error:
        raise Invalid("read time", found[0], str(error)) from None
    shift = timedelta()
    if zone and zone not in "Zz":
        sign = -1 if zone[0] == "-" else 1
        shift = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return (at - shift).timestamp() + float(fraction or 0)
