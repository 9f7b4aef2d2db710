"""Which columns the arguments of ps(1) ask for. Pure; `process_table` fills them.

Which processes are meant is no question here, always those of one container: what selects is read and passed
over. What would be shown differently and is not known is refused by name.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.errors import Invalid


class Column(NamedTuple):
    """name: a field of `process_table`. title: as it is headed."""

    name: str
    title: str


DEFAULT = "-ef"
MAX_BYTES = 4096
_SELECTING = frozenset("eAaxdwr")
# Words of -o with the titles that procps gives them.
TITLES = {
    "pid": "PID", "ppid": "PPID", "pgid": "PGID", "pgrp": "PGRP", "sid": "SID", "sess": "SESS", "uid": "UID",
    "euid": "EUID", "ruid": "RUID", "user": "USER", "euser": "EUSER", "ruser": "RUSER", "uname": "USER",
    "gid": "GID", "egid": "EGID", "rgid": "RGID", "comm": "COMMAND", "ucmd": "CMD", "ucomm": "COMMAND",
    "cmd": "CMD", "args": "COMMAND", "command": "COMMAND", "etime": "ELAPSED", "etimes": "ELAPSED",
    "time": "TIME", "cputime": "TIME", "bsdtime": "TIME", "stime": "STIME", "start": "STARTED",
    "start_time": "START", "lstart": "STARTED", "tty": "TT", "tt": "TT", "tname": "TTY", "stat": "STAT",
    "state": "S", "s": "S", "ni": "NI", "nice": "NI", "pri": "PRI", "opri": "PRI", "vsz": "VSZ",
    "vsize": "VSZ", "rss": "RSS", "rssize": "RSS", "rsz": "RSZ", "sz": "SZ", "pcpu": "%CPU", "%cpu": "%CPU",
    "pmem": "%MEM", "%mem": "%MEM", "c": "C", "nlwp": "NLWP", "thcount": "THCNT", "psr": "PSR", "f": "F",
}  # fmt: skip
_FORMS = {
    "": ("pid", "tname", "time", "ucmd"),
    "f": ("user=UID", "pid", "ppid", "c", "stime", "tname", "time", "cmd"),
    "F": ("user=UID", "pid", "ppid", "c", "sz", "rss", "psr", "stime", "tname", "time", "cmd"),
    "l": ("f", "s", "uid", "pid", "ppid", "c", "opri", "ni", "sz", "tname", "time", "ucmd"),
    "bsd": ("pid", "tname", "stat", "bsdtime", "args"),
    "u": (
        "user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start_time", "bsdtime", "args",
    ),
}  # fmt: skip


def columns_of(arguments: str) -> list[Column]:
    """`-ef`, `aux`, `-eo pid,comm`, `-o user=WHO -o args` … `Invalid` for what is not known here."""
    if len(arguments) > MAX_BYTES:
        raise Invalid("", "", f"ps_args: over {MAX_BYTES} bytes")
    words = arguments.split()[::-1]
    form, asked = "", list[Column]()
    while words:
        word = words.pop()
        if word.startswith("--"):
            asked += _long(word, words)
            continue
        letters = word.removeprefix("-")
        is_bsd = letters == word
        form = form or ("bsd" if is_bsd else "")
        for at, letter in enumerate(letters):
            if letter == "o":
                asked += _list(letters[at + 1 :] or _next(words, word))
                break
            form = _form(letter, form, is_bsd=is_bsd)
    return asked or _list(",".join(_FORMS[form]))


def _long(word: str, words: list[str]) -> list[Column]:
    name, sign, value = word.partition("=")
    if name != "--format":
        raise _refused(word)
    return _list(value if sign else _next(words, word))


def _next(words: list[str], word: str) -> str:
    if not words:
        raise Invalid("", "", f"ps_args: {word[:40]} needs a list of columns")
    return words.pop()


def _form(letter: str, form: str, *, is_bsd: bool) -> str:
    if is_bsd and letter == "u":
        return "u"
    if not is_bsd and letter in "fFl":
        return letter
    if letter in _SELECTING and not (is_bsd and letter in "edA"):
        return form
    raise _refused(letter if is_bsd else f"-{letter}")


def _list(text: str) -> list[Column]:
    """The last of a list may have a title of its own, which may be anything."""
    found: list[Column] = []
    for item in text.split(","):
        name, sign, title = item.partition("=")
        known = TITLES.get(name.lower())
        if known is None:
            raise Invalid("", "", f"ps_args: unknown column {name[:40]!r}", "known: " + ", ".join(TITLES))
        found.append(Column(name.lower(), title if sign and title else known))
    return found


def _refused(word: str) -> Invalid:
    hint = "-ef, -eF, -el, aux, or -o with columns"
    return Invalid("", "", f"ps_args: {word[:40]!r} is not known here", hint)
