"""What is wanted, kept in step: frozen objects thaw, and an empty spec is a whole one."""

from __future__ import annotations

from agent.manifest.hashing import hashes
from agent.manifest.objects import Manifest, Object, Revision, Where
from agent.manifest.reader import read
from agent.reconcile.api_objects import API_OWNER, API_PROJECT
from agent.reconcile.inventory import Inventory, spec_of
from agent.reconcile.world import SPEC_TYPES
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


def api_object(kind: str, called: str, /, **spec: object) -> Object:
    wanted = SPEC_TYPES[kind].model_validate(spec)
    return Object(Key(API_PROJECT, kind, called), wanted, Where("", 0), *hashes(wanted))


def test_who_wants_a_name_is_found_by_it_whatever_becomes_of_it() -> None:
    inventory = inventory_of(GOOD)
    assert inventory.by_name == {("volume", "shop_data"): {DATA}}  # a manifest's container has its own way
    one, key = api_object("container", "0123456789ab", image="a", container_name="one"), "container"
    inventory.want(one, API_OWNER, "", 0.0)
    assert inventory.by_name[key, "one"] == {one.key}
    inventory.want(api_object("container", one.key.name, image="a", container_name="two"), API_OWNER, "", 0.0)
    assert (key, "one") not in inventory.by_name and inventory.by_name[key, "two"] == {one.key}
    inventory.let_go(one.key, "", 0.0)
    assert inventory.by_name[key, "two"] == {one.key}  # it is there still
    inventory.forget(one.key)
    assert (key, "two") not in inventory.by_name


def test_a_volume_that_goes_or_is_somebody_else_s_has_no_name_here() -> None:
    inventory = Inventory(lambda _key: None)
    volume = api_object("volume", "v", name="v")
    inventory.want(volume, API_OWNER, "", 0.0)
    inventory.want(api_object("volume", "w", name="w", external=True), API_OWNER, "", 0.0)
    assert inventory.by_name == {("volume", "v"): {volume.key}}
    inventory.let_go(volume.key, "", 0.0)
    assert not inventory.by_name


def test_names_are_found_again_by_another_agent() -> None:
    before = inventory_of(GOOD)
    after = Inventory(lambda _key: None)
    after.load(before.records)
    assert after.by_name == before.by_name
