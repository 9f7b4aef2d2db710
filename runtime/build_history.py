"""Builds that were: what was asked, what became of it, and what it printed. Files, and no secrets in them.

    builds/history/<id>/build.json   {"id", "tags", "context", "dockerfile", "target", "started_at",
                                      "ended_at", "state": running | done | failed, "image", "error", …}
    builds/history/<id>/log          one line of JSON an event, at most LOG_BYTES

The newest KEPT stay. One that is "running" and whose agent is gone was broken off. Called by `builds`.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import NotFound

KEPT = 50
LOG_BYTES = 16 << 20
_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_FULL = {"kind": "log", "stream": "stderr", "text": "[the rest of the output is not kept]"}


class Record:
    """One build while it runs."""

    def __init__(self, directory: Path, values: Mapping[str, Any]) -> None:
        directory.mkdir(mode=0o700, parents=True)
        self._path = directory / "build.json"
        self._log = (directory / "log").open("ab", buffering=0)
        self._left = LOG_BYTES
        self.values = dict(values)
        self._write()

    def add(self, event: Mapping[str, Any]) -> None:
        """A full disk keeps no build from going on."""
        if self._left <= 0:
            return
        data = json.dumps(event).encode() + b"\n"
        self._left -= len(data)
        if self._left <= 0:
            data = json.dumps(_FULL).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._log.write(data)

    def end(self, **values: Any) -> None:
        self.values |= values
        self._log.close()
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            _replace(self._path, self.values)


class History:
    """The builds of an instance."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, values: Mapping[str, Any]) -> Record:
        self.tidy(KEPT - 1)
        return Record(self._directory / str(values["id"]), values)

    def all(self) -> list[dict[str, Any]]:
        """Newest first."""
        found = [value for path in self._paths() if (value := _read(path)) is not None]
        return sorted(found, key=lambda value: (-float(value.get("started_at", 0.0)), value.get("id", "")))

    def find(self, id: str) -> dict[str, Any]:
        """By its id, or the first digits of it."""
        found = [value for value in self.all() if str(value.get("id", "")).startswith(id)]
        if not _PREFIX.fullmatch(id) or not found:
            raise NotFound(
                "find build", id[:64], "there is no such build", "setpoint image builds lists them"
            )
        return found[0]

    def log(self, id: str) -> Iterator[dict[str, Any]]:
        """What a build said. id: whole."""
        if not _ID.fullmatch(id):
            return
        with contextlib.suppress(FileNotFoundError), (self._directory / id / "log").open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def tidy(self, kept: int = KEPT) -> None:
        ended = [value for value in self.all() if value.get("state") != "running"]
        for value in ended[kept:]:
            shutil.rmtree(self._directory / str(value["id"]), ignore_errors=True)

    def close_broken(self) -> None:
        """No build is under way: those that say so were broken off."""
        for path in self._paths():
            value = _read(path)
            if value is None:
                shutil.rmtree(path, ignore_errors=True)
            elif value.get("state") == "running":
                value |= {"state": "failed", "error": "broken off: the agent ended"}
                with contextlib.suppress(OSError):
                    _replace(path / "build.json", value)

    def _paths(self) -> list[Path]:
        try:
            return [path for path in self._directory.iterdir() if _ID.fullmatch(path.name)]
        except FileNotFoundError:
            return []


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    """Without waiting for the disk: after a loss of power one build less is remembered."""
    part = path.with_name(f".{path.name}.new")
    part.write_text(json.dumps(value))
    part.rename(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((path / "build.json").read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("id") == path.name else None
