"""Containers to attack from, and a canary that stands for the host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.layout import Layout
from tests.kernel.network.conftest import bridged, lab
from tests.kernel.runtime.conftest import box, busybox
from tests.native import native_engine
from tests.unit.api.agents import Agent, ApiEngine, Place

__all__ = ["box", "bridged", "busybox", "lab"]
SETTINGS = tuple(Path("/proc/sys/kernel", name) for name in ("core_pattern", "domainname", "hostname"))


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host; fails the test when anything in it has changed."""
    place = tmp_path / "canary"
    place.mkdir()
    (place / "marker").write_text("untouched")
    before = place.stat().st_mtime_ns
    yield place
    assert [entry.name for entry in place.iterdir()] == ["marker"]
    assert (place / "marker").read_text() == "untouched"
    assert place.stat().st_mtime_ns == before


@pytest.fixture
def host_settings() -> Iterator[None]:
    """Kernel settings that attacks aim at; put back, and the test fails, when one was changed."""
    before = {path: path.read_bytes() for path in SETTINGS}
    yield
    changed = [str(path) for path in SETTINGS if path.read_bytes() != before[path]]
    for path in changed:
        Path(path).write_bytes(before[Path(path)])
    assert not changed


@pytest.fixture
async def engine(instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    """An engine on an instance of its own, with the busybox image."""
    async with native_engine(instance, busybox_archive) as engine:
        yield engine


@pytest.fixture(name="place")
def fixture_place() -> Iterator[Place]:
    made = Place()
    yield made
    made.remove()


@pytest.fixture
def agent(place: Place) -> Iterator[Agent]:
    """A whole agent with an engine that does nothing, for what reaches the API."""
    started = Agent(place.settings, ApiEngine()).start()
    try:
        assert started.client.wait(timeout_seconds=20)["met"]
        yield started
    finally:
        started.stop()
