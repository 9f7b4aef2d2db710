"""A load's own directory, beside those of others."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.images.staging_directory import staging_directory


def test_one_that_cannot_be_taken_is_let_be(tmp_path: Path) -> None:
    """As when its own load removes it at that moment. No lock stays open, by which the new one would look
    alive for ever."""
    (tmp_path / "ingest" / ("x" * 251)).mkdir(parents=True)  # with `dead-` before it, a name too long
    before = len(os.listdir("/proc/self/fd"))
    with staging_directory(tmp_path) as stage:
        assert stage.is_dir()
    assert not stage.exists()
    assert len(os.listdir("/proc/self/fd")) == before
