"""HTTP/2 and gRPC between two ends of a socket, and what a hostile end does to the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.api.docker.buildkit import grpc, packets, wire
from agent.api.docker.buildkit.file_sync import METHOD, FilesWish, fetch_files
from agent.api.docker.buildkit.grpc import GrpcError, messages, serve
from agent.api.docker.buildkit.http2 import Headers, Http2, Stream
from agent.api.docker.buildkit.packets import read_packet, write_packet
from agent.api.docker.buildkit.sessions import CREDENTIALS, SECRET, Session
from agent.api.upgrade import Connection
from runtime.errors import Invalid
from runtime.images.registry.credentials import Credential
from tests.unit.docker_api.test_build_wire import DIRECTORY, LINK, SOCKET, status

OnStream = Callable[[Stream], Awaitable[None]]


class _Before(asyncio.Protocol):
    """Who had the transport before; told of its end."""


async def connect(sock: socket.socket) -> Connection:
    sock.setblocking(False)
    transport, before = await asyncio.get_running_loop().create_connection(_Before, sock=sock)
    connection = Connection(transport, before)
    transport.set_protocol(connection)
    return connection


@contextlib.asynccontextmanager
async def talking(on_stream: OnStream) -> AsyncIterator[tuple[Http2, Http2]]:
    """(who calls, who serves)"""
    near, far = socket.socketpair()
    calling = Http2(await connect(near), is_client=True)
    serving = Http2(await connect(far), is_client=False, on_stream=on_stream)
    runs = [asyncio.ensure_future(calling.run()), asyncio.ensure_future(serving.run())]
    try:
        yield calling, serving
    finally:
        calling._connection.close()
        serving._connection.close()
        async with asyncio.timeout(10):
            await asyncio.gather(*runs)


def answering(methods: grpc.Methods) -> OnStream:
    def status_of(error: Exception) -> GrpcError:
        return GrpcError(grpc.UNKNOWN, f"{error}")

    async def on_stream(stream: Stream) -> None:
        await serve(stream, methods, status_of)

    return on_stream


async def echo(message: bytes, headers: Headers) -> bytes:
    return message


async def fail(message: bytes, headers: Headers) -> bytes:
    raise ValueError("nö: 100%")


async def wait(message: bytes, headers: Headers) -> bytes:
    await asyncio.Event().wait()
    return b""


async def count(message: bytes, headers: Headers) -> AsyncGenerator[bytes, None]:
    for number in range(3):
        yield bytes([number])


METHODS: grpc.Methods = {"/echo": echo, "/fail": fail, "/wait": wait, "/count": count}


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
async def test_messages_larger_than_every_window(size: int) -> None:
    async with talking(answering(METHODS)) as (calling, _):
        assert await grpc.call(calling, "/echo", b"x" * size) == b"x" * size


async def test_many_calls_at_once() -> None:
    async with talking(answering(METHODS)) as (calling, _):
        data = [bytes([number]) * 70_000 for number in range(100)]
        assert await asyncio.gather(*(grpc.call(calling, "/echo", each) for each in data)) == data


async def test_several_answers() -> None:
    async with talking(answering(METHODS)) as (calling, _), grpc.open_call(calling, "/count") as call:
        await call.send(b"")
        await call.finish()
        assert [await call.receive() for _ in range(4)] == [b"\0", b"\1", b"\2", None]


async def test_errors_keep_their_words() -> None:
    async with talking(answering(METHODS)) as (calling, _):
        with pytest.raises(GrpcError) as failed:
            await grpc.call(calling, "/fail", b"")
        assert (failed.value.code, failed.value.message) == (grpc.UNKNOWN, "nö: 100%")
        with pytest.raises(GrpcError) as failed:
            await grpc.call(calling, "/nothing", b"")
        assert failed.value.code == grpc.UNIMPLEMENTED
        assert await grpc.call(calling, "/echo", b"a") == b"a"


async def test_a_deadline_is_kept() -> None:
    async with talking(answering(METHODS)) as (calling, _):
        with pytest.raises(GrpcError) as failed:
            await grpc.call(calling, "/wait", b"", [("grpc-timeout", "20m")])
        assert failed.value.code == grpc.DEADLINE_EXCEEDED


async def test_a_call_that_is_given_up_ends_on_the_other_side() -> None:
    ended = asyncio.Event()

    async def hang(message: bytes, headers: Headers) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with talking(answering({"/hang": hang, **METHODS})) as (calling, serving):
        work = asyncio.ensure_future(grpc.call(calling, "/hang", b""))
        async with asyncio.timeout(10):
            while not serving._streams:
                await asyncio.sleep(0)
            work.cancel()
            await ended.wait()
        assert await grpc.call(calling, "/echo", b"a") == b"a"


async def test_a_connection_that_ends_takes_its_calls_along() -> None:
    async with talking(answering(METHODS)) as (calling, serving):
        work = asyncio.ensure_future(grpc.call(calling, "/wait", b""))
        async with asyncio.timeout(10):
            while not serving._streams:
                await asyncio.sleep(0)
            serving._connection.close()
            with pytest.raises(ConnectionError):
                await work
    with pytest.raises(ConnectionError):
        await grpc.call(calling, "/echo", b"")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\0" * 100, b""])
async def test_what_is_no_http2_ends_the_connection(data: bytes) -> None:
    near, far = socket.socketpair()
    serving = Http2(await connect(far), is_client=False, on_stream=answering(METHODS))
    near.sendall(data)
    near.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(10):
        await serving.run()
    near.close()
    serving._connection.close()


async def test_resets_without_end_are_answered_with_an_end() -> None:
    """CVE-2023-44487."""
    async with talking(answering(METHODS)) as (calling, _):

        async def begin_and_reset() -> None:
            while True:
                stream = await calling.open([(":method", "POST"), (":scheme", "http"), (":path", "/wait"),
                                             (":authority", "x")])  # fmt: skip
                await stream.close()
                await asyncio.sleep(0)

        async with asyncio.timeout(30):
            with pytest.raises(ConnectionError):
                await begin_and_reset()


async def test_a_message_too_long_is_refused_by_its_head() -> None:
    async def on_stream(stream: Stream) -> None:
        with pytest.raises(GrpcError) as failed:
            await anext(messages(stream))
        found.append(failed.value.code)

    found: list[int] = []
    async with talking(on_stream) as (calling, _):
        for head in (struct.pack("!BI", 0, grpc.MAX_MESSAGE_BYTES + 1), struct.pack("!BI", 1, 1)):
            stream = await calling.open([(":method", "POST"), (":scheme", "http"), (":path", "/"),
                                         (":authority", "x")])  # fmt: skip
            await stream.send(head)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    await stream.read()
    assert found == [grpc.RESOURCE_EXHAUSTED, grpc.UNIMPLEMENTED]


# --- a session --------------------------------------------------------------------------------------


async def test_logins_and_secrets_of_a_session() -> None:
    async def credentials(message: bytes, headers: Headers) -> bytes:
        match wire.Message(message).text(1):
            case "registry-1.docker.io":
                return wire.text(1, "ann") + wire.text(2, "word")
            case "token.example.org":
                return wire.text(2, "token")
        return b""

    async def secret(message: bytes, headers: Headers) -> bytes:
        if wire.Message(message).text(1) != "key":
            raise GrpcError(grpc.NOT_FOUND, "not found")
        return wire.blob(1, b"\xff\0")

    async with talking(answering({CREDENTIALS: credentials, SECRET: secret})) as (calling, _):
        session = Session("x", calling, frozenset({CREDENTIALS.lower(), SECRET.lower()}))
        assert await session.credential("docker.io") == Credential("ann", "word")
        assert await session.credential("token.example.org") == Credential(identity_token="token")
        assert await session.credential("other.example.org") is None
        assert await session.secret("key") == b"\xff\0"
        assert await session.secret("other") is None
        assert not await session.has_agent("default")
        nothing = Session("y", calling, frozenset())
        assert await nothing.credential("docker.io") is None
        assert await nothing.secret("key") is None


# --- files ------------------------------------------------------------------------------------------


def sharing(stats: list[bytes], content: dict[int, list[bytes]]) -> OnStream:
    """A client that shares files: its STATs, and what it answers for each id that is asked for."""

    async def on_stream(stream: Stream) -> None:
        assert stream.headers[":path"] == METHOD
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        for data in [*stats, wire.number(1, packets.STAT)]:
            await stream.send(grpc.framed(data))
        async for message in messages(stream):
            packet = read_packet(message)
            if packet.kind == packets.FIN:
                await stream.send(grpc.framed(write_packet(packets.FIN)))
                break
            for piece in [*content.get(packet.id, []), b""]:
                await stream.send(grpc.framed(write_packet(packets.DATA, packet.id, piece)))
        await stream.send_headers([("grpc-status", "0")], is_last=True)

    return on_stream


async def fetch(
    tmp_path: Path, on_stream: OnStream, wish: FilesWish = FilesWish("context")
) -> dict[str, bytes]:
    async with talking(on_stream) as (calling, _), asyncio.timeout(20):
        descriptor = await fetch_files(calling, wish, tmp_path)
    with os.fdopen(descriptor, "rb") as file, tarfile.open(fileobj=file) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            found[member.name] = content.read() if content else member.linkname.encode()
        return found


async def test_files_come_whole_whatever_their_order(tmp_path: Path) -> None:
    big = os.urandom(3_000_000)
    stats = [
        status("a", size=3), status("d", DIRECTORY | 0o755), status("d/big", size=len(big)),
        status("d/s", SOCKET), status("e", size=0), status("h", size=3, link="a"),
        status("l", LINK, link="/etc"),
    ]  # fmt: skip
    pieces = [big[at : at + 32768] for at in range(0, len(big), 32768)]
    found = await fetch(tmp_path, sharing(stats, {0: [b"abc"], 2: pieces}))
    assert found == {"a": b"abc", "d": b"", "d/big": big, "e": b"", "h": b"a", "l": b"/etc"}
    assert list(tmp_path.iterdir()) == []


async def test_thousands_of_files(tmp_path: Path) -> None:
    stats = [status(f"f{number:05}", size=5) for number in range(3000)]
    found = await fetch(tmp_path, sharing(stats, {number: [b"%05d" % number] for number in range(3000)}))
    assert found == {f"f{number:05}": b"%05d" % number for number in range(3000)}


@pytest.mark.parametrize(
    ("stats", "content", "said"),
    [
        ([status("a", size=3)], {0: [b"abcd"]}, "changed while it was sent"),
        ([status("a", size=3)], {0: [b"ab"]}, "changed while it was sent"),
        ([status("../a", size=3)], {}, "not a path below the context"),
        ([status("a", size=1 << 40)], {}, "over"),
        ([write_packet(packets.DATA, 0, b"x")], {}, "out of turn"),
        ([wire.number(1, packets.ERR) + wire.blob(4, b"permission denied")], {}, "permission denied"),
        ([b"\xff"], {}, "not a message"),
    ],
)
async def test_hostile_senders(
    tmp_path: Path, stats: list[bytes], content: dict[int, list[bytes]], said: str
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Invalid) as refused:
        await fetch(tmp_path, sharing(stats, content))
    assert said in str(refused.value)
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    assert list(tmp_path.iterdir()) == []


async def test_content_that_nobody_asked_for(tmp_path: Path) -> None:
    async def on_stream(stream: Stream) -> None:
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        for data in (status("a", size=3), wire.number(1, packets.STAT), write_packet(packets.DATA, 5, b"x")):
            await stream.send(grpc.framed(data))
        await stream.read()

    with pytest.raises(Invalid) as refused:
        await fetch(tmp_path, on_stream)
    assert "nobody asked for" in str(refused.value)


async def test_a_file_that_never_ends(tmp_path: Path) -> None:
    """It fills no disk: no more is taken than was announced."""

    async def on_stream(stream: Stream) -> None:
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        for data in (status("a", size=3), wire.number(1, packets.STAT)):
            await stream.send(grpc.framed(data))
        await stream.read()  # the request for it
        while True:
            await stream.send(grpc.framed(write_packet(packets.DATA, 0, bytes(32768))))

    with pytest.raises(Invalid) as refused:
        await fetch(tmp_path, on_stream)
    assert "changed while it was sent" in str(refused.value)


async def test_frames_without_data_are_no_end_and_are_not_kept() -> None:
    """No window bounds how many a peer may send."""
    read: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

    async def on_stream(stream: Stream) -> None:
        read.set_result((await stream.read(), stream.unread))

    async with talking(on_stream) as (calling, _serving), asyncio.timeout(10):
        stream = await calling.open(
            [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "x")]
        )
        for _ in range(1000):
            calling._h2.send_data(stream.id, b"")
            calling._h2.send_data(stream.id, b"", pad_length=1)
        await calling.send(stream, b"x", is_last=True)
        assert await read == (b"x", 0)
