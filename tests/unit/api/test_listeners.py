"""A socket's file is there for those who look for it, and nobody who comes then is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.api import server
from agent.api.sockets import listeners
from agent.settings import Settings
from runtime.layout import Layout


@pytest.mark.parametrize("which", ["scoped", "own"])
def test_who_comes_before_it_is_served_waits(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_make_parent", lambda _path: None)  # it is of whoever runs this
    layout = Layout("t", tmp_path, tmp_path)
    path = layout.agent_socket
    path.parent.mkdir()
    if which == "scoped":
        bound = listeners.bind(path, os.getuid(), os.getgid(), 0o600)
    else:
        bound = server.bind(Settings(layout=layout))
    with bound, socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
        client.sendall(b"GET /")
        bound.setblocking(True)
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.recv(10) == b"GET /"
    assert path.stat().st_mode & 0o007 == 0
