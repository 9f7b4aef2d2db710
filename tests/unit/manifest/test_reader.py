"""The reader's memory: what did not change is not read again, and what did is."""

from __future__ import annotations

import pytest

from agent.manifest import one_file, reader
from agent.manifest.objects import Revision
from agent.manifest.reader import Reader
from store.records import Key

WEB = b"services: {web: {image: 'x:$TAG', network_mode: none, env_file: [{path: a.env, required: false}]}}"
OTHER = b"services: {api: {image: x}}"


def revision(base: str = "/srv", **files: bytes) -> Revision:
    """Names with `__` for a slash."""
    return Revision("r", "s", {name.replace("__", "/"): data for name, data in files.items()}, base=base)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that were really read."""
    paths: list[str] = []

    def counting(path, files, options):  # type: ignore[no-untyped-def]
        if path.endswith("yaml"):
            paths.append(path)
        return one_file.read_one(path, files, options)

    monkeypatch.setattr(reader, "read_one", counting)
    return paths


def compose(**files: bytes) -> dict[str, bytes]:
    return {f"{name}__compose.yaml": data for name, data in files.items()}


def test_only_what_changed_is_read_again(reads: list[str]) -> None:
    mine = Reader()
    first = mine.read(revision(**compose(a=WEB, b=OTHER)))
    second = mine.read(revision(**compose(a=WEB, b=OTHER + b" ")))
    assert reads == ["a/compose.yaml", "b/compose.yaml", "b/compose.yaml"]
    web = Key("a", "container", "web")
    assert second.objects[web] is first.objects[web]


def test_equal_bytes_are_no_change(reads: list[str]) -> None:
    mine = Reader()
    mine.read(revision(**compose(a=WEB)))
    mine.read(revision(**compose(a=bytes(bytearray(WEB)))))
    assert reads == ["a/compose.yaml"]


@pytest.mark.parametrize("name", ["a__.env", "a__a.env"])
def test_a_file_is_read_again_when_one_that_it_needs_changed(reads: list[str], name: str) -> None:
    mine = Reader()
    plain = compose(a=WEB, b=OTHER)
    before = mine.read(revision(**plain))
    with_file = mine.read(revision(**plain, **{name: b"TAG=1"}))
    changed = mine.read(revision(**plain, **{name: b"TAG=2"}))
    gone = mine.read(revision(**plain))
    assert reads == ["a/compose.yaml", "b/compose.yaml", *["a/compose.yaml"] * 3]
    key = Key("a", "container", "web")
    hashes = [manifest.objects[key].recreate_hash for manifest in (before, with_file, changed, gone)]
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3


def test_another_base_reads_everything(reads: list[str]) -> None:
    mine = Reader()
    mine.read(revision(**compose(a=WEB)))
    mine.read(revision("/other", **compose(a=WEB)))
    assert reads == ["a/compose.yaml"] * 2


def test_a_file_that_is_gone_takes_its_objects_with_it() -> None:
    mine = Reader()
    mine.read(revision(**compose(a=WEB, b=OTHER)))
    assert {key.project for key in mine.read(revision(**compose(b=OTHER))).objects} == {"b"}
    assert mine.read(revision()).objects == {}


def test_a_file_that_goes_over_to_another_project_takes_its_objects_with_it(reads: list[str]) -> None:
    mine = Reader()
    mine.read(revision(**compose(a=OTHER, b=WEB)))
    moved = mine.read(revision(**compose(a=b"name: c\n" + OTHER, b=WEB)))
    assert {key.project for key in moved.objects if key.kind == "container"} == {"b", "c"}
    assert "b/compose.yaml" not in reads[2:]  # all are asked for, and those that are as before not read


def test_what_is_no_manifest_by_its_name_changes_nothing(reads: list[str]) -> None:
    mine = Reader()
    first = mine.read(revision(**compose(a=OTHER), **{"a__notes.txt": b"one"}))
    second = mine.read(revision(**compose(a=OTHER), **{"a__notes.txt": b"two"}))
    assert first == second
    assert reads == ["a/compose.yaml"]


def test_checks_see_what_changed_elsewhere() -> None:
    mine = Reader()
    one = b"services: {a: {image: x, ports: ['80:80']}}"
    two = b"services: {a: {image: x, ports: ['81:80']}}"
    assert not mine.read(revision(**compose(a=one, b=two))).errors
    clash = mine.read(revision(**compose(a=one, b=one)))
    assert len(clash.errors) == 1
    assert clash.frozen_files == {"a/compose.yaml", "b/compose.yaml"}
    assert not mine.read(revision(**compose(a=one, b=two))).errors


def test_a_file_added_to_a_project_is_checked_with_it() -> None:
    mine = Reader()
    mine.read(revision(**compose(a=OTHER)))
    files = compose(a=OTHER) | {"a__more.compose.yaml": OTHER}
    assert mine.read(revision(**files)).frozen_files == {"a/compose.yaml", "a/more.compose.yaml"}


def test_the_default_network_stays_the_same_value() -> None:
    mine = Reader()
    files = compose(a=b"services: {web: {image: x}}")
    key = Key("a", "network", "default")
    first = mine.read(revision(**files, **{"a__z.compose.yaml": b"services: {z: {image: x}}"}))
    second = mine.read(revision(**files, **{"a__z.compose.yaml": b"services: {z: {image: y}}"}))
    assert first.objects[key] == second.objects[key]


def test_what_is_built_of_another_tree_is_read_again(reads: list[str]) -> None:
    mine = Reader()
    files = {"a/compose.yaml": b"services: {web: {build: ./web}}", "b/compose.yaml": OTHER}
    trees = {"a/web": "first"}
    given = Revision("r", "s", files, base="/srv", tree_of=lambda path: trees.get(path, ""))
    before = mine.read(given)
    assert mine.read(given) == before
    trees["a/web"] = "second"
    after = mine.read(given)
    assert reads == ["a/compose.yaml", "b/compose.yaml", "a/compose.yaml"]
    key = Key("a", "container", "web")
    assert after.objects[key].spec.image != before.objects[key].spec.image  # type: ignore[union-attr]


def test_options_reach_the_parsers() -> None:
    text = b"services: {a: {image: $TAG, network_mode: none, volumes: ['~/x:/x', './y:/y'], profiles: [p]}}"
    mine = Reader(environment={"TAG": "t"}, profiles=frozenset(["p"]), home="/home/me")
    found = mine.read(revision(**compose(a=text))).objects[Key("a", "container", "a")].spec
    assert found.image == "t"  # type: ignore[union-attr]
    assert [mount.source for mount in found.mounts] == ["/home/me/x", "/srv/a/y"]  # type: ignore[union-attr]
