"""A store of one's own in a temporary directory, and a registry for the tests of a file."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images.images import Images
from runtime.layout import Layout
from tests.registry import Registry, started


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(f"t{secrets.token_hex(4)}", tmp_path / "data", tmp_path / "run")


@pytest.fixture
def images(layout: Layout) -> Images:
    return Images(layout)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with started(tmp_path_factory.mktemp("registry")) as registry:
        yield registry
