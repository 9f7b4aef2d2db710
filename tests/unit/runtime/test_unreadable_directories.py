"""A directory that cannot be read is not an empty one: of what is not there, the rest is taken away."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from runtime.images.build import cache
from runtime.images.garbage import Holdings
from runtime.network import records
from runtime.oci.records import list_ids

READERS: dict[str, Callable[[Path], Any]] = {
    "networks and sandboxes": records.read_all,
    "what builds need": lambda directory: [*cache.held(directory)],
    "containers of the OCI command line": list_ids,
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_that_it_cannot_be_read_is_told(
    what: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "listdir", fail)
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        READERS[what](tmp_path)


@pytest.mark.parametrize("what", READERS)
def test_there_is_nothing_in_one_that_is_not_there(what: str, tmp_path: Path) -> None:
    assert not READERS[what](tmp_path / "none")


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"b": 1}')
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other").write_text("{}")
    assert records.read_all(tmp_path) == [{"a": 1}, {"b": 1}]


def test_what_a_build_needs_and_who_says_nothing(tmp_path: Path) -> None:
    lease = {"blobs": ["sha256:a"], "layers": ["b"]}
    for name, text in (("whole", json.dumps(lease)), ("broken", "{"), ("other", None)):
        stage = tmp_path / "ingest" / name
        stage.mkdir(parents=True)
        if text is not None:
            (stage / cache.LEASE).write_text(text)
    (tmp_path / "ingest" / "file").touch()
    assert [*cache.held(tmp_path)] == [Holdings(frozenset({"sha256:a"}), frozenset({"b"}))]


def test_a_lease_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ingest" / "one" / cache.LEASE).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        [*cache.held(tmp_path)]
