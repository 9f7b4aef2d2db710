"""Attached clients that do not read: what waits for them is bounded, and is there once for all of them."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from runtime.supervisor.attach import Attachment
from runtime.supervisor.container import Container
from runtime.supervisor.loop import Loop

PIECE = b"x" * 65536


def attached(loop: Loop, *, framed: bool = True) -> tuple[Attachment, socket.socket]:
    ours, theirs = socket.socketpair()
    return Attachment(loop, ours, frozenset((b"stdout",)), framed=framed), theirs


def test_what_waits_for_several_is_there_once(tmp_path: Path) -> None:
    loop = Loop()
    container = Container(loop, {"name": "a", "bundle": "b"}, str(tmp_path))
    slow = [attached(loop) for _ in range(5)]
    for attachment, _ in slow:
        container.attach(attachment)
    for _ in range(8):
        container._tap(b"stdout", PIECE + b"")
    last = {id(attachment._queue[-1].obj) for attachment, _ in slow}
    assert len(last) == 1 and all(attachment._queued > len(PIECE) for attachment, _ in slow)
    for attachment, theirs in slow:
        attachment.close()
        theirs.close()


def test_each_has_it_in_its_own_form(tmp_path: Path) -> None:
    loop = Loop()
    container = Container(loop, {"name": "a", "bundle": "b"}, str(tmp_path))
    clients = [attached(loop, framed=framed) for framed in (True, False)]
    for attachment, _ in clients:
        container.attach(attachment)
    container._tap(b"stdout", b"hello")
    container._tap(b"stderr", b"not asked for")
    assert clients[0][1].recv(100) == struct.pack("!BxxxI", 1, 5) + b"hello"
    assert clients[1][1].recv(100) == b"hello"
    for attachment, theirs in clients:
        attachment.close()
        theirs.close()
