"""The agent that runs already, when one is asked for: the options that it was started with. For
agent.cli.agent alone; asks the kernel, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

DETACHED = ("-I", "-m", "agent.cli")  # how `agent --detach` starts one, behind the interpreter's name


def options_of(pid: int) -> list[str] | None:
    """Of one that was started by `agent --detach`: what `words_of` made then. None for any other: who started
    it, a service manager perhaps, starts it again."""
    try:
        return options_in(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return None


def options_in(command: bytes) -> list[str] | None:
    """As `options_of`, of a command line as the kernel shows it (proc_pid_cmdline(5))."""
    words = os.fsdecode(command).split("\0")[:-1]
    if tuple(words[1:4]) != DETACHED or words[6:7] != ["agent"]:  # --instance NAME between them
        return None
    return words[7:]


def asked_otherwise(asked: Sequence[str], usual: Sequence[str], had: Sequence[str]) -> list[str]:
    """Options that are asked for, are not as they are without being asked for, and are not what it has."""
    return sorted({name for name, _ in pairs(asked) - pairs(usual) - pairs(had)})


def pairs(words: Sequence[str]) -> set[tuple[str, str]]:
    """Each option with its value, "" for one that has none."""
    found = set()
    for index, word in enumerate(words):
        if word.startswith("--"):
            value = words[index + 1] if index + 1 < len(words) else ""
            found.add((word, "" if value.startswith("--") else value))
    return found
