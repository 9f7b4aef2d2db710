"""Which words name a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`. Pure."""

from __future__ import annotations

import re
import signal

_NAMES = frozenset(member.name for member in signal.Signals)
_REAL_TIME = re.compile(r"SIGRT(?:MIN(?:\+([0-9]{1,2}))?|MAX(?:-([0-9]{1,2}))?)", re.ASCII)
_MOST = 64  # of Linux
_REAL_TIME_SPAN = {"MIN": 15, "MAX": 14}  # as many as Docker names


def is_signal(word: str) -> bool:
    if word.isascii() and word.isdigit():
        return len(word) < 4 and 0 < int(word) <= _MOST
    name = word.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name in _NAMES:
        return True
    match = _REAL_TIME.fullmatch(name)
    if match is None:
        return False
    return int(match[1] or 0) <= _REAL_TIME_SPAN["MIN"] and int(match[2] or 0) <= _REAL_TIME_SPAN["MAX"]
