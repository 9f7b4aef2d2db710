"""What the garbage collection does to the store: entries first, then content, and found half-done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.images.content import Content
from runtime.images.images import Images
from runtime.images.index import Record
from runtime.images.stock import BLOB, TREE
from runtime.layout import Layout
from tests.registry import make_image

BASE = {"etc/base": b"b" * 5000}


@pytest.fixture
def three(images: Images, tmp_path: Path) -> tuple[str, str, str]:
    """Three images; the first two share a layer."""
    found = []
    for name, layers in (
        ("a", [BASE, {"a": b"a" * 100}]),
        ("b", [BASE, {"b": b"b" * 200}]),
        ("c", [{"c": b"c"}]),
    ):
        (info,) = images.load(make_image(tmp_path / name, layers))
        images.tag(info.id, f"lab/{name}:1")
        found.append(info.id)
    return found[0], found[1], found[2]


def judged(images: Images, *ids: str) -> dict[str, tuple[str, ...]]:
    return {id: images.names(id) for id in ids}


def test_holdings_say_what_is_shared_and_what_came_by_hand(
    images: Images, three: tuple[str, str, str]
) -> None:
    found = {holding.id: holding for holding in images.holdings()}
    a, b, c = (found[id] for id in three)
    assert a.by_hand == "lab/a:1" and a.names == ("lab/a:1",)
    shared = a.parts.keys() & b.parts.keys()
    assert {part.split()[0] for part in shared} == {BLOB.strip(), TREE.strip()}
    assert not shared & c.parts.keys()
    tree = next(size for part, size in a.parts.items() if part in shared and part.startswith(TREE))
    assert tree >= 5000
    stock = images.stock()
    assert stock.layers == 4 and stock.litter_bytes == 0
    assert stock.shared_bytes == sum(a.parts[part] for part in shared)


def test_forget_then_sweep_takes_what_only_they_had(
    images: Images, layout: Layout, three: tuple[str, str, str]
) -> None:
    a, b, c = three
    gone = images.forget(judged(images, a, c), in_use=())
    assert {record.image_id for record in gone} == {a, c}
    assert images.get("lab/a:1") is None and images.get(b) is not None
    assert images.stock().litter_bytes > 0  # a crash here leaves litter, which the next look takes
    Images(layout).remove_litter(in_use=())
    assert images.stock().litter_bytes == 0 and not images.litter(in_use=())
    assert [info.id for info in images.list()] == [b]
    assert (images.layer_directories(b)[0] / "etc/base").read_bytes() == BASE["etc/base"]


def test_what_a_container_has_and_what_was_renamed_stays(images: Images, three: tuple[str, str, str]) -> None:
    a, b, c = three
    before = judged(images, a, b, c)
    images.tag(b, "lab/other:1")
    gone = images.forget(before, in_use={a})
    assert {record.image_id for record in gone} == {c}


def test_what_is_restored_runs_as_before_but_for_a_name_that_moved(
    images: Images, three: tuple[str, str, str]
) -> None:
    a, b, _ = three
    gone: tuple[Record, ...] = images.forget(judged(images, a), in_use=())
    images.tag(b, "lab/a:1")
    images.restore(gone)
    images.remove_litter(in_use=())
    assert images.get(a) is not None and images.layer_directories(a)
    assert images.names(a) == () and images.names(b) == ("lab/a:1", "lab/b:1")


def test_an_image_that_cannot_be_read_keeps_all_content(
    images: Images, layout: Layout, three: tuple[str, str, str]
) -> None:
    a, b, _ = three
    (layout.images / "blobs" / "sha256" / b[7:]).write_bytes(b"{}")
    images.forget(judged(images, a), in_use=())
    images.remove_litter(in_use=())
    assert images.stock().litter_bytes > 0  # not knowing is never not wanting


def test_a_name_that_goes_alone_takes_no_file_and_reads_no_image(
    images: Images, layout: Layout, three: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = three[0]
    images.tag(a, "lab/other:1")
    files = sorted((layout.images / "blobs" / "sha256").iterdir())
    monkeypatch.setattr(Content, "read_document", None)
    monkeypatch.setattr(Content, "digests", None)
    assert images.remove("lab/other:1", in_use=()) == ("lab/other:1",)
    assert Images(layout).names(a) == ("lab/a:1",)
    assert sorted((layout.images / "blobs" / "sha256").iterdir()) == files


def test_what_an_image_is_made_of_is_read_once(
    images: Images, three: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is known when its documents are damaged later: all of it stays, and no more."""
    a, b, _ = three
    before = {holding.id: holding for holding in images.holdings()}
    monkeypatch.setattr(Content, "read_document", None)
    assert {holding.id: holding for holding in images.holdings()} == before
    gone = images.forget(judged(images, b), in_use=())
    assert [record.image_id for record in gone] == [b]
    images.remove_litter(in_use=())
    (left,) = (holding for holding in images.holdings() if holding.id == a)
    assert left == before[a]
    assert not images.litter(in_use=())


@pytest.mark.parametrize("is_needed", [False, True])
async def test_a_container_that_is_being_made_meanwhile_keeps_its_image(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_needed: bool
) -> None:
    engine = NativeEngine(layout)
    (info,) = engine.images.load(make_image(tmp_path / "a", [BASE]))
    engine.fences[layout.image_cgroup].close()  # it was never opened, and so is never closed
    engine.images.tag(info.id, "lab/a:1")
    forget = engine.images.forget

    def forget_slowly(judged: Mapping[str, tuple[str, ...]], *, in_use: Collection[str]) -> object:
        gone = forget(judged, in_use=in_use)
        engine._creating[info.id] += is_needed  # it found the image before its entry went
        return gone

    monkeypatch.setattr(engine.images, "forget", forget_slowly)
    gone = await engine.collect_images({info.id: ("lab/a:1",)})
    if not is_needed:
        assert gone == (info.id,) and engine.image("lab/a:1") is None
        assert not engine.images.stock().litter_bytes
        return
    assert gone == () and engine.image("lab/a:1") is not None
    assert (engine.images.layer_directories(info.id)[0] / "etc/base").is_file()
