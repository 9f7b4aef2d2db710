"""Signals by the names that people write: TERM, SIGTERM, 15, RTMIN+3."""

from __future__ import annotations

import signal

from runtime.errors import Invalid


def parse_signal(text: str) -> int:
    """The number. Invalid for what is none."""
    name = text.strip().upper()
    if name.isdecimal() and 1 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    name = name.removeprefix("SIG")
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    try:
        number = int(signal.Signals[f"SIG{base}"])
        if sign:
            number += int(offset) if sign == "+" else -int(offset)
    except (KeyError, ValueError):
        number = 0
    is_real_time = signal.SIGRTMIN <= number <= signal.SIGRTMAX
    if number < 1 or (sign and not is_real_time):
        raise Invalid("signal", text[:40], "no such signal", "a name like SIGTERM or a number")
    return number
