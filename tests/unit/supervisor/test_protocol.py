"""Framing, descriptors and hostile ends of the supervisor's socket."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from runtime import errors
from runtime.supervisor import protocol
from runtime.supervisor.protocol import Closed, TooLong, TooMuch, Wire, error_from_json, error_to_json


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    left, right = socket.socketpair()
    wires = Wire(left), Wire(right)
    yield wires
    for wire in wires:
        wire.close()


def _frame(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def test_messages_arrive_whole_and_in_order(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    for number in range(100):
        assert left.send({"id": number, "text": "é\ud800"})
    assert [message["id"] for message, _ in right.receive()] == list(range(100))


def test_a_frame_in_pieces(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    data = _frame(b'{"id":1}') + _frame(b'{"id":2}')
    got = []
    for byte in data:
        left.sock.send(bytes([byte]))
        got += [message["id"] for message, _ in right.receive()]
    assert got == [1, 2]
    assert right.receive() == []


def test_descriptors_go_with_their_message(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    pipes = [os.pipe() for _ in range(3)]
    for number, (_reader, writer) in enumerate(pipes):
        left.send({"id": number}, (writer,))
        left.send({"id": -1})
        os.close(writer)
    received = right.receive()
    while len(received) < 6:
        received += right.receive()
    for (message, fds), (reader, _writer) in zip(received[::2], pipes, strict=True):
        os.write(fds[0], b"%d" % message["id"])
        assert os.read(reader, 10) == b"%d" % message["id"]
        assert not os.get_inheritable(fds[0])
        os.close(fds[0])
        os.close(reader)
    assert all(fds == [] for _, fds in received[1::2])


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", protocol.MAX_FRAME_BYTES + 1),
        _frame(b"not json"),
        _frame(b"[1]"),
        _frame(b"[" * 100_000),
        _frame(b'{"fds":1}'),
        _frame(b'{"fds":-1}'),
        _frame(b'{"fds":"many"}'),
    ],
)
def test_what_breaks_the_protocol_ends_it(ends: tuple[Wire, Wire], data: bytes) -> None:
    left, right = ends
    left.sock.send(data)
    with pytest.raises(Closed):
        while True:
            right.receive()


def test_the_end_of_the_stream(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    left.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(Closed):
        right.receive()


def test_unclaimed_descriptors_are_closed(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    reader, writer = os.pipe()
    socket.send_fds(left.sock, [_frame(b'{"id":1}')], [writer])
    os.close(writer)
    assert right.receive() == [({"id": 1}, [])]
    right.close()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_what_the_socket_does_not_take_waits_and_is_bounded(ends: tuple[Wire, Wire]) -> None:
    left, right = ends
    text = "x" * 100_000
    reader, writer = os.pipe()
    sent = 0
    while left.send({"id": sent, "text": text}):
        sent += 1
    assert not left.send({"id": "last"}, (writer,))
    os.close(writer)
    got: list[tuple[dict[str, object], list[int]]] = []
    while not got or got[-1][0]["id"] != "last":
        left.flush()
        got += right.receive()
    assert len(got) == sent + 2
    os.write(got[-1][1][0], b"alive")
    assert os.read(reader, 5) == b"alive"
    os.close(got[-1][1][0])
    os.close(reader)
    with pytest.raises(Closed):
        for _ in range(400):
            left.send({"text": text})


@pytest.mark.parametrize(
    "kind", [errors.Invalid, errors.NotFound, errors.Conflict, errors.Unsupported, errors.Temporary]
)
def test_errors_cross_with_their_kind(kind: type[errors.SetpointError]) -> None:
    error = kind("start", "web", "no room", "make some")
    back = error_from_json(json.loads(json.dumps(error_to_json(error, "x", "y"))))
    assert type(back) is kind and str(back) == str(error)


def test_an_error_that_is_a_bug() -> None:
    back = error_from_json(error_to_json(KeyError("field"), "start", "web"))
    assert type(back) is RuntimeError and str(back) == "start web: KeyError: 'field'"


def test_what_cannot_be_sent_costs_no_connection(
    ends: tuple[Wire, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what is too long, nor what comes while too much waits: it was taken for an end that is gone."""
    monkeypatch.setattr(protocol, "MAX_FRAME_BYTES", 1 << 20)
    monkeypatch.setattr(protocol, "MAX_QUEUED_BYTES", 3 << 20)
    left, right = ends
    with pytest.raises(TooLong, match="1048576 is the most"):
        left.send({"id": 0, "text": "é" * 300_000})
    sent = 0
    with pytest.raises(TooMuch):
        for sent in range(1, 100):
            left.send({"id": sent, "text": "x" * 900_000})
    got: list[int] = []
    while not left.flush() or len(got) < sent - 1:
        got += [message["id"] for message, _ in right.receive()]
    assert got == list(range(1, sent))
    assert left.send({"id": sent})
