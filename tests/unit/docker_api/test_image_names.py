"""Names of images as Docker's clients write and read them."""

from __future__ import annotations

import pytest

from agent.api.docker.image_names import (
    ShownNames,
    checked_tag,
    has_tag,
    is_reserved,
    new_name,
    read_name,
    short,
    shown,
    with_tag,
)
from runtime.errors import Invalid
from runtime.images.index import Record

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
OCI = "application/vnd.oci.image.manifest.v1+json"


def record(name: str, *, source: str = "", is_pulled: bool = False) -> Record:
    return Record(name, B, A, 400, OCI, 1, source, is_pulled)


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("busybox", "", "docker.io/library/busybox:latest"),
        ("busybox", "1", "docker.io/library/busybox:1"),
        ("busybox:2", "1", "docker.io/library/busybox:1"),
        ("docker.io/library/busybox", "latest", "docker.io/library/busybox:latest"),
        ("localhost:5000/web", "v1", "localhost:5000/web:v1"),
        ("busybox:", "", "docker.io/library/busybox:latest"),
        ("busybox", A, f"docker.io/library/busybox@{A}"),
    ],
)
def test_a_tag_beside_a_name(name: str, tag: str, expected: str) -> None:
    assert with_tag(name, tag).canonical == expected


@pytest.mark.parametrize("tag", ["..", "-a", "a b", "a" * 129, "sha256:abc", "a\n", "ä"])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(Invalid, match="invalid tag format"):
        with_tag("busybox", tag)


@pytest.mark.parametrize("name", ["", "-x", "a//b", "../etc", "a@b", "x\0y", "a" * 300])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Invalid, match="invalid reference format"):
        read_name(name)


def test_upper_case_in_the_daemons_words() -> None:
    with pytest.raises(Invalid, match=r"repository name \(library/Foo\) must be lowercase"):
        read_name("Foo")
    with pytest.raises(Invalid, match=r"repository name \(lab/Foo:1\) must be lowercase"):
        read_name("lab/Foo:1")


def test_names_that_mean_something_else() -> None:
    with pytest.raises(Invalid, match="digest reference"):
        checked_tag(with_tag("busybox", A))
    with pytest.raises(Invalid, match="ambiguous tag"):
        checked_tag(with_tag("sha256", "abc"))
    assert is_reserved(read_name("scratch")) and not is_reserved(read_name("lab/scratch"))


def test_the_name_of_what_is_made() -> None:
    assert new_name("", "") == ""
    assert new_name("lab/web", "") == "docker.io/lab/web:latest"
    assert new_name("lab/web", "1") == "docker.io/lab/web:1"
    with pytest.raises(Invalid, match="cannot import digest reference"):
        new_name("lab/web", A)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("busybox", False), ("busybox:1", True), ("h:5000/x", False), ("h:5000/x:1", True), (f"x@{A}", True)],
)
def test_whether_a_name_says_which(name: str, expected: bool) -> None:
    assert has_tag(name) is expected


def test_tags_and_digests_of_an_image() -> None:
    records = [
        record("docker.io/library/busybox:1", source=B, is_pulled=True),
        record("localhost:5000/web:1"),
        record(f"docker.io/lab/pinned@{B}"),
        record(""),
    ]
    assert shown(records) == ShownNames(
        ("busybox:1", "localhost:5000/web:1"), (f"busybox@{B}", f"lab/pinned@{B}", f"localhost:5000/web@{A}")
    )
    assert shown([record("")]) == ShownNames((), ())


def test_two_tags_of_a_repository_have_one_digest() -> None:
    assert shown([record("h:1/x:1"), record("h:1/x:2")]).digests == (f"h:1/x@{A}",)


def test_short_ids() -> None:
    assert short(A) == "a" * 12
    assert short("blobs") == "blobs"
