"""Printing for people and for programs: tables, data, errors, colour. Every verb prints through here.

Names, messages and logs come from manifests and containers, which are hostile: nothing that can
steer a terminal (C0, C1, bidirectional controls) passes `clean`. No import beyond the standard
library's small parts; PyYAML only for `-o yaml`.
"""

from __future__ import annotations

import os
import sys
import time
from _collections_abc import Mapping  # collections.abc is the same, and imports collections

from runtime.errors import Invalid

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

# C0 and DEL, C1, and the controls that reorder or hide text (Unicode TR9, TR36): all shown escaped.
_UNSAFE = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{
        code: f"\\u{code:04x}"
        for code in (0x61C, *range(0x200B, 0x2010), 0x2028, 0x2029, *range(0x202A, 0x202F),
                     *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC))
    },
    **{code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)},
    **{code: f"\\U{code:08x}" for code in range(0xE0000, 0xE0080)},
    0x09: " ",
    0x0A: "\\n",
    0x0D: "\\r",
}  # fmt: skip

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "grey": "90", "bold": "1"}


def clean(value: object) -> str:
    """Text that cannot steer a terminal. Line breaks become \\n."""
    text = str(value)
    return text if text.isascii() and text.isprintable() else text.translate(_UNSAFE)


def is_colourful(stream: Any = None) -> bool:
    """Colour only on a terminal, and not when NO_COLOR asks for none."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, stream: Any = None) -> str:
    if not colour or not is_colourful(stream):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def uncoloured(text: str) -> str:
    """The inverse of paint, to measure by."""
    for code in (*COLOURS.values(), "0"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


class Cell(str):
    """A table's cell with a colour; as wide as its text."""

    __slots__ = ("colour",)

    def __new__(cls, text: object, colour: str = "") -> Cell:
        cell = super().__new__(cls, clean(text))
        cell.colour = colour
        return cell

    colour: str


def shown_key(item: Mapping[str, Any]) -> str:
    """An object's key; of what the Docker API made, with the name that people gave it: verbs take either."""
    key = str(item["key"])
    if not item.get("unmanaged") or not item.get("name"):
        return key
    return f"{key.rpartition('/')[0]}/{item['name']}"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None) -> str:
    """Columns aligned by two spaces. The last column is cut to the terminal, never wrapped."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    lines = [[Cell(heading, "bold") for heading in headings], *cells] if headings else cells
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    room = terminal_width() if width is None else width
    if room:
        widths[-1] = max(12, min(widths[-1], room - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    show = paint if is_colourful() else _plain  # asked for once, and not for each cell
    return "\n".join(_line(line, widths, show) for line in lines)


def _plain(text: str, _colour: str) -> str:
    return text


def _line(cells: Sequence[Cell], widths: Sequence[int], show: Callable[[str, str], str]) -> str:
    parts = []
    for cell, width in zip(cells, widths, strict=True):
        text = cell if len(cell) <= width else cell[: width - 1] + "…"
        parts.append(show(text, cell.colour) + " " * (width - len(text)))
    return "  ".join(parts).rstrip()


def terminal_width() -> int:
    """Columns of the terminal; 0 (no limit) where stdout is none."""
    if not sys.stdout.isatty():
        return 0
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return 0


def write(stream: int, content: bytes, *, raw: bool = False) -> None:
    """Bytes as they are into a file or pipe; onto a terminal nothing that can steer it."""
    target = sys.stderr if stream == 2 else sys.stdout
    if not raw and target.isatty():
        from agent.cli.logs import harmless  # late: few look at it, and it imports re

        content = harmless(content.decode(errors="replace")).encode()
    target.buffer.write(content)
    target.buffer.flush()


def print_data(value: Any, form: str) -> None:
    """JSON or YAML on stdout. What could steer a terminal is written as the form escapes it."""
    sys.stdout.write(_json(value) if form == "json" else _yaml(value))


def _json(value: Any) -> str:
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text if _is_harmless(text) else json.dumps(value, indent=2) + "\n"


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text if _is_harmless(text) else str(yaml.safe_dump(value, sort_keys=False))


def _is_harmless(text: str) -> bool:
    return text.isascii() or not any(ord(letter) in _UNSAFE for letter in text if letter != "\n")


def print_error(error: BaseException) -> None:
    """One sentence, and a hint on its own line. What is not ours to foresee says so."""
    say = f"{paint('error', 'red', stream=sys.stderr)}: {clean(_sentence(error))}"
    hint = getattr(error, "hint", "")
    print(say, file=sys.stderr)
    if hint:
        print(f"{paint('hint', 'yellow', stream=sys.stderr)}: {clean(hint)}", file=sys.stderr)


def _sentence(error: BaseException) -> str:
    if hasattr(error, "op") and hasattr(error, "reason"):
        subject = getattr(error, "subject", "") or getattr(error, "path", "")  # a store's error
        return f"{error.op} {subject}: {error.reason}" if subject else f"{error.op}: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error} (a bug in Setpoint; SETPOINT_DEBUG=1 shows where)"


def no_such_verb(verb: str, verbs: Iterable[str]) -> Invalid:
    return Invalid("run", verb, "there is no such verb", nearest(verb, verbs) or "setpoint --help")


def nearest(word: str, words: Iterable[str]) -> str:
    """`did you mean plan?`, or ""."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(words), 1)
    return f"did you mean {close[0]}?" if close else ""


def ago(at: float | None, now: float | None = None) -> str:
    """How long since `at`, in one or two units: 5s, 3m, 2h, 4d; "-" when unknown."""
    if not at:
        return "-"
    return span((time.time() if now is None else now) - at)


def span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "m"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds / divisor)}{unit}"
    return f"{int(seconds / 86400)}d"


def size(count: float | None) -> str:
    """Bytes as people read them: 812 B, 4.2 MB; "-" when unknown."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clock(at: float) -> str:
    """Local date and time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def short(revision: object) -> str:
    """The first seven digits of a commit; other revisions keep their prefix ("dir-3f2a9c1")."""
    text = str(revision or "")
    if text.startswith("dir-"):
        return text[:11]
    return text[:7] if len(text) == 40 else text[:12]


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
