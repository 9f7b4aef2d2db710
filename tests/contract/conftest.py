"""The same tests against the engine in memory and the one on the kernel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.subject import Subject
from tests.native import native_engine
from tests.sim.fake_engine import FakeEngine


@pytest.fixture(params=["fake", "native"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """An engine with the busybox image, and what makes things happen to it."""
    if request.param == "fake":
        engine = FakeEngine(time.time)
        yield Subject(engine, fake=engine)
        return
    archive: Path = request.getfixturevalue("busybox_archive")
    async with native_engine(request.getfixturevalue("instance"), archive) as native:
        yield Subject(native, native=native)
