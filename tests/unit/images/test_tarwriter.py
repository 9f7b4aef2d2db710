"""What is written is what our own reader, and Python's, read: whatever the names, owners and sizes are."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Unsupported
from runtime.images.streams import ByteStream
from runtime.images.tarheaders import Entry, Kind, read_entries
from runtime.images.tarwriter import END, header, write_entry

PART = st.binary(min_size=1, max_size=255).filter(lambda part: not {0, ord("/")} & set(part))
PATH = st.lists(PART, min_size=1, max_size=15).map(b"/".join)
OWNER = st.integers(0, 2**32 - 2)
KINDS: tuple[Kind, ...] = ("file", "directory", "symlink", "hardlink", "char", "block", "fifo")
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.b", b"security.capability"]), st.binary(max_size=300)
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(KINDS))
    is_device = kind in ("char", "block")
    return Entry(
        draw(PATH), kind, draw(st.integers(0, 0o7777)), draw(OWNER), draw(OWNER),
        draw(st.integers(0, 8**11 - 1)) * 10**9 if kind != "hardlink" else 0,
        draw(st.integers(0, 2**45)) if kind == "file" else 0,
        draw(PATH) if kind in ("symlink", "hardlink") else b"",
        draw(st.integers(0, 4095)) if is_device else 0, draw(st.integers(0, 2**20 - 1)) if is_device else 0,
        draw(XATTRS) if kind in ("file", "directory") else {},
    )  # fmt: skip


@given(entries())
def test_a_header_is_read_as_it_was_meant(entry: Entry) -> None:
    read = next(read_entries(ByteStream(iter([header(entry)])), "x"))
    name = entry.name + b"/" if entry.kind == "directory" and not entry.name.endswith(b"/") else entry.name
    seconds = entry.mtime_ns if entry.mtime_ns < 2**33 * 10**9 else 0  # later ones are none to the reader
    assert read == entry._replace(name=name, mtime_ns=seconds)


@given(entries())
def test_python_reads_the_same(entry: Entry) -> None:
    data = io.BytesIO(header(entry))
    with tarfile.open(fileobj=data, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        member = archive.next()
    assert member is not None
    assert os.fsencode(member.name) == entry.name.rstrip(b"/")
    assert os.fsencode(member.linkname) == entry.link
    assert (member.uid, member.gid, member.mode, member.size) == (
        entry.uid,
        entry.gid,
        entry.mode,
        entry.size,
    )
    assert (member.devmajor, member.devminor) == (entry.major, entry.minor)


@pytest.mark.parametrize(
    ("has", "size"), [(b"", 3), (b"12", 3), (b"123", 3), (b"12345", 3), (b"x" * 2000, 513)]
)
def test_content_that_changed_meanwhile_keeps_its_place(has: bytes, size: int) -> None:
    reading, writing = os.pipe()
    os.write(writing, has)
    os.close(writing)
    written: list[bytes] = []
    entry = Entry(b"file", "file", 0o644, 0, 0, 0, size, b"", 0, 0, {})
    write_entry(written.append, entry, reading)
    os.close(reading)
    data = b"".join([*written, END])
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile("file")
        assert file is not None
        assert file.read() == has[:size].ljust(size, b"\0")


def test_more_attributes_than_readers_take() -> None:
    entry = Entry(b"x", "file", 0, 0, 0, 0, 0, b"", 0, 0, {b"user.%d" % n: bytes(60_000) for n in range(20)})
    with pytest.raises(Unsupported, match="extended attributes are too long"):
        header(entry)
