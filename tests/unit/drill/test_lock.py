"""One drill at a time, whoever takes the lock's file away."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from agent.drill import instance
from runtime.errors import Conflict
from runtime.layout import Layout

LAYOUT = Layout("mine-drill")


def test_who_has_it_has_it_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    held = instance._locked(LAYOUT, path)
    with pytest.raises(Conflict, match="another drill runs"):
        instance._locked(LAYOUT, path)
    os.close(held)
    os.close(instance._locked(LAYOUT, path))


def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder took it away between our opening it and our lock."""
    path, lock, asked = tmp_path / "lock", fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not asked:
            path.unlink()
        asked.append(descriptor)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    held = instance._locked(LAYOUT, str(path))
    assert len(asked) == 2 and os.path.samestat(os.fstat(held), path.stat())
    os.close(held)
