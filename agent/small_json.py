"""JSON as `json` reads and writes it, without that package: it imports `re`, which is a fifth of what
`setpoint status` took as a whole process. For the command line's way to the agent, whose answers it reads.

The scanner and the encoder are CPython's own, in C, that `json` is a wrapper of.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from typing import Any

SPACE = " \t\n\r"


class _Rules:
    """As those of json.JSONDecoder(): see there."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    memo: dict[str, str] = {}  # noqa: RUF012 - never written to: the scanner has its own

    @staticmethod
    def parse_constant(text: str) -> float:
        return float(text.replace("Infinity", "inf"))


_scan: Any = getattr(_json, "make_scanner")(_Rules)  # noqa: B009 - the types do not know it
_encode: Any = getattr(_json, "make_encoder")(  # noqa: B009
    None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True
)


def loads(content: bytes | str) -> Any:
    """The value. ValueError for what is no JSON."""
    text = content.decode() if isinstance(content, bytes) else content
    text = text.strip(SPACE)
    try:
        value, end = _scan(text, 0)
    except StopIteration as error:
        raise ValueError(f"no value at character {error.value}") from None
    if end != len(text):
        raise ValueError(f"more than a value, from character {end}")
    return value


def dumps(value: Any) -> str:
    return "".join(_encode(value, 0))
