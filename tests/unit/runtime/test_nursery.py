"""What a spare is told, whatever it does meanwhile. See `runtime.copies.nursery`."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from runtime.copies.nursery import Worker, _Spare
from runtime.copies.worker import hear

pytestmark = pytest.mark.asyncio


async def test_one_that_has_heard_all_may_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before whoever told it has left: a moment's difference on a busy host."""
    ours, theirs = socket.socketpair()
    send = socket.send_fds
    heard: list[bytes] = []

    def send_and_hear(*arguments: Any) -> int:
        sent = send(*arguments)
        heard.append(theirs.recv(1 << 16))
        theirs.close()
        return sent

    monkeypatch.setattr(socket, "send_fds", send_and_hear)
    _Spare(Worker(-1), ours).tell({"verb": "stat"}, [])
    assert json.loads(heard[0]) == {"verb": "stat"}


async def test_more_than_a_socket_holds() -> None:
    ours, theirs = socket.socketpair()
    told = {"mounts": ["x" * 1000] * 2000, "descriptors": []}
    heard: list[Any] = []
    thread = threading.Thread(target=lambda: heard.append(hear(theirs)))
    thread.start()
    _Spare(Worker(-1), ours).tell(told, [])
    thread.join()
    theirs.close()
    assert heard[0][0] == told


async def test_one_that_has_ended() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(ConnectionError):
        _Spare(Worker(-1), ours).tell({"verb": "stat"}, [])
    assert ours.fileno() < 0
