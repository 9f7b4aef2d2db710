"""Parsers of single values: texts, numbers, sizes, durations, lists, and mappings of known fields.

Every parser takes (Reading, node), gives a plain value, and raises Refuse. They are lenient where
compose is: a number may be quoted, and a text may look like a number.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Collection, Iterable
from collections.abc import Mapping as MappingABC
from typing import Any, TypeVar

from agent.manifest.nodes import FALSES, INTEGER, NUMBER, TRUES, Mapping, Node, Scalar, Sequence, kind
from agent.manifest.reading import Reading, Refuse

T = TypeVar("T")
Parser = Callable[[Reading, Node], T]

MAX_INTEGER = 2**63 - 1
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
DURATION_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


class Broken(Refuse):
    """The errors are noted already; there is only no value."""

    def __init__(self) -> None:
        super().__init__("")


def guard(r: Reading, node: Node, parse: Parser[T], prefix: str = "") -> T | None:
    """parse's value, or None and its error noted; prefix says where, in all errors from inside."""
    outside = r.subject
    r.subject = outside + prefix
    try:
        return parse(r, node)
    except Broken:
        return None
    except Refuse as refusal:
        r.error(refusal.at or node, refusal.message, refusal.hint)
        return None
    finally:
        r.subject = outside


# --- scalars ----------------------------------------------------------------------------------


def text(r: Reading, node: Node) -> str:
    if not isinstance(node, Scalar) or node.is_null:
        raise Refuse(f"needs a text, not {_a(node)}")
    return r.text(node)


def filled(r: Reading, node: Node) -> str:
    """A text that is not empty."""
    value = text(r, node)
    if not value:
        raise Refuse("is empty")
    return value


def matching(pattern: str, hint: str) -> Parser[str]:
    """A text that fits a pattern as a whole."""
    compiled = re.compile(pattern)

    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        if not compiled.fullmatch(value):
            raise Refuse(f'"{value}" is not valid', hint)
        return value

    return parse


def choice(*allowed: str) -> Parser[str]:
    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        if value not in allowed:
            known = f"one of {', '.join(allowed)}" if len(allowed) > 1 else allowed[0]
            raise Refuse(f'"{value}" is not {known}', did_you_mean(value, allowed))
        return value

    return parse


def boolean(r: Reading, node: Node) -> bool:
    value = text(r, node)
    if value in TRUES:
        return True
    if value in FALSES:
        return False
    raise Refuse(f'needs true or false, not "{value}"')


def integer(least: int, most: int = MAX_INTEGER) -> Parser[int]:
    def parse(r: Reading, node: Node) -> int:
        value = to_integer(text(r, node))
        if not least <= value <= most:
            bounds = f"at least {least}" if most == MAX_INTEGER else f"from {least} to {most}"
            raise Refuse(f"{value} is out of range", bounds)
        return value

    return parse


def to_integer(value: str) -> int:
    """Decimal, 0o or 0x. Long runs of digits are refused before they cost anything."""
    if len(value) > 24 or not INTEGER.fullmatch(value):
        raise Refuse(f'needs a whole number, not "{value[:40]}"')
    base = 10 if value[:2] not in ("0x", "0o") else 0
    return int(value, base)


def number(least: float) -> Parser[float]:
    def parse(r: Reading, node: Node) -> float:
        value = text(r, node)
        if len(value) > 40 or not NUMBER.fullmatch(value):
            raise Refuse(f'needs a number, not "{value[:40]}"')
        result = float(value)
        if not least <= result < math.inf:
            raise Refuse(f"{value} is out of range", f"at least {least:g}")
        return result

    return parse


def octal(r: Reading, node: Node) -> int:
    """Permission bits, read as octal with or without a leading 0."""
    value = text(r, node)
    digits = value.removeprefix("0o")
    if not re.fullmatch("[0-7]{1,5}", digits):
        raise Refuse(f'"{value[:20]}" is not a file mode', "octal digits, such as 0755")
    return int(digits, 8)


def size(r: Reading, node: Node) -> int:
    """Bytes: 1024, "64m", "1.5g", "512MiB"."""
    return to_size(text(r, node))


def to_size(value: str) -> int:
    match = SIZE.fullmatch(value.strip())
    if match is None or len(value) > 40:
        raise Refuse(f'"{value[:40]}" is not a size', 'bytes, or a number with a unit: "64m", "1.5g"')
    result = float(match[1]) * SIZE_UNITS[match[2].lower()]
    if result > MAX_INTEGER:
        raise Refuse(f'"{value}" is out of range')
    return int(match[1]) * SIZE_UNITS[match[2].lower()] if match[1].isdigit() else int(result)


def size_or_unlimited(r: Reading, node: Node) -> int:
    """Bytes, or -1 for no limit."""
    return -1 if text(r, node) == "-1" else size(r, node)


def duration(r: Reading, node: Node) -> float:
    """Seconds of "1m30s", "500ms"; "0" needs no unit."""
    return to_duration(text(r, node))


def to_duration(value: str) -> float:
    if value == "0":
        return 0.0
    seconds, at = 0.0, 0
    while match := DURATION.match(value, at):
        seconds += float(match[1]) * DURATION_UNITS[match[2]]
        at = match.end()
    if at == 0 or at < len(value):
        hint = f'write a unit: "{value}s"' if NUMBER.fullmatch(value) else 'such as "30s", "1m30s", "500ms"'
        raise Refuse(f'"{value[:40]}" is not a duration', hint)
    if not seconds < 1e10:
        raise Refuse(f'"{value[:40]}" is out of range')
    return round(seconds, 9)


def positive_duration(r: Reading, node: Node) -> float:
    seconds = duration(r, node)
    if seconds <= 0:
        raise Refuse("must be longer than 0")
    return seconds


# --- lists and mappings -----------------------------------------------------------------------


def items(r: Reading, node: Node, parse: Parser[T]) -> tuple[T, ...]:
    """A list, each item by parse; the errors of all items are noted."""
    if not isinstance(node, Sequence):
        raise Refuse(f"needs a list, not {_a(node)}", "each item on a line of its own, after '- '")
    values = [guard(r, item, parse, f"item {index}: ") for index, item in enumerate(node.items, 1)]
    if any(value is None for value in values):
        raise Broken
    return tuple(value for value in values if value is not None)


def texts(r: Reading, node: Node) -> tuple[str, ...]:
    return items(r, node, text)


def list_of(parse: Parser[T]) -> Parser[tuple[T, ...]]:
    return lambda r, node: items(r, node, parse)


def one_or_list(parse: Parser[T]) -> Parser[tuple[T, ...]]:
    """A list, or a single value that stands for a list of one."""

    def read(r: Reading, node: Node) -> tuple[T, ...]:
        _check_not_mapping(node)
        return items(r, node, parse) if isinstance(node, Sequence) else (parse(r, node),)

    return read


def _check_not_mapping(node: Node) -> None:
    if isinstance(node, Mapping):
        raise Refuse("needs a text or a list, not a mapping")


def words(r: Reading, node: Node) -> tuple[str, ...]:
    """A command: a list, or one line that is split as a shell does (no shell runs it)."""
    _check_not_mapping(node)
    if isinstance(node, Sequence):
        return texts(r, node)
    value = text(r, node)
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise Refuse(f"a quote is not closed in {value[:60]!r}") from None


def pairs(r: Reading, node: Node, separators: str = "=") -> dict[str, tuple[str | None, Node]]:
    """A mapping, or a list of `name=value`; None where a name stands alone. With each value's node."""
    if isinstance(node, Mapping):
        return _pairs_of_mapping(r, node)
    if not isinstance(node, Sequence):
        raise Refuse(
            f"needs a mapping or a list, not {_a(node)}",
            f"one name{separators[-1]}value an item, or {{name: value}}",
        )
    result: dict[str, tuple[str | None, Node]] = {}

    def add(r: Reading, item: Node) -> bool:
        value = text(r, item)
        ends = [at for separator in separators if (at := value.find(separator)) >= 0]
        name, rest = (value[: min(ends)], value[min(ends) + 1 :]) if ends else (value, None)
        if not name:
            raise Refuse(f'"{value[:40]}" has no name', f"write name{separators[0]}value")
        result[name] = (rest, item)
        return True

    items(r, node, add)
    return result


def _pairs_of_mapping(r: Reading, node: Mapping) -> dict[str, tuple[str | None, Node]]:
    result: dict[str, tuple[str | None, Node]] = {}
    is_broken = False
    for name, entry in node.entries.items():
        value = entry.value
        if isinstance(value, Scalar) and value.is_null:
            result[name] = (None, value)
            continue
        parsed = guard(r, value, text, f'"{name}": ')
        is_broken |= parsed is None
        result[name] = (parsed, value)
    if is_broken:
        raise Broken
    return result


def string_map(r: Reading, node: Node) -> dict[str, str]:
    """A mapping of texts; a name without a value has an empty one."""
    return {name: value or "" for name, (value, _) in pairs(r, node).items()}


def named(r: Reading, node: Node, parse: Parser[T], what: str) -> dict[str, T]:
    """A mapping from any name to what parse makes of its value."""
    if not isinstance(node, Mapping):
        raise Refuse(f"needs a mapping, not {_a(node)}", f"{what}: value")
    values = {name: guard(r, entry.value, parse, f'"{name}": ') for name, entry in node.entries.items()}
    if any(value is None for value in values.values()):
        raise Broken
    return {name: value for name, value in values.items() if value is not None}


def fields(
    r: Reading,
    node: Node,
    table: MappingABC[str, Parser[Any]],
    *,
    lacking: Collection[str] = (),
    required: Iterable[str] = (),
    nullable: Collection[str] = (),
) -> dict[str, Any]:
    """A mapping of known fields, each by its parser; what has an error is noted and left out.

    lacking: fields that compose has and Setpoint has not yet. Raises Broken when a required field has
    no value, Refuse when node is no mapping. Others' `x-` fields are left alone, as compose does.
    """
    if not isinstance(node, Mapping):
        raise Refuse(f"needs a mapping, not {_a(node)}", _fields_hint(table))
    values: dict[str, Any] = {}
    is_broken = False
    for name, entry in node.entries.items():
        parse = table.get(name)
        if parse is None and name.startswith("x-"):
            continue
        if parse is None:
            r.error(entry.key, *unknown_field(name, table, lacking))
        elif isinstance(entry.value, Scalar) and entry.value.is_null:
            if name not in nullable:
                r.error(entry.key, f"{name}: has no value", "give it one, or remove the line")
        else:
            value = guard(r, entry.value, parse, f"{name}: ")
            if value is not None:
                values[name] = value
    for name in required:
        if name not in node.entries:
            r.error(node, f"{name} is missing")
        is_broken |= name not in values
    if is_broken:
        raise Broken
    return values


def unknown_field(name: str, known: Iterable[str], lacking: Collection[str]) -> tuple[str, str]:
    """Message and hint for a field that is not in the table."""
    if name in lacking:
        return f'"{name}" is not supported yet', "remove it, or write x- before it"
    return f'unknown field "{name}"', did_you_mean(name, [*known, *lacking])


def _fields_hint(table: Collection[str]) -> str:
    return f"fields are {', '.join(sorted(table))}" if len(table) < 12 else ""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint that names the closest known word, or ""."""
    close = difflib.get_close_matches(word[:64], list(known), n=1, cutoff=cutoff)
    return f'did you mean "{close[0]}"?' if close and close[0] != word else ""


def _a(node: Node) -> str:
    name = kind(node)
    return name if name == "nothing" else f"a {name}"
