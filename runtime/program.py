"""What a process was started from, and whether that is still what lies on the disk.

An upgrade, of the program, of its packages or of Python, leaves what runs as it was: an agent or a
supervisor of another version than the rest, which cannot load any more what it has not loaded yet. Each looks
after itself with this; who finds one that is outdated starts it anew (`supervisor.client`, agent.cli.agent).
Standard library only.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Program:
    """The interpreter and the modules that are loaded when this is made, as they are then. also: files of
    what belongs to it."""

    def __init__(self, also: Iterable[str] = ()) -> None:
        loaded = (getattr(module, "__dict__", {}).get("__file__") for module in tuple(sys.modules.values()))
        self._files = (sys.executable, *(file for file in loaded if file), *also)
        self._seen = _look(self._files)

    def is_outdated(self) -> bool:
        """Whether any of them is another by now, or gone."""
        return _look(self._files) != self._seen


def of_agent() -> Program:
    """With its supervisor's files: an agent that is started anew has that become what they are."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as below
    folders = (here, f"{here}/supervisor")
    names = [f"{folder}/{name}" for folder in folders for name in os.listdir(folder)]  # noqa: PTH208
    return Program(name for name in names if name.endswith(".py"))


def _look(files: Iterable[str]) -> int:
    """A number, and not the files' states: it is kept for as long as the process runs."""
    return hash(tuple(map(_state, files)))


def _state(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - standard library of the supervisor: pathlib costs memory
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
