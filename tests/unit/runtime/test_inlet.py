"""A request's body as a worker reads it: whatever parts it comes in, it is all of it and nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.copies import inlet
from runtime.copies.inlet import BUFFER_BYTES, Incoming, Inlet
from runtime.errors import Invalid
from runtime.images.streams import ByteStream

SILENCE_SECONDS = 20.0
NEXT = b"GET /_ping HTTP/1.1\r\n\r\n"


@contextmanager
def incoming(
    data: bytes,
    early: bytes = b"",
    length: int | None = None,
    silence: float = SILENCE_SECONDS,
    step: int = 0,
) -> Iterator[Incoming]:
    """A client that sends this, so many bytes at once, and goes away."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def send() -> None:
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was refused meanwhile
            for at in range(0, len(data), step or max(1, len(data))):
                theirs.sendall(data[at : at + (step or len(data))])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield Incoming(ours.fileno(), early, length, silence)
    finally:
        ours.close()
        sender.join()


def chunked(content: bytes, seed: int, trailers: bytes = b"") -> bytes:
    made, at, chance = b"", 0, random.Random(seed)
    while at < len(content):
        part = content[at : at + chance.choice((1, 7, 300, 32768))]
        said = chance.choice((b"%x", b"%X", b"%04x", b"%x;name=value")) % len(part)
        made += said + b"\r\n" + part + b"\r\n"
        at += len(part)
    return made + b"0\r\n" + trailers + b"\r\n"


@given(
    st.binary(max_size=2000), st.integers(0, 1000), st.integers(0, 2500), st.integers(1, 50),
    st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ: \r\n"]),
)  # fmt: skip
def test_chunks_in_whatever_parts(content: bytes, seed: int, cut: int, step: int, trailers: bytes) -> None:
    data = chunked(content, seed, trailers) + NEXT
    with incoming(data[cut:], data[:cut], step=step) as source:
        assert b"".join(map(bytes, Inlet(source).views())) == content


@pytest.mark.parametrize("size", [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, 3 * BUFFER_BYTES + 5])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_more_than_the_buffer_holds(size: int, is_chunked: bool) -> None:
    content = random.Random(size).randbytes(size)
    data = chunked(content, size) if is_chunked else content
    with incoming(data[10:], data[:10], length=None if is_chunked else size) as source:
        assert b"".join(map(bytes, Inlet(source).views())) == content
    with incoming(data[10:] + NEXT, data[:10], length=None if is_chunked else size) as source:
        found = Inlet(source)
        head = found.peek(6)
        assert head == content[:6]
        assert b"".join(iter(lambda: found.read(100_000), b"")) == content


def test_a_view_that_is_written_over_is_not_kept() -> None:
    """The buffer is used again and again, while a tar's header may lie on both sides of its end."""
    content = random.Random(1).randbytes(3 * BUFFER_BYTES)
    with incoming(content, length=len(content), step=1000) as source:
        stream = ByteStream(Inlet(source).views())
        assert b"".join(iter(lambda: stream.read(300_007), b"")) == content


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"5\nhello\r\n0\r\n\r\n", "does not end with CRLF"),
        (b"5\r\nhello!\r\n0\r\n\r\n", "longer than was said"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", "no number"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "no number"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "no number"),
        (b"1_0\r\nhello\r\n0\r\n\r\n", "no number"),
        (b"\r\n", "no number"),
        (b"f" * 16 + b"\r\n", "no number"),
        (b"5;" + b"x" * 5000 + b"\r\n", "too long"),
        (b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "trailers"),
        (b"5\r\nhel", "broke off"),
        (b"5\r\nhello\r\n0\r\n", "broke off"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_no_body(body: bytes, reason: str, step: int) -> None:
    with incoming(body, step=step) as source, pytest.raises(Invalid, match=reason):
        list(Inlet(source).views())


def test_one_that_is_cut_off() -> None:
    with incoming(b"12345", length=6) as source, pytest.raises(Invalid, match="broke off"):
        list(Inlet(source).views())


def test_one_that_stays_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"123")
        views = Inlet(Incoming(ours.fileno(), b"", 6, 0.05)).views()
        assert bytes(next(views)) == b"123"
        with pytest.raises(Invalid, match=r"nothing came for 0\.05 s"):
            next(views)


def _dripped(piece: bytes, seconds: float, pauses: int = 1000) -> bytes:
    """What is read of a client that sends this so often, with a while of a tenth of a second."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def send() -> None:
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(pauses):
                theirs.sendall(piece)
                time.sleep(seconds)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        source = Inlet(Incoming(ours.fileno(), b"", pauses * len(piece), 0.2))
        return b"".join(map(bytes, source.views()))
    finally:
        ours.close()
        sender.join()


def test_one_that_drips() -> None:
    """It is never silent for long, and would hold its place for ever."""
    with pytest.raises(Invalid, match="less than 64 KiB came"):
        _dripped(b"x", 0.02)


def test_one_whose_link_is_slow() -> None:
    """Ever again it is waited for, for longer than a while in all."""
    assert len(_dripped(b"x" * 50_000, 0.02, pauses=30)) == 30 * 50_000


def test_what_was_read_already_goes_by_a_file_of_nowhere() -> None:
    descriptor = inlet.written(b"x" * 300_000)
    try:
        assert inlet.read_whole(descriptor) == inlet.read_whole(descriptor) == b"x" * 300_000
    finally:
        os.close(descriptor)
