"""A netlink socket: many requests in one send, answers checked, errors with what was asked.

Used by the bridges, the sandboxes and the drift check. It knows the framing of messages and
attributes (netlink(7)) and no meaning: which messages there are is in `links`. A socket belongs to
the network namespace that the calling thread was in when it was opened, and stays there.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

NETLINK_ROUTE = 0
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP_INTR = 0x10

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE_BYTES = 65536
_SEND_BYTES = 65536  # well below the default send buffer of 208 KiB (net.core.wmem_default)
_SEND_MESSAGES = 64  # were all refused, the answers must fit the receive buffer, which counts 1280 bytes each
_ANSWER_SECONDS = 30  # the kernel answers within send(2); only the loss of an answer would make us wait
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Request(NamedTuple):
    """One message to the kernel. what: for a person, used in the error ("add link ve12")."""

    kind: int
    body: bytes
    what: str
    flags: int = 0


class Answer(NamedTuple):
    kind: int
    body: bytes


class NetlinkError(OSError):
    """The kernel refused a request. what: that request; index: its place in the batch."""

    def __init__(self, number: int, what: str, message: str, index: int) -> None:
        super().__init__(number, f"{what}: {os.strerror(number)}{f' ({message})' if message else ''}")
        self.what = what
        self.index = index


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return struct.pack("=HHI", 8, kind, value)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def attributes(body: bytes, start: int = 0) -> dict[int, bytes]:
    """Attributes of a message's body from `start` on. Of repeated ones the last counts."""
    found: dict[int, bytes] = {}
    end = len(body)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < 4 or start + length > end:
            break
        found[kind & _TYPE_MASK] = body[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(type, flags, sequence, port, body) of each message in one datagram."""
    start = 0
    while start + 16 <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, start)
        if length < 16:
            return
        yield kind, flags, sequence, port, data[start + 16 : start + length]
        start += (length + 3) & ~3


class Netlink:
    """A netlink socket of the calling thread's network namespace. Not for several threads at once."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        # Kernel 4.3 and 4.12: short error answers, and a sentence of the kernel's in them.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _ANSWER_SECONDS, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def port(self) -> int:
        """The address that the kernel puts into notifications of what this socket changed."""
        if self._socket.getsockname()[0] == 0:
            self._socket.bind((0, 0))
        port: int = self._socket.getsockname()[0]
        return port

    def send(self, requests: Iterable[Request]) -> list[NetlinkError]:
        """Carry out all requests in order and return the refused ones.

        The kernel works on them within send(2), and goes on after one that it refuses
        (netlink_rcv_skb), so that their answers are all there when it returns.
        """
        todo = list(requests)
        refused: list[NetlinkError] = []
        for first, last in _portions(todo):
            refused.extend(self._send(todo, first, last))
        return refused

    def request(self, *requests: Request) -> None:
        """Carry out all requests in order; raise the first refused one's NetlinkError."""
        refused = self.send(requests)
        if refused:
            raise refused[0]

    def _send(self, todo: list[Request], first: int, last: int) -> list[NetlinkError]:
        base = self._sequence + 1
        parts: list[bytes] = []
        for index in range(first, last):
            self._sequence += 1
            request = todo[index]
            # A refusal is always answered; success is worth one answer only, the last one's.
            flags = request.flags | (NLM_F_REQUEST | NLM_F_ACK if index == last - 1 else NLM_F_REQUEST)
            parts.append(
                _HEADER.pack(16 + len(request.body), request.kind, flags, self._sequence, 0) + request.body
            )
        self._socket.send(b"".join(parts))
        refused: list[NetlinkError] = []
        while True:
            for kind, flags, sequence, _port, body in messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind != _NLMSG_ERROR or not base <= sequence <= self._sequence:
                    continue
                index = first + sequence - base
                error = -struct.unpack_from("=i", body)[0]
                if error:
                    refused.append(NetlinkError(error, todo[index].what, _message(flags, body), index))
                if sequence == self._sequence:
                    return refused

    def transact(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """All of them, or nothing: a batch of nfnetlink. NetlinkError of the first one that is refused.

        The last request has the answer that is waited for, since most kernels do not answer to an end.
        """
        base = self._sequence
        parts = []
        for request in (begin, *requests, end):
            self._sequence += 1
            is_last = self._sequence == base + 1 + len(requests)
            flags = request.flags | (NLM_F_REQUEST | NLM_F_ACK if is_last else NLM_F_REQUEST)
            length = 16 + len(request.body)
            parts.append(_HEADER.pack(length, request.kind, flags, self._sequence, 0) + request.body)
        self._socket.send(b"".join(parts))
        refused: NetlinkError | None = None
        while True:
            for kind, flags, sequence, _port, body in messages(self._socket.recv(_RECEIVE_BYTES)):
                index = sequence - base - 2
                if kind != _NLMSG_ERROR or not -1 <= index < len(requests):
                    continue
                error = -struct.unpack_from("=i", body)[0]
                if error and refused is None:
                    what = requests[index].what if index >= 0 else begin.what
                    refused = NetlinkError(error, what, _message(flags, body), max(index, 0))
                if refused is not None and index == -1:  # the whole of it: nothing else is answered
                    raise refused
                if index == len(requests) - 1:
                    if refused is not None:
                        raise refused
                    return

    def get(self, request: Request) -> Answer:
        """The one object that the request names."""
        return next(self._answers(request, 0), None) or Answer(0, b"")

    def dump(self, request: Request) -> list[Answer]:
        """All objects of the request's kind. Asked again when they changed meanwhile."""
        for _ in range(8):
            answers = list(self._answers(request, NLM_F_DUMP))
            if not self._interrupted:
                break
        return answers

    def _answers(self, request: Request, flags: int) -> Iterator[Answer]:
        self._sequence += 1
        self._interrupted = False
        header = (16 + len(request.body), request.kind, request.flags | flags | NLM_F_REQUEST)
        self._socket.send(_HEADER.pack(*header, self._sequence, 0) + request.body)
        while True:
            for kind, found, sequence, _port, body in messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                self._interrupted |= bool(found & NLM_F_DUMP_INTR)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    error = -struct.unpack_from("=i", body)[0]
                    raise NetlinkError(error, request.what, _message(found, body), 0)
                yield Answer(kind, body)
                if not flags:
                    return


def _portions(todo: list[Request]) -> Iterator[tuple[int, int]]:
    first, size = 0, 0
    for index, request in enumerate(todo):
        size += 16 + len(request.body)
        if index > first and (size > _SEND_BYTES or index - first == _SEND_MESSAGES):
            yield first, index
            first, size = index, 16 + len(request.body)
    if first < len(todo):
        yield first, len(todo)


def _message(flags: int, body: bytes) -> str:
    """The kernel's own sentence in an error's answer (NLMSGERR_ATTR_MSG), or ""."""
    if not flags & _NLM_F_ACK_TLVS:
        return ""
    start = 20 if flags & _NLM_F_CAPPED else 4 + struct.unpack_from("=I", body, 4)[0]
    return attributes(body, start).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
