"""The lock of images: read, written the same each time, applied, and wrong in many ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.manifest.image_lock import FILE, lockable, read_lock, write_lock
from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import Reader, read
from store.records import Key

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SHOP = b"services:\n  web: {image: nginx:1.27}\n  db: {image: 'registry.example.org:5000/lab/db'}\n"


def manifest(lock: bytes | None, shop: bytes = SHOP) -> Manifest:
    files = {"shop/compose.yaml": shop} | ({FILE: lock} if lock is not None else {})
    return read(Revision("1", "test", files))


def images(found: Manifest) -> dict[str, str]:
    return {key.name: wanted.spec.image for key, wanted in found.objects.items() if key.kind == "container"}  # type: ignore[union-attr]


def test_a_tag_is_the_digest_that_the_lock_says() -> None:
    lock = write_lock({"nginx:1.27": A, "registry.example.org:5000/lab/db:latest": B})
    found = manifest(lock)
    assert not found.errors and not found.warnings
    assert images(found) == {
        "web": f"nginx:1.27@{A}", "db": f"registry.example.org:5000/lab/db:latest@{B}",
    }  # fmt: skip


def test_without_a_lock_or_an_entry_nothing_changes() -> None:
    plain = {"web": "nginx:1.27", "db": "registry.example.org:5000/lab/db"}
    assert images(manifest(None)) == plain
    assert images(manifest(write_lock({}))) == plain
    pinned = b"services: {web: {image: 'nginx:1.27@%b'}}" % B.encode()
    assert images(manifest(write_lock({"nginx:1.27": A}), pinned)) == {"web": f"nginx:1.27@{B}"}


def test_a_lock_that_names_nothing_yet_is_a_lock() -> None:
    found = manifest(b"version: 1\nimages:\n")
    assert not found.errors and images(found)["web"] == "nginx:1.27"


def test_an_entry_that_no_manifest_names_is_warned_of_at_its_place() -> None:
    found = manifest(write_lock({"nginx:1.27": A, "old:1": B}))
    (warning,) = found.warnings
    assert str(warning) == (
        f"{FILE}:6:3: no manifest names old:1 (hint: `setpoint image lock` writes it anew)"
    )
    broken = manifest(write_lock({"old:1": B}), b"services: [")
    assert not any("no manifest names" in str(warning) for warning in broken.warnings)


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        (b"version: 1\nimages: {nginx:1.27: latest}", "has no digest"),
        (b"version: 1\nimages: {docker.io/library/nginx:1.27: %b}" % A.encode(), "not a name with a tag"),
        (b"version: 1\nimages: {nginx: %b}" % A.encode(), "not a name with a tag"),
        (b"version: 1\nimages: {'nginx:1@%b': %b}" % (A.encode(), A.encode()), "not a name with a tag"),
        (b"version: 1\nimages: {'../..': %b}" % A.encode(), "not a name with a tag"),
        (b"version: 2\nimages: {}", "version is not 1"),
        (b"images: {}", "version is missing"),
        (b"version: 1\nimages: [a]\n", "is a mapping"),
        (b"version: 1\nimage: {}", 'unknown field "image"'),
        (b"version: 1\nimages: nothing", "is a mapping"),
        (b"[]", "is one mapping"),
        (b"", "is one mapping"),
        (b"version: 1\n---\nversion: 1\n", "is one mapping"),
        (b"version: [", "did not find"),
        (b"\xff\xfe\x00", ""),
        (b"version: 1\nimages:\n  nginx:1.27: %b\n  nginx:1.27: %b\n" % (A.encode(), B.encode()), "twice"),
    ],
)
def test_a_lock_that_cannot_be_read_freezes_what_it_would_count_for(lock: bytes, message: str) -> None:
    found = manifest(lock)
    assert found.errors and all(error.where.file == FILE for error in found.errors), found.errors
    assert any(message in str(error) for error in found.errors), found.errors
    assert found.frozen_files == {"shop/compose.yaml"} and not images(found)


def test_the_reader_looks_again_when_the_lock_changes_comes_or_goes() -> None:
    reader = Reader()
    files = {"shop/compose.yaml": SHOP}
    assert images(reader.read(Revision("1", "t", files)))["web"] == "nginx:1.27"
    locked = files | {FILE: write_lock({"nginx:1.27": A})}
    assert images(reader.read(Revision("2", "t", locked)))["web"] == f"nginx:1.27@{A}"
    changed = files | {FILE: write_lock({"nginx:1.27": B})}
    assert images(reader.read(Revision("3", "t", changed)))["web"] == f"nginx:1.27@{B}"
    unused = {**changed, "shop/compose.yaml": b"services: {web: {image: other:1}}"}
    assert [str(w)[: len(FILE)] for w in reader.read(Revision("4", "t", unused)).warnings] == [FILE]
    assert images(reader.read(Revision("5", "t", files)))["web"] == "nginx:1.27"


def test_an_envelope_is_locked_too_and_a_lock_elsewhere_is_a_file_like_any() -> None:
    web = b"apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: web}\nspec: {image: nginx:1.27}\n"
    files = {"web.yaml": web, FILE: write_lock({"nginx:1.27": A}), f"shop/{FILE}": write_lock({})}
    found = read(Revision("1", "t", files))
    wanted = found.objects[Key("default", "container", "web")]
    assert wanted.spec.image == f"nginx:1.27@{A}"  # type: ignore[union-attr]
    assert [warning.where.file for warning in found.warnings] == [f"shop/{FILE}"]


NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?:[a-z0-9]{1,6}", fullmatch=True)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


@given(st.dictionaries(NAMES, DIGESTS, max_size=20))
def test_what_is_written_is_read_and_the_same_bytes_come_of_any_order(digests: dict[str, str]) -> None:
    data = write_lock(digests)
    assert dict(read_lock(data).digests) == digests and not read_lock(data).errors
    assert write_lock(dict(reversed(digests.items()))) == data


@given(st.text(max_size=80))
def test_any_name_of_an_image_is_lockable_or_not(name: str) -> None:
    found = lockable(name)
    assert found is None or (found.tag and not found.digest and lockable(found.familiar) == found)
