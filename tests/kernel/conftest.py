"""The real engine for every test here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.layout import Layout
from tests.native import native_engine


@pytest.fixture
async def engine(instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    """An engine on an instance of its own, with the busybox image."""
    async with native_engine(instance, busybox_archive) as engine:
        yield engine
