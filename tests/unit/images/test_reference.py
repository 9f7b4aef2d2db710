"""Names of images: what people write, what it means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Invalid
from runtime.images.reference import Reference, parse_reference

D = "sha256:" + "ab" * 32


@pytest.mark.parametrize(("text", "canonical", "familiar"), [
    ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
    ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
    ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
    ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
    ("docker.io/library/busybox:latest", "docker.io/library/busybox:latest", "busybox:latest"),
    ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
    ("team/app:v1", "docker.io/team/app:v1", "team/app:v1"),
    ("team/app/part", "docker.io/team/app/part:latest", "team/app/part:latest"),
    ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
    ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
    ("docker.io/localhost/app", "docker.io/localhost/app:latest", "docker.io/localhost/app:latest"),
    ("index.docker.io/r.io/x", "docker.io/r.io/x:latest", "docker.io/r.io/x:latest"),
    ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
    ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ("registry.test/app", "registry.test/app:latest", "registry.test/app:latest"),
    ("registry.test:443/a/b:c", "registry.test:443/a/b:c", "registry.test:443/a/b:c"),
    ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
    (f"busybox@{D}", f"docker.io/library/busybox@{D}", f"busybox@{D}"),
    (f"busybox:1@{D}", f"docker.io/library/busybox:1@{D}", f"busybox:1@{D}"),
    ("a-b.c_d__e--f", "docker.io/library/a-b.c_d__e--f:latest", "a-b.c_d__e--f:latest"),
    ("a:" + "t" * 128, "docker.io/library/a:" + "t" * 128, "a:" + "t" * 128),
    ("ab" * 20, "docker.io/library/" + "ab" * 20 + ":latest", "ab" * 20 + ":latest"),
])  # fmt: skip
def test_forms(text: str, canonical: str, familiar: str) -> None:
    reference = parse_reference(text)
    assert (reference.canonical, reference.familiar) == (canonical, familiar)
    assert str(reference) == canonical
    assert parse_reference(canonical) == parse_reference(familiar) == reference


@pytest.mark.parametrize("text", [
    "", " ", ":", ":tag", "@", f"@{D}", "a:", "a@", "a@sha256:", "a@sha256:short", "a@" + D.upper(),
    "a@md5:" + "0" * 32,
    f"a@{D}@{D}", "a:b:c", "A", "aB", "a/B", "/a", "a/", "a//b", "./a", "../a", "a/../b", ".a", "a.", "-a",
    "a-", "_a",
    "a..b", "a___b", "a._b", "a b", "a\n", "a\0", "ä", "a:" + "t" * 129, "a:-x", "a:.x", "a:x y", "a" * 256,
    "x/" * 200 + "a", "http://a/b", "user@host/a", "registry.test:99999999/a", "registry..test/a",
    "-x.test/a",
    "registry.test/", "registry.test/A", "[::1/a", "ab" * 32, "docker.io/" + "ab" * 32, "a$b", "a;b",
    "$(a)", "a\u202eb",
])  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_reference(text)
    assert caught.value.hint


def test_with_digest() -> None:
    assert parse_reference("a:1").with_digest(D) == Reference("docker.io", "library/a", "", D)


@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_invalid(text: str) -> None:
    try:
        reference = parse_reference(text)
    except Invalid:
        return
    assert parse_reference(reference.canonical) == reference
    assert parse_reference(reference.familiar) == reference
    assert ".." not in reference.path.split("/")
