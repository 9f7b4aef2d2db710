"""A story on an instance of its own, for fixtures that several tests share."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests import leaks
from tests.e2e.story import PROGRAM, Story


@contextlib.contextmanager
def own_story(folder: Path) -> Iterator[Story]:
    """With a git work tree `tree` in the folder, without a commit and an agent yet. At its end, if all went
    well, it is taken down, and nothing may be left; at any other, what there is of it is removed."""
    if os.geteuid() != 0 or not PROGRAM.exists():
        pytest.skip("needs root, and ops/up or ops/test to have made the program")
    layout = Layout(f"t{secrets.token_hex(4)}")
    claimed = leaks.claim(layout)
    story = Story(layout, folder / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    try:
        yield story
        story.take_down()
        left = leaks.find_leaks(layout)
    finally:
        leaks.clean(layout)
        leaks.release(layout, claimed)
    assert left == []
