"""A store of one's own in a temporary directory."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from runtime.images.images import Images
from runtime.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(f"t{secrets.token_hex(4)}", tmp_path / "data", tmp_path / "run")


@pytest.fixture
def images(layout: Layout) -> Images:
    return Images(layout)
