"""Names of images, and what is garbage when they go. No root: the store's files are small ones here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Invalid, NotFound
from runtime.images.content import Content, ingest
from runtime.images.garbage import Holdings, find_garbage
from runtime.images.images import Images
from runtime.images.index import Index, Record, prepare_root, read_index, write_index
from runtime.images.layers import chain_id
from runtime.layout import Layout
from tests.unit.images import craft

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def record(name: str, image_id: str = A) -> Record:
    return Record(name, image_id, C, 7, "application/vnd.oci.image.manifest.v1+json", 100)


def test_a_name_is_one_image_s() -> None:
    index = Index().with_record(record("x:1")).with_record(record("y:1"))
    moved = index.with_record(record("x:1", B))
    assert moved.find("x:1") == record("x:1", B)
    assert {each.name for each in moved.of_image(A)} == {"y:1"}
    alone = moved.with_record(record("y:1", B))
    assert alone.of_image(A) == (record(""),)
    back = alone.with_record(record("z:1"))
    assert back.of_image(A) == (record("z:1"),)


def test_an_image_without_a_name() -> None:
    index = Index().with_record(record(""))
    assert index.with_record(record("")) == index
    assert index.with_record(record("x:1")).records == (record("x:1"),)
    assert index.with_record(record("x:1")).with_record(record("")).records == (record("x:1"),)


def test_without() -> None:
    index = Index((record("x:1"), record("y:1"), record("z:1", B)))
    assert index.without_name("x:1", keep=True).records == (record("y:1"), record("z:1", B))
    assert index.without_name("z:1", keep=True).of_image(B) == (record("", B),)
    assert index.without_name("z:1", keep=False).of_image(B) == ()
    assert index.without_name("none:1", keep=True) == index
    assert index.without_image(A).records == (record("z:1", B),)


names = st.sampled_from(["", "a:1", "b:1", "c:1"])
steps = st.lists(st.tuples(names, st.sampled_from([A, B, C])), max_size=12)


@given(steps)
def test_no_image_is_forgotten_and_no_name_is_two_images(added: list[tuple[str, str]]) -> None:
    index = Index()
    for name, image_id in added:
        index = index.with_record(record(name, image_id))
        found = [each.name for each in index.records if each.name]
        assert len(found) == len(set(found))
    assert {each.image_id for each in index.records} == {image_id for _, image_id in added}
    for image_id in (A, B, C):
        of_image = index.of_image(image_id)
        assert len([each for each in of_image if not each.name]) == (
            1 if of_image and not of_image[0].name else 0
        )


def test_written_and_read(tmp_path: Path) -> None:
    index = Index((Record("", B, C, 1, "m", 2, A), record("docker.io/library/x:1")))
    write_index(tmp_path, index)
    assert read_index(tmp_path) == index
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]
    assert read_index(tmp_path / "none") == Index()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", craft.index(craft.manifest_entry(b"x")), b"\0" * 100])
def test_a_damaged_index_is_not_overwritten(tmp_path: Path, data: bytes) -> None:
    images = Images(Layout("t", tmp_path))
    prepare_root(tmp_path / "t/images")
    path = tmp_path / "t/images/index.json"
    path.write_bytes(data)
    for call in (
        lambda: images.get("x"),
        images.list,
        lambda: images.tag("x", "y"),
        lambda: images.prune(in_use=()),
    ):
        with pytest.raises(Invalid):
            call()
    assert path.read_bytes() == data


def test_an_empty_store(tmp_path: Path) -> None:
    images = Images(Layout("t", tmp_path))
    assert images.list() == ()
    assert images.get("busybox") is None
    assert images.get("sha256:" + "0" * 64) is None
    assert not list(tmp_path.iterdir()), "reading makes nothing"
    for call in (
        lambda: images.stack(A),
        lambda: images.remove("x", in_use=()),
        lambda: images.tag("x", "y"),
    ):
        with pytest.raises(NotFound):
            call()


def test_ambiguous_ids(tmp_path: Path) -> None:
    images = Images(Layout("t", tmp_path))
    prepare_root(tmp_path / "t/images")
    first, second = "sha256:" + "1234" + "a" * 60, "sha256:" + "1234" + "b" * 60
    write_index(tmp_path / "t/images", Index((record("x:1", first), record("y:1", second))))
    with pytest.raises(Invalid, match="means 2 images"):
        images.get("1234")
    with pytest.raises(NotFound):  # found, but its config is not there
        images.get("1234a")
    assert images.get("123") is None
    assert images.get("4321") is None


# --- content ----------------------------------------------------------------------------------


def test_ingest(tmp_path: Path) -> None:
    import io

    data = b"x" * 3_000_000
    seen: list[int] = []
    blob = ingest(
        io.BytesIO(data), tmp_path / "part", expected_digest=craft.digest(data), advance=seen.append
    )
    assert (blob.digest, blob.size, sum(seen)) == (craft.digest(data), len(data), len(data))
    content = Content(tmp_path)
    content.place(tmp_path / "part", blob.digest)
    assert content.is_whole(blob.digest) and content.size(blob.digest) == len(data)
    assert content.digests() == {blob.digest}
    content.remove(blob.digest)
    content.remove(blob.digest)
    assert content.digests() == frozenset() and not content.is_whole(blob.digest)


@pytest.mark.parametrize("expected", [
    {"expected_digest": A}, {"expected_size": 2}, {"expected_size": 4}, {"expected_size": 3,
    "expected_digest": A},
])  # fmt: skip
def test_ingest_refuses(tmp_path: Path, expected: dict[str, object]) -> None:
    import io

    with pytest.raises(Invalid):
        ingest(io.BytesIO(b"abc"), tmp_path / "part", **expected)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_documents_are_bounded_and_checked(tmp_path: Path) -> None:
    content = Content(tmp_path)
    content.path(A).parent.mkdir(parents=True)
    with pytest.raises(NotFound):
        content.read_document(A)
    content.path(A).write_bytes(b"other")
    with pytest.raises(Invalid, match="damaged"):
        content.read_document(A)
    content.path(A).write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(Invalid, match="longer"):
        content.read_document(A)
    for digest in ("", "../x", "sha256:../../etc/passwd", A.upper(), "sha512:" + "0" * 128):
        with pytest.raises(Invalid):
            content.path(digest)


# --- garbage ----------------------------------------------------------------------------------


def test_garbage() -> None:
    present = Holdings(frozenset({A, B}), frozenset({C}))
    assert find_garbage(present, []) == present
    assert find_garbage(present, [Holdings(frozenset({A}))]) == Holdings(frozenset({B}), frozenset({C}))
    assert find_garbage(present, [Holdings(), None]) == Holdings()


def test_chain_ids() -> None:
    """The example of the OCI image-spec's text: each is the digest of "chain diff"."""
    assert chain_id([A]) == A
    assert chain_id([A, B]) == craft.digest(f"{A} {B}".encode())
    assert chain_id([A, B, C]) == craft.digest(f"{craft.digest(f'{A} {B}'.encode())} {C}".encode())


def test_the_layout_is_one_that_others_read(tmp_path: Path) -> None:
    prepare_root(tmp_path / "images")
    prepare_root(tmp_path / "images")
    assert json.loads((tmp_path / "images/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
