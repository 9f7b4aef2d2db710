"""What this host knows of images beside what they are: when it first saw one, and the signatures that came
with it. A small file a digest, below the store's `seen` directory, lasting when `complete` returns.

It outlives its image, so that one that was refused for being new grows old; of those that are not here only
the newest MAX_RECORDS are kept. Nothing in it is trusted but our own times: signatures are checked when they
are asked for. Called by `Images`, from several threads.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.images.content import Content, checked_hex, replace_file
from runtime.images.facts import ImageFacts, Signature, signature_from_json, signature_to_json

DIRECTORY = "seen"
MAX_RECORDS = 4096
MAX_RECORD_BYTES = 4 << 20
MAX_SIGNATURES = 32
LITTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class _Seen:
    first_seen_at: float
    signatures: tuple[Signature, ...] = ()


class Evidence:
    """root: of the image store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._content = Content(root)
        self._lock = threading.Lock()

    def read(self, facts: ImageFacts) -> ImageFacts:
        """With what is known here of its digests. One that nobody has seen is seen now."""
        known = [seen for digest in facts.digests if (seen := self._seen(digest)) is not None]
        # What is known first: who may add signatures by the dozen pushes none of it out.
        found = [*(each for seen in known for each in seen.signatures), *facts.signatures]
        at = min((seen.first_seen_at for seen in known), default=time.time())
        return replace(facts, first_seen_at=at, signatures=_once(found))

    def complete(self, facts: ImageFacts) -> ImageFacts:
        """The same, and what is new of it is kept."""
        with self._lock:
            whole = self.read(facts)
            for digest in facts.digests:
                before = self._read(digest)
                after = _Seen(whole.first_seen_at, whole.signatures)
                if before != after:
                    self._write(digest, after)
        return whole

    def litter(self) -> list[Path]:
        """What a write that was cut left. Nobody takes as long to write one as that."""
        parts = (self._root / DIRECTORY).glob(".*.part")
        return [path for path in parts if 0 < _written_at(path) < time.time() - LITTER_SECONDS]

    def _seen(self, digest: str) -> _Seen | None:
        """A manifest that was here before anybody asked for times has that of its file."""
        found = self._read(digest)
        if found is None:
            try:
                found = _Seen(self._content.path(digest).stat().st_mtime)
            except FileNotFoundError:
                return None
        return found

    def _path(self, digest: str) -> Path:
        return self._root / DIRECTORY / f"{checked_hex(digest)}.json"

    def _read(self, digest: str) -> _Seen | None:
        """None for one that is damaged, too: it is as if it had not been seen."""
        try:
            with self._path(digest).open("rb") as file:
                return _parse(json.loads(file.read(MAX_RECORD_BYTES)))
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _write(self, digest: str, seen: _Seen) -> None:
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        value = {
            "first_seen_at": seen.first_seen_at,
            "signatures": [signature_to_json(s) for s in seen.signatures],
        }
        replace_file(path, json.dumps(value).encode())
        self._tidy(path.parent)

    def _tidy(self, directory: Path) -> None:
        records = [path for path in directory.iterdir() if path.suffix == ".json"]
        if len(records) <= MAX_RECORDS:
            return
        gone = [path for path in records if self._content.size(f"sha256:{path.stem}") is None]
        for path in sorted(gone, key=_written_at)[: len(records) - MAX_RECORDS]:
            path.unlink(missing_ok=True)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _once(signatures: Iterable[Signature]) -> tuple[Signature, ...]:
    return tuple(dict.fromkeys(signatures))[:MAX_SIGNATURES]


def _parse(value: Any) -> _Seen:
    at = float(value["first_seen_at"])
    return _Seen(at, tuple(signature_from_json(each) for each in value["signatures"]))
