"""What is wanted, kept in step: frozen objects thaw, and an empty spec is a whole one."""

from __future__ import annotations

from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import read
from agent.reconcile.inventory import Inventory, spec_of
from store.records import Key

GOOD = b"services: {web: {image: a}}\nvolumes:\n  data:\n"
MOVED = b"\n\n" + GOOD
BROKEN = b"services: {web: {image: a}, nope: {imago: a}}\nvolumes:\n  data:\n"
DATA = Key("shop", "volume", "data")


def manifest_of(text: bytes, **others: bytes) -> Manifest:
    files = {"shop/compose.yaml": text, **{f"shop/{name}.yaml": other for name, other in others.items()}}
    return read(Revision(id="test", source="test", files=files))


def inventory_of(*texts: bytes) -> Inventory:
    inventory = Inventory(lambda _key: None)
    for number, text in enumerate(texts):
        inventory.submit(manifest_of(text), str(number), 0.0)
    return inventory


def test_a_mended_manifest_thaws_what_moved_to_another_line() -> None:
    inventory = inventory_of(GOOD, BROKEN)
    assert inventory.desired[DATA].is_frozen
    _, touched = inventory.submit(manifest_of(MOVED), "2", 0.0)
    assert not inventory.desired[DATA].is_frozen
    assert DATA in touched  # its status says so no longer


def test_an_object_thaws_although_another_file_is_still_broken() -> None:
    inventory = inventory_of(GOOD, BROKEN)
    inventory.submit(manifest_of(GOOD, other=b"services: ["), "2", 0.0)
    assert not inventory.desired[DATA].is_frozen


def test_an_empty_spec_is_readable_after_a_restart() -> None:
    records = inventory_of(GOOD).records
    assert records[DATA].spec == {}
    assert spec_of(records[DATA]) is not None
    again = Inventory(lambda _key: None)
    again.load(records)
    assert again.desired[DATA].spec is not None


def test_what_was_adopted_has_no_spec_until_the_source_says_it() -> None:
    inventory = Inventory(lambda _key: None)
    inventory.adopt(DATA, "shop/compose.yaml", 3, "0", 0.0)
    assert spec_of(inventory.records[DATA]) is None
