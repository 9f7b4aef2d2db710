"""Signals by the names that people write: TERM, SIGTERM, 15, RTMIN+3."""

from __future__ import annotations

import signal

from runtime.errors import Invalid
from runtime.model import ImageInfo

DEFAULT_STOP = "TERM"


def own_stop_signal(said: str, image: ImageInfo | None) -> str:
    """By which a container is stopped: the one that was said, else its image's; "" for neither, which is
    DEFAULT_STOP."""
    return said or (image.stop_signal if image else "")


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
