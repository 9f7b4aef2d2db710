"""The cache of builds by way of a registry: what one machine ran, another does not."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.registries.origins import Origins
from runtime.cleanup import remove_instance
from runtime.engine import NativeEngine
from runtime.errors import Invalid
from runtime.images.build.exchange import take_in
from runtime.layout import Layout
from tests.kernel.build.building import build, tree_of, write
from tests.registry import Registry, started

TEXT = """\
FROM busybox AS one
RUN date +%N > /one
FROM busybox
COPY x /x
COPY --from=one /one /
RUN true
RUN date +%N > /two
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
async def engines(
    instance: Layout, registry: Registry, busybox_archive: Path, tmp_path: Path
) -> AsyncIterator[list[NativeEngine]]:
    """Two machines that know the registry."""
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    found: list[NativeEngine] = []
    layouts = [instance, Layout(f"t{secrets.token_hex(4)}")]
    try:
        for layout in layouts:
            engine = NativeEngine(layout, Origins(settings).of)
            await engine.open()
            found.append(engine)
            engine.images.load(busybox_archive)
        yield found
    finally:
        for engine in found:
            await engine.close()
        for layout in layouts:
            remove_instance(layout, with_data=True)


async def test_what_one_ran_another_does_not(
    engines: list[NativeEngine], registry: Registry, tmp_path: Path
) -> None:
    one, two = engines
    context, cache = write(tmp_path / "context", {"x": "x"}), f"{registry.host}/lab/cache:1"
    first = await build(one, context, TEXT, cache_to=cache)
    second = await build(two, context, TEXT, cache_from=(f"{registry.host}/no/such:1", cache))
    assert not second.ended("done") and len(second.ended("cached")) == 5
    assert tree_of(two, second.found, tmp_path / "2") == tree_of(one, first.found, tmp_path / "1")
    remarks = [str(event["text"]) for event in second.events if event["kind"] == "remark"]
    assert remarks[0].startswith("no cache of") and "5 steps that were not here" in remarks[1]


async def test_an_image_that_carries_none_gives_none(engines: list[NativeEngine]) -> None:
    one = engines[0]
    image = one.image("busybox")
    assert image is not None
    with pytest.raises(Invalid, match="carries no cache"):
        take_in(one.layout.images, image.id)
