"""`docker top`: what the arguments of ps ask for, and what is shown."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.api.docker.process_table import FIELDS, Seen, columns_of, elapsed, printable, rows
from agent.api.docker.ps_arguments import TITLES
from runtime.errors import Invalid


@pytest.mark.parametrize(
    ("arguments", "titles"),
    [
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
        ("-f", "UID PID PPID C STIME TTY TIME CMD"),
        ("-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
        ("-e", "PID TTY TIME CMD"),
        ("ax", "PID TTY STAT TIME COMMAND"),
        ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("auxww", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-o pid,comm", "PID COMMAND"),
        ("-eo pid,cmd", "PID CMD"),
        ("-opid -o user=WHO", "PID WHO"),
        ("axo pid,ppid,ni", "PID PPID NI"),
        ("--format pid,etime", "PID ELAPSED"),
        ("--format=pid,%cpu", "PID %CPU"),
        ("-o user=,pid", "USER PID"),
    ],
)
def test_arguments(arguments: str, titles: str) -> None:
    assert " ".join(column.title for column in columns_of(arguments)) == titles


@pytest.mark.parametrize(
    "arguments",
    [
        "-T",
        "-o",
        "-o nothing",
        "--forest",
        "--sort=pid",
        "-p 1",
        "auxe",
        "m",
        "x" * 5000,
        "-o pid,\x1b[31m",
        "-ef;id",
    ],
)
def test_refused(arguments: str) -> None:
    with pytest.raises(Invalid, match="ps_args"):
        columns_of(arguments)


def test_every_column_can_be_shown() -> None:
    assert set(TITLES) == set(FIELDS)
    with subprocess.Popen(["/bin/sleep", "100"]) as child:
        try:
            while not Path(f"/proc/{child.pid}/cmdline").read_bytes():  # it executes the program still
                assert child.poll() is None
            [row] = rows(columns_of("-o " + ",".join(TITLES)), [child.pid])
        finally:
            child.kill()
    assert all(isinstance(value, str) and value for value in row)
    shown = dict(zip(TITLES, row, strict=True))
    assert (shown["pid"], shown["ppid"]) == (str(child.pid), str(os.getpid()))
    assert (shown["comm"], shown["cmd"]) == ("sleep", "/bin/sleep 100")
    assert shown["uid"] == str(os.getuid())
    assert rows(columns_of("-ef"), [child.pid]) == []  # it has ended


def test_what_a_process_says_of_itself_is_not_trusted() -> None:
    fields = ["S", "1", "2", "2", "34817", "2", *["0"] * 44]
    seen = Seen(2, "a\n) b\x1b[31m", fields, {}, b"\x1b]0;x\x07\0two\xff\0\xe2\x80\xae\0", 10.0, 1000.0)
    assert FIELDS["comm"](seen) == "a?) b?[31m"
    assert FIELDS["cmd"](seen) == "?]0;x? two� ?"
    assert FIELDS["tty"](seen) == "pts/1"
    assert printable("plain text") == "plain text"


def test_lengths_of_time() -> None:
    assert [elapsed(each) for each in (5, 65, 3665, 90065)] == ["00:05", "01:05", "01:01:05", "1-01:01:05"]
