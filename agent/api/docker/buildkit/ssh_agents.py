"""The client's ssh agents as sockets of this host, for steps that mount one. Each connection to such a socket
is a call over the client's session.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path

from agent.api.docker.buildkit import wire
from agent.api.docker.buildkit.grpc import GrpcError, open_call
from agent.api.docker.buildkit.sessions import Session
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Invalid

FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
MAX_CONNECTIONS = 32
_PIECE_BYTES = 32 * 1024


class SshAgents:
    """directory: the build's own, in memory, where only root comes. Close it."""

    def __init__(self, session: Session, directory: Path) -> None:
        self._session = session
        self._directory = directory
        self._servers: list[asyncio.Server] = []
        self._paths: dict[str, str] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def path_of(self, id: str) -> str | None:
        """Of a socket; None when the client offers no such agent."""
        if id not in self._paths:
            if not await self._session.has_agent(id):
                return None
            self._paths[id] = await self._listen(id)
        return self._paths[id]

    async def _listen(self, id: str) -> str:
        path = self._directory / f"ssh-{hashlib.sha256(id.encode()).hexdigest()[:16]}"

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if len(self._connections) >= MAX_CONNECTIONS:
                writer.close()
                return
            self._connections.add(task)
            try:
                await self._forward(id, reader, writer)
            finally:
                self._connections.discard(task)
                writer.close()

        try:
            server = await asyncio.start_unix_server(accept, path)
        except OSError as error:
            raise Invalid("mount", f"ssh {id[:40]}", error.strerror or str(error)) from error
        self._servers.append(server)
        path.chmod(0o600)
        return str(path)

    async def _forward(self, id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(GrpcError, ConnectionError, asyncio.CancelledError):
            async with open_call(self._session.http2, FORWARD, [("buildkit.ssh.id", id)]) as call:

                async def to_client() -> None:
                    while data := await reader.read(_PIECE_BYTES):
                        await call.send(wire.blob(1, data))
                    await call.finish()

                sending = asyncio.ensure_future(to_client())
                try:
                    while (answer := await call.receive()) is not None:
                        writer.write(Message(answer).blob(1))
                        await writer.drain()
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for path in self._paths.values():
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108  one name in memory
