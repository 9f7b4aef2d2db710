"""Headers, streams and names: what the extractor is given."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import Invalid, SetpointError
from runtime.images.archive import index_tar, open_source, read_member
from runtime.images.limits import Limits
from runtime.images.names import Whiteout, clean_path, read_whiteout
from runtime.images.streams import ByteStream, Pump, detect_packing, unpack_chunks
from runtime.images.tarheaders import Entry, parse_pax, read_entries
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, hardlink, long_name, pax, symlink, tar


def entries(data: bytes) -> list[tuple[Entry, bytes]]:
    stream = ByteStream(iter([data[:700], data[700:]]))
    return [(found, b"".join(stream.take(found.size))) for found in read_entries(stream, "test")]


# --- headers ----------------------------------------------------------------------------------


def test_ustar() -> None:
    data = tar(directory("d/"), entry("d/f", b"x" * 600, mode=0o4755, uid=1000, gid=5), symlink("l", "d/f"))
    (d, _), (f, content), (link, _) = entries(data)
    assert (d.name, d.kind, d.mode) == (b"d/", "directory", 0o755)
    assert (f.mode, f.uid, f.gid, f.mtime_ns, content) == (0o4755, 1000, 5, 10**18, b"x" * 600)
    assert (link.kind, link.link) == ("symlink", b"d/f")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_another_writer_makes(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        info = tarfile.TarInfo("a/" * 40 + "b" * 60)
        info.size, info.mtime, info.uid, info.mode = 3, 1_234_567_890, 2_000_000, 0o1777
        archive.addfile(info, io.BytesIO(b"abc"))
    ((found, content),) = entries(buffer.getvalue())
    assert (found.name.decode(), content, found.uid) == (info.name, b"abc", 2_000_000)
    assert (found.mtime_ns, found.mode) == (1_234_567_890 * 10**9, 0o1777)


def test_long_names_and_pax_come_before_the_header() -> None:
    data = tar(
        long_name("n" * 300), long_name("t" * 200, b"K"), symlink("short", "short"),
        pax({"path": "päx", "size": "2", "mtime": "7.5", "uid": "8", "gid": "9", "comment": "a\nb"}),
        entry("y", b"zz"),
        pax({"path": ""}), entry("kept", b""), pax({"comment": "global"}, kind=b"g"), entry("last"),
    )  # fmt: skip
    found = [each for each, _ in entries(data)]
    assert (found[0].name, found[0].link) == (b"n" * 300, b"t" * 200)
    assert (found[1].name, found[1].size, found[1].mtime_ns) == ("päx".encode(), 2, 7_500_000_000)
    assert (found[1].uid, found[1].gid) == (8, 9)
    assert [each.name for each in found[2:]] == [b"kept", b"last"]


@pytest.mark.parametrize(("text", "nanoseconds"), [
    ("0", 0), ("1", 10**9), ("1.000000001", 10**9 + 1), ("1.0000000019", 10**9 + 1), ("1.5", 1_500_000_000),
    ("-1", 0), ("-62135596800", 0), ("8589934592", 0), ("1e3", 0), ("1.", 10**9),
])  # fmt: skip
def test_times(text: str, nanoseconds: int) -> None:
    assert entries(tar(pax({"mtime": text}), entry("a")))[0][0].mtime_ns == nanoseconds


def test_old_forms() -> None:
    old = entry("dir/", kind=b"\0", magic=b"", mode=0o700)
    signed = entry("sig\xff", b"x")
    total = sum(byte - 256 if byte > 127 else byte for byte in signed[:148] + b" " * 8 + signed[156:512])
    signed = signed[:148] + b"%06o\0 " % total + signed[156:]
    spaced = entry("sp", b"x", fields={"size": b"         1 \0"})
    found = [each for each, _ in entries(tar(old, signed, spaced))]
    assert found[0].kind == "directory"
    assert found[1].name == "sig\xff".encode()
    assert found[2].size == 1


def test_sizes_of_what_has_no_data_are_not_data() -> None:
    data = tar(entry("d", kind=b"5", size=512), entry("l", kind=b"2", link="x", size=7), entry("after", b"x"))
    assert [each.name for each, _ in entries(data)] == [b"d", b"l", b"after"]


def test_pax_records() -> None:
    assert parse_pax(b"6 a=b\n7 cc=\xff\n", "x") == {b"a": b"b", b"cc": b"\xff"}
    assert parse_pax(b"", "x") == {}
    assert parse_pax(b"12 a=1\n b=2\n", "x") == {b"a": b"1\n b=2"}


@given(st.binary(max_size=3000))
@settings(max_examples=200)
def test_any_bytes_are_entries_or_refused(noise: bytes) -> None:
    for data in (noise, tar(entry("a", b"x")) + noise, pax(noise) + tar(entry("a")), entry("a") + noise):
        try:
            entries(data)
        except SetpointError:
            continue


@given(st.integers(0, 1535), st.integers(0, 255))
@settings(max_examples=300)
def test_any_changed_byte_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(pax({"path": "name", "uid": "5"}) + entry("x", b"y", uid=3) + craft.END)
    data[position] = value
    try:
        entries(bytes(data))
    except SetpointError:
        return


# --- streams ----------------------------------------------------------------------------------

PLAIN = os.urandom(150_000) + bytes(500_000)
PACKERS: list[Callable[[bytes], bytes]] = [
    lambda data: data, gzip.compress, bz2.compress, lzma.compress, zstandard.compress,
    lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]) + bytes(100),
    lambda data: bz2.compress(data[:9]) + bz2.compress(data[9:]),
    lambda data: lzma.compress(data[:9]) + lzma.compress(data[9:]),
    lambda data: zstandard.compress(data[:9]) + zstandard.compress(data[9:]),
]  # fmt: skip


class Drip:
    """A reader that gives a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, n: int = -1, /) -> bytes:
        return self._file.read(min(n, 4097) if n > 0 else 4097)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("reader", [io.BytesIO, Drip])
def test_unpack(pack: Callable[[bytes], bytes], reader: type) -> None:
    assert b"".join(unpack_chunks(reader(pack(PLAIN)), "x")) == PLAIN


def test_an_empty_stream() -> None:
    for data in (b"", gzip.compress(b""), zstandard.compress(b""), bz2.compress(b""), lzma.compress(b"")):
        assert b"".join(unpack_chunks(io.BytesIO(data), "x")) == b""


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("cut", [4, 20, 1000])
def test_a_cut_stream(pack: Callable[[bytes], bytes], cut: int) -> None:
    with pytest.raises(Invalid, match="data"):
        list(unpack_chunks(io.BytesIO(pack(PLAIN)[:-cut]), "x"))


def test_pump_hashes_and_ends_early() -> None:
    with Pump(io.BytesIO(gzip.compress(PLAIN)), "x") as pump:
        assert b"".join(pump) == PLAIN
    assert pump.digest == craft.digest(PLAIN)
    with Pump(io.BytesIO(bytes(8_000_000)), "x") as pump:
        next(iter(pump))  # and no more: leaving must not hang on the full queue
    with pytest.raises(Invalid), Pump(io.BytesIO(gzip.compress(PLAIN)[:-9]), "x") as pump:
        list(pump)


def test_limits_of_a_stream() -> None:
    packed = gzip.compress(bytes(3_000_000))
    with pytest.raises(Invalid, match="bomb"):
        list(unpack_chunks(io.BytesIO(packed), "x", Limits(ratio=50, ratio_free_bytes=1_000_000)))
    with pytest.raises(Invalid, match="2000000 bytes"):
        list(unpack_chunks(io.BytesIO(packed), "x", Limits(unpacked_bytes=2_000_000)))
    assert sum(map(len, unpack_chunks(io.BytesIO(packed), "x", Limits(ratio=50)))) == 3_000_000


@pytest.mark.parametrize(("head", "packing"), [
    (b"\x1f\x8b\x08\0", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh9", "bzip2"),
    (b"", ""),
    (b"\x1f\x8b", ""),
])  # fmt: skip
def test_packing(head: bytes, packing: str) -> None:
    assert detect_packing(head) == packing


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 60), max_size=12))
def test_byte_stream_reads_as_a_file_does(chunks: list[bytes], sizes: list[int]) -> None:
    stream, file = ByteStream(iter([chunk for chunk in chunks if chunk])), io.BytesIO(b"".join(chunks))
    for number, size in enumerate(sizes):
        if number % 3 == 2:
            assert stream.skip(size) == len(file.read(size))
        else:
            assert stream.read(size) == file.read(size)
        assert stream.position == file.tell()
    assert stream.drain() == len(file.read())


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "path"), [
    (b"a", b"a"), (b"./a", b"a"), (b"/a", b"a"), (b"//a///b/", b"a/b"), (b"a/./b", b"a/b"), (b"", b""),
    (b"/", b""),
    (b".", b""), (b"./", b""), (b"...", b"..."), (b"a..b", b"a..b"), (b" ", b" "), (b"\xff", b"\xff"),
])  # fmt: skip
def test_clean_path(name: bytes, path: bytes) -> None:
    assert clean_path(name, "x", Limits()) == path


@given(st.lists(st.sampled_from([b"..", b".", b"", b"a", b"bb", b"...", b"/", b"..a"]), max_size=10))
def test_no_clean_path_leads_up(parts: list[bytes]) -> None:
    try:
        path = clean_path(b"/".join(parts), "x", Limits())
    except Invalid:
        return
    assert not path.startswith(b"/") and not {b"..", b"."} & set(path.split(b"/"))


@pytest.mark.parametrize(("path", "meaning"), [
    (b"a", None), (b"a.wh.b", None), (b"x/.whiteout", None), (b"d.wh./f", None),
    (b".wh.a", Whiteout("hide", b"", b"a")), (b"d/.wh.a", Whiteout("hide", b"d", b"a")),
    (b"d/.wh..a", Whiteout("hide", b"d", b".a")), (b"d/.wh....", Whiteout("hide", b"d", b"...")),
    (b".wh..wh..opq", Whiteout("opaque", b"")), (b"d/.wh..wh..opq", Whiteout("opaque", b"d")),
    (b".wh..wh.aufs", Whiteout("ignore", b"")), (b".wh..wh.orph/x", Whiteout("ignore", b".wh..wh.orph")),
])  # fmt: skip
def test_whiteouts(path: bytes, meaning: Whiteout | None) -> None:
    assert read_whiteout(path, "x") == meaning


# --- archives by name -------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    def write_file(data: bytes) -> Path:
        path = tmp_path / "archive"
        path.write_bytes(data)
        return path

    yield write_file


def test_members(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    data = tar(
        entry("./a//b", b"one"), entry("a/b", b"two"), symlink("d/l", "../a/b"), hardlink("h", "a/b"),
        symlink("out", "../a/b"), symlink("abs", "/a/b"), symlink("loop", "loop"), entry("../up", b"x"),
        entry("/abs-file", b"x"), directory("dir"), entry(b"\xff", b"x"), symlink("dangling", "none"),
    )  # fmt: skip
    with open_source(write(data), tmp_path) as source:
        for name in ("a/b", "d/l", "h"):
            assert (source.size(name), read_member(source, name, 10)) == (3, b"two")
        for name in (
            "out",
            "abs",
            "loop",
            "../up",
            "up",
            "/abs-file",
            "abs-file",
            "dir",
            "dangling",
            "\udcff",
            "",
        ):
            assert source.size(name) is None
            with pytest.raises(SetpointError):
                read_member(source, name, 10)
        with pytest.raises(Invalid, match="longer than 2"):
            read_member(source, "a/b", 2)


def test_data_is_jumped_over_and_its_end_is_checked(write: Callable[[bytes], Path]) -> None:
    data = tar(entry("a", b"x" * 5000), entry("b", b"y"))
    for length in (600, 5000, 5700, 6000):
        with write(data[:length]).open("rb") as file, pytest.raises(Invalid):
            index_tar(file.fileno(), "x")
    with write(data).open("rb") as file:
        assert index_tar(file.fileno(), "x")["b"].size == 1
