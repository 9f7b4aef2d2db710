"""A thousand manifests, one in twenty of them bad: all errors at once, each with its place, and the good ones
as if the bad were not there."""

from __future__ import annotations

from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import Reader
from agent.reconcile.inventory import Inventory
from store.records import Key

COUNT, PROJECTS = 1000, 20
GOOD = """\
apiVersion: setpoint/v1
kind: Container
metadata: {{name: c{n}}}
spec:
  image: busybox:latest
  scale: 0
  environment: {{ROUND: "{round}"}}
"""
HEAD = "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: {name}}}\nspec: "
BAD = (  # what is wrong, and where
    (HEAD + "{{image: 5x, unknown: 1}}\n", (4, 19)),
    ("a: [{n}\n", (2, 1)),
    (HEAD + "{{image: a, depends_on: [{name}]}}\n", (4, 31)),
    (HEAD + "{{scale: many, image: a}}\n", (4, 15)),
    (HEAD + "{{image: a}}\n---\n" + HEAD + "{{image: a}}\n", (8, 18)),  # the same name twice
)


def is_bad(n: int) -> bool:
    return n % 20 == n // 20 % 20  # some in each project


def files(*, bad: bool, round: int = 1, changed: int = -1) -> dict[str, bytes]:
    made = {}
    for n in range(COUNT):
        template = BAD[n // 20 % len(BAD)][0] if bad and is_bad(n) else GOOD
        text = template.format(n=n, name=f"c{n}", round=round + (n == changed))
        made[f"p{n % PROJECTS}/c{n}.yaml"] = text.encode()
    return made


def test_every_error_has_its_place_and_the_good_are_read() -> None:
    manifest = read(Reader(), files(bad=True))
    assert sum(key.kind == "container" for key in manifest.objects) == COUNT * 19 // 20
    found = {(error.where.file, error.where.line, error.where.column) for error in manifest.errors}
    wanted = {(f"p{n % PROJECTS}/c{n}.yaml", *BAD[n // 20 % len(BAD)][1]) for n in range(COUNT) if is_bad(n)}
    assert wanted <= found, sorted(wanted - found)[:5]
    assert {file for file, _, _ in found} == {file for file, _, _ in wanted}
    assert manifest.frozen_files == {file for file, _, _ in wanted}


def test_what_was_good_before_stays_as_it_is_and_the_rest_goes_on() -> None:
    reader, inventory = Reader(), Inventory(lambda key: None)
    inventory.submit(read(reader, files(bad=False)), "r1", 1.0)
    assert sum(key.kind == "container" for key in inventory.desired) == COUNT
    before = dict(inventory.records)

    changed, restated = inventory.submit(read(reader, files(bad=True, changed=1)), "r2", 2.0)
    bad = {key_of(n) for n in range(COUNT) if is_bad(n)}
    assert changed == [key_of(1)]
    assert restated == bad == {key for key, desired in inventory.desired.items() if desired.is_frozen}
    assert not inventory.deleting
    assert all(inventory.records[key] == before[key] for key in bad)

    changed, restated = inventory.submit(read(reader, files(bad=False, changed=1)), "r3", 3.0)
    assert changed == [] and restated == bad
    assert not any(desired.is_frozen for desired in inventory.desired.values())


def test_one_changed_file_is_the_only_one_that_is_read_again() -> None:
    reader = Reader()
    first = files(bad=True)
    before = read(reader, first)
    again = dict(first)
    again["p1/c1.yaml"] = GOOD.format(n=1, round=2).encode()
    after = read(reader, again)
    others = [key for key in before.objects if after.objects[key] is not before.objects[key]]
    assert [key for key in others if key.kind == "container"] == [key_of(1)]


def key_of(n: int) -> Key:
    return Key(f"p{n % PROJECTS}", "container", f"c{n}")


def read(reader: Reader, found: dict[str, bytes]) -> Manifest:
    return reader.read(Revision("r", "dir", found))
