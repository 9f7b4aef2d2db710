"""Protocol Buffers and fsutil's packets: what was written is read back, and nothing else is believed."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.buildkit import messages, packets, wire
from agent.api.docker.buildkit.file_sync import FilesWish, header_of
from agent.api.docker.buildkit.packets import FileStatus, clean_path, read_packet, write_packet
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Invalid

DIRECTORY, LINK, SOCKET, SETUID = 1 << 31, 1 << 27, 1 << 24, 1 << 23


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=300), st.lists(st.text(max_size=20)))
def test_what_is_written_is_read_back(whole: int, blob: bytes, texts: list[str]) -> None:
    texts = [text.replace("\0", "").encode("utf-8", "replace").decode() for text in texts]
    found = Message(wire.number(1, whole) + wire.blob(2, blob) + wire.texts(300, texts))
    assert (found.whole(1), found.blob(2), found.texts(300)) == (whole, blob, texts)


@given(st.dictionaries(st.text("abc", max_size=4), st.text("xyz", max_size=4)))
def test_maps(values: dict[str, str]) -> None:
    assert Message(wire.text_map(7, values)).text_map(7) == values


def test_signs_and_moments() -> None:
    assert Message(wire.number(1, -5)).signed(1) == -5
    moment = Message(wire.moment(1, 1.5)).message(1)
    assert (moment.whole(1), moment.whole(2)) == (1, 500_000_000)
    assert wire.moment(1, None) == wire.number(1, 0) == wire.text(1, "") == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a tag without a value
        b"\x0a\x05abc",  # a length beyond the end
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of 2**64
        b"\x08" + b"\xff" * 11,  # a number without an end
        b"\x08" + b"\xff" * 11 + b"\x01",  # one of 84 bits
        b"\x0b",  # a group
        b"\x00\x01",  # the field 0
        b"\x09\x01",  # eight bytes of which one is there
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(Invalid):
        Message(data)


def test_a_field_of_another_kind() -> None:
    with pytest.raises(Invalid):
        Message(wire.number(1, 3)).blob(1)
    with pytest.raises(Invalid):
        Message(wire.blob(1, b"a")).whole(1)
    for text in (b"\xff", b"a\0b"):
        with pytest.raises(Invalid):
            Message(wire.blob(1, text)).text(1)


def test_depth_costs_nothing() -> None:
    """A message within a message is bytes until somebody asks."""
    data = b""
    for _ in range(2000):
        data = wire.inner(1, data)
    assert Message(data).has(1)


def test_many_fields_are_too_many() -> None:
    with pytest.raises(Invalid):
        Message(b"\x08\x00" * (wire.MAX_FIELDS + 1))


@given(st.binary(max_size=400))
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    for read in (
        read_packet, messages.read_solve, messages.read_frontend, messages.read_return,
    ):  # fmt: skip
        with contextlib.suppress(Invalid):
            read(data)


# --- packets ------------------------------------------------------------------------------------------


def status(path: str, mode: int = 0o644, size: int = 0, link: str = "") -> bytes:
    inner = (
        wire.blob(1, os.fsencode(path)) + wire.number(2, mode) + wire.number(5, size)
        + wire.number(6, 1_700_000_000 * 10**9) + wire.blob(7, os.fsencode(link))
    )  # fmt: skip
    return wire.number(1, packets.STAT) + wire.inner(2, inner)


@pytest.mark.parametrize(
    ("data", "kind", "mode"),
    [
        (status("a/b", 0o755 | SETUID), "file", 0o755 | stat.S_ISUID),
        (status("d", DIRECTORY | 0o700), "directory", 0o700),
        (status("l", LINK | 0o777, link="../../etc/passwd"), "link", 0o777),
        (status("h", 0o644, link="a/b"), "hardlink", 0o644),
        (status("s", SOCKET | 0o600), "other", 0o600),
    ],
)
def test_kinds_of_files(data: bytes, kind: str, mode: int) -> None:
    found = read_packet(data).status
    assert found is not None
    assert (found.kind, found.mode, found.modified_ns) == (kind, mode, 1_700_000_000 * 10**9)


def test_other_packets() -> None:
    assert read_packet(wire.number(1, packets.STAT)).status is None
    packet = read_packet(write_packet(packets.DATA, 7, b"abc"))
    assert (packet.kind, packet.id, packet.data) == (packets.DATA, 7, b"abc")
    with pytest.raises(Invalid):
        read_packet(wire.number(1, 9))


@pytest.mark.parametrize(
    "path",
    ["", "/", "..", "../a", "a/../b", "a//b", "a/.", "./a", "a/", "//a", "a" * 256, "a/" * 2048 + "a", "a\0"],
)  # fmt: skip
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(Invalid):
        read_packet(status(path))
    with pytest.raises(Invalid):
        read_packet(status("h", link=path) if path else status("l", LINK))


def test_sizes_below_nothing() -> None:
    with pytest.raises(Invalid):
        read_packet(status("a", size=-1))


@given(st.text(max_size=30))
def test_a_path_that_is_taken_is_below_the_context(path: str) -> None:
    try:
        found = clean_path(path)
    except (Invalid, UnicodeEncodeError):
        return
    assert not found.startswith("/")
    assert not {"", ".", ".."} & set(found.split("/"))


# --- the tar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        FileStatus("a/b", "file", 0o4755, 3, 10**18),
        FileStatus("n" * 250 + "/" + "m" * 250, "file", 0o644, 9 << 30, -5),
        FileStatus("l", "link", 0o777, 0, 0, "/etc/" + "x" * 300),
        FileStatus("h", "hardlink", 0o644, 5, 0, "a/b"),
        FileStatus("d", "directory", 0o700, 0, 0),
        FileStatus("caf\udce9", "file", 0o600, 0, 0),
    ],
)
def test_headers_are_read_as_they_were_meant(found: FileStatus) -> None:
    header = header_of(found)
    assert header is not None and len(header) % 512 == 0
    file = io.BytesIO(header + bytes(1024))
    with tarfile.open(fileobj=file, errors="surrogateescape") as archive:
        [member] = [archive.next()]
    assert member is not None
    assert (member.name, member.mode, member.linkname) == (found.path, found.mode, found.link)
    assert member.size == (found.size if found.kind == "file" else 0)


def test_what_a_context_cannot_hold_is_left_out() -> None:
    assert header_of(FileStatus("s", "other", 0o600, 0, 0)) is None


def test_patterns_go_as_headers_of_ascii() -> None:
    assert FilesWish("context", ("a", "b c")).metadata() == [
        ("dir-name", "context"), ("exclude-patterns", "a"), ("exclude-patterns", "b c"),
    ]  # fmt: skip
    assert FilesWish("context", ("é",), ("x\ny",)).metadata()[1:] == [
        ("exclude-patterns", "%C3%A9"), ("exclude-patterns-encoded", "1"),
        ("followpaths", "x%0Ay"), ("followpaths-encoded", "1"),
    ]  # fmt: skip
    assert len(FilesWish("context", ("x" * 300_000,)).metadata()) == 1  # the build hides it all the same
