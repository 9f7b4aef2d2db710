"""`--chmod`: octal, or symbolic as chmod(1) has it (`u=rwX,go=rX`). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from runtime.errors import Invalid

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*|[-+=][ugo])+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}

Change = Callable[[int, bool], int]
"""(mode, is it a directory) -> mode"""


def parse_mode(text: str) -> Change | None:
    """None for "": modes stay. `Invalid` for what is no mode."""
    if not text:
        return None
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        fixed = int(text, 8)
        return lambda mode, is_directory: fixed
    clauses = text.split(",")
    if not all(_CLAUSE.fullmatch(clause) for clause in clauses):
        raise Invalid("copy files", f"--chmod={text[:60]}", "not a mode", "such as 0644 or u=rwX,go=rX")

    def change(mode: int, is_directory: bool) -> int:
        for clause in clauses:
            mode = _apply(clause, mode, is_directory=is_directory)
        return mode

    return change


def _apply(clause: str, mode: int, *, is_directory: bool) -> int:
    match = _CLAUSE.fullmatch(clause)
    assert match is not None
    who = set(match[1]) or {"a"}
    classes = "ugo" if "a" in who else "".join(sorted(who))
    for operator, letters in _ACTION.findall(match[2]):
        bits = _bits(letters, classes, mode, is_directory=is_directory)
        if operator == "+":
            mode |= bits
        elif operator == "-":
            mode &= ~bits
        else:
            mode = (mode & ~_mask(classes)) | bits
    return mode


def _bits(letters: str, classes: str, mode: int, *, is_directory: bool) -> int:
    if letters in _SHIFTS:
        plain = mode >> _SHIFTS[letters] & 7
    else:
        plain = ("r" in letters) * 4 | ("w" in letters) * 2 | ("x" in letters)
        if "X" in letters and (is_directory or mode & 0o111):
            plain |= 1
    bits = 0
    for each in classes:
        bits |= plain << _SHIFTS[each]
    if "s" in letters:
        bits |= ("u" in classes) * 0o4000 | ("g" in classes) * 0o2000
    if "t" in letters:
        bits |= 0o1000
    return bits


def _mask(classes: str) -> int:
    mask = 0
    for each in classes:
        mask |= 7 << _SHIFTS[each]
    return mask | ("u" in classes) * 0o4000 | ("g" in classes) * 0o2000
