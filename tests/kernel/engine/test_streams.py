"""Attached clients: stdin, both streams, terminals, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct

from runtime.engine import NativeEngine
from tests.native import ended, output, run, shell, supervisor_pid, until


async def _attach(engine: NativeEngine, id: str, **options: object) -> socket.socket:
    sock = socket.socket(fileno=await engine.attach(id, **options))  # type: ignore[arg-type]
    sock.setblocking(False)
    return sock


async def _read_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(20):
        while piece := await loop.sock_recv(sock, 65536):
            data += piece
    sock.close()
    return data


async def test_stdin_goes_in_and_its_end_is_seen(engine: NativeEngine) -> None:
    config = shell(engine, "one", "cat; echo end", stdin_open=True)
    await engine.create(config)
    sock = await _attach(engine, config.id, stdin=True)
    await engine.start(config.id)
    await asyncio.get_running_loop().sock_sendall(sock, b"given\n" * 100_000)
    sock.shutdown(socket.SHUT_WR)
    assert await _read_all(sock) == b"given\n" * 100_000 + b"end\n"
    assert (await ended(engine, config.id)).exit_code == 0
    assert output(engine, config.id) == b"given\n" * 100_000 + b"end\n"


async def test_an_early_client_sees_the_first_byte_and_both_streams_framed(engine: NativeEngine) -> None:
    config = shell(engine, "one", "echo out; echo err >&2")
    await engine.create(config)
    sock = await _attach(engine, config.id, framed=True)
    await engine.start(config.id)
    data = await _read_all(sock)
    frames = [struct.pack("!BxxxI", 1, 4) + b"out\n", struct.pack("!BxxxI", 2, 4) + b"err\n"]
    assert data in (b"".join(frames), b"".join(reversed(frames)))  # which is read first is nobody's promise


async def test_stdin_stays_open_when_a_client_leaves(engine: NativeEngine) -> None:
    config = shell(engine, "one", "read a; echo got $a; read b; echo got $b", stdin_open=True)
    await run(engine, config)
    for word in (b"one\n", b"two\n"):
        sock = await _attach(engine, config.id, stdin=True, closes_stdin=False)
        sock.send(word)
        await until(lambda word=word: b"got " + word in output(engine, config.id))
        sock.close()
    assert (await ended(engine, config.id)).exit_code == 0


async def test_a_terminal_both_ways_and_its_log(engine: NativeEngine) -> None:
    config = shell(engine, "one", "tty; stty size; read x; stty size; echo got $x", tty=True, stdin_open=True)
    await engine.create(config)
    sock = await _attach(engine, config.id, stdin=True)
    await engine.start(config.id)
    await until(lambda: b"\r\n" in output(engine, config.id))
    await engine.resize(config.id, 44, 99)
    sock.send(b"typed\n")
    seen = await _read_all(sock)
    assert b"/dev/" in seen and b"44 99" in seen and b"got typed\r\n" in seen
    await ended(engine, config.id)
    assert b"got typed\r\n" in output(engine, config.id)


async def test_a_terminal_outlives_the_supervisor(engine: NativeEngine) -> None:
    config = shell(engine, "one", "echo begun; read x; echo got $x; exit 4", tty=True, stdin_open=True)
    await run(engine, config)
    await until(lambda: b"begun" in output(engine, config.id))
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    sock = await _attach(engine, config.id, stdin=True)
    sock.send(b"again\n")
    assert (await ended(engine, config.id)).exit_code == 4
    sock.close()
    assert b"got again" in output(engine, config.id)


async def test_stdin_outlives_the_supervisor(engine: NativeEngine) -> None:
    config = shell(engine, "one", "cat; exit 4", stdin_open=True)
    await run(engine, config)
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    assert engine.state(config.id).phase == "running"  # type: ignore[union-attr]
    sock = await _attach(engine, config.id, stdin=True)
    sock.send(b"again\n")
    sock.shutdown(socket.SHUT_WR)
    assert (await ended(engine, config.id)).exit_code == 4
    sock.close()
    assert output(engine, config.id) == b"again\n"


async def test_a_client_that_does_not_read_costs_no_output(engine: NativeEngine) -> None:
    config = shell(engine, "one", "yes | head -c 4000000; echo end", log_max_bytes=1 << 30)
    await engine.create(config)
    sock = await _attach(engine, config.id)
    await engine.start(config.id)
    await asyncio.sleep(0.2)
    data = await _read_all(sock)
    assert data == b"y\n" * 2_000_000 + b"end\n"
    await ended(engine, config.id)


async def test_a_hundred_clients_that_vanish_leave_nothing(engine: NativeEngine) -> None:
    config = shell(engine, "one", "while :; do echo tick; sleep 0.01; done")
    await run(engine, config)
    pid = await supervisor_pid(engine)
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(100):
        (await _attach(engine, config.id)).close()
    await until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 3)


async def test_what_is_typed_before_the_start_is_not_lost(engine: NativeEngine) -> None:
    config = shell(engine, "one", "read word; echo got-$word", tty=True, stdin_open=True)
    await engine.create(config)
    sock = await _attach(engine, config.id, stdin=True)
    sock.send(b"ahead\n")
    await engine.start(config.id)
    assert b"got-ahead" in await _read_all(sock)


async def test_a_client_of_what_never_starts_leaves_nothing(engine: NativeEngine) -> None:
    config = shell(engine, "one", "true")
    await engine.create(config)
    pid = await supervisor_pid(engine)

    def descriptors() -> int:
        """Its sockets; other descriptors come and go by themselves."""
        links = []
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(entry.path))
        return sum(link.startswith("socket:") for link in links)

    before = 2  # where it listens, and the engine
    await until(lambda: descriptors() == before)  # who asked for its pid is gone
    socks = [await _attach(engine, config.id, stdin=True) for _ in range(20)]
    await until(lambda: descriptors() == before + 20)  # the last one's other end is closed after it was sent
    for sock in socks[:10]:
        sock.send(b"a word")
    for sock in socks:
        sock.close()
    await until(lambda: descriptors() == before)
