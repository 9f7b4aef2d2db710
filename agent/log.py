"""The agent's own log: text on a terminal, one JSON object a line elsewhere. Standard error is the one
place it goes to; when that is the instance's agent.log, it is kept within bounds.

What containers print is not here (see `runtime.logs`), nor what was decided (events, in the store).
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import stat
import sys
import time
from pathlib import Path

from runtime.layout import Layout

LOOK_BYTES = 16 * 1024
MAX_BYTES = 10 * 1024 * 1024  # of agent.log; one older file is kept
TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def file_of(layout: Layout) -> Path:
    """Where an agent in the background logs: with the data, or in memory while their disk is read-only."""
    path = layout.data / "agent.log"
    try:  # nothing less tells: ext4 that met an error is no read-only mount to access(2)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EIO):
            return layout.run / path.name
    return path


def set_up(level: str, form: str, log_file: Path) -> None:
    """form: "text", "json", or "auto" (text if standard error is a terminal). log_file: the file that is
    bounded if standard error is open on it."""
    handler = _Handler(log_file)
    # What no line of ours has is not looked up for each (Python's logging HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined, unused-ignore]  # Python 3.12
    is_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(logging.Formatter(TEXT) if is_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(root.level, logging.WARNING))


class JsonFormatter(logging.Formatter):
    """{"at", "level", "logger", "message"} and "traceback" where there is one. ASCII, so that no control
    character of a name reaches a terminal that shows the file."""

    def format(self, record: logging.LogRecord) -> str:
        at = _second(int(record.created))
        entry = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


@functools.lru_cache(maxsize=1)
def _second(at: int) -> str:
    """A burst of actions falls into few seconds: strftime once for each."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


class _Handler(logging.Handler):
    """Writes lines to descriptor 2, and moves a file that has grown too large aside."""

    def __init__(self, log_file: Path) -> None:
        super().__init__()
        self._path = log_file
        self._is_bounded = _is_open_on(2, log_file)
        self._room = 0  # bytes that may be written before the file is looked at again

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
            if self._is_bounded:
                self._make_room(len(line))
            os.write(2, line)
        except OSError:  # a full disk or a closed terminal must stop nothing
            pass
        except Exception:
            self.handleError(record)

    def _make_room(self, length: int) -> None:
        """Before a line that is so long. Others write there too, so that it is looked at now and then."""
        self._room -= length
        if self._room >= 0:
            return
        left = MAX_BYTES - os.fstat(2).st_size - length
        if left >= 0:
            self._room = min(left, LOOK_BYTES)
            return
        self._path.rename(self._path.with_name(self._path.name + ".1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for standard in (1, 2):
            if standard == 2 or _same_file(1, 2):
                os.dup2(descriptor, standard, inheritable=True)
        os.close(descriptor)


def _is_open_on(descriptor: int, path: Path) -> bool:
    try:
        ours, theirs = os.fstat(descriptor), path.stat()
    except OSError:
        return False
    return stat.S_ISREG(ours.st_mode) and (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False
