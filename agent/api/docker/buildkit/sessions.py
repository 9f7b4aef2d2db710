"""Sessions: connections by which a client lends us its files, secrets, ssh agents and logins. One is there as
long as its connection is; who uses it later gets a ConnectionError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.api.docker.buildkit import wire
from agent.api.docker.buildkit.grpc import NOT_FOUND, UNIMPLEMENTED, GrpcError, call
from agent.api.docker.buildkit.http2 import Http2
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Conflict, Invalid, NotFound, Temporary
from runtime.images.registry.credentials import Credential

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
ID_HEADER = "X-Docker-Expose-Session-Uuid"
MAX_SESSIONS = 256
MAX_SECRET_BYTES = 500 * 1024  # as BuildKit has it
MAX_ID_CHARACTERS = 256
WAIT_SECONDS = 10.0  # a client opens its session and asks for the build at the same time
_HUB = "registry-1.docker.io"  # how clients call docker.io


@dataclass(frozen=True, slots=True)
class Session:
    """id: the client's word for it. methods: what it offers, in lower case."""

    id: str
    http2: Http2
    methods: frozenset[str]

    def offers(self, path: str) -> bool:
        return path.lower() in self.methods

    async def credential(self, domain: str) -> Credential | None:
        """A login for one registry, asked for when it is needed and never kept."""
        if not self.offers(CREDENTIALS):
            return None
        host = _HUB if domain == "docker.io" else domain
        answer = await self._ask(CREDENTIALS, wire.text(1, host))
        if answer is None:
            return None
        user, secret = answer.text(1), answer.text(2)
        if not secret:
            return None
        return Credential(user, secret) if user else Credential(identity_token=secret)

    async def secret(self, id: str) -> bytes | None:
        if not self.offers(SECRET):
            return None
        answer = await self._ask(SECRET, wire.text(1, id))
        if answer is None:
            return None
        content = answer.blob(1)
        if len(content) > MAX_SECRET_BYTES:
            raise Invalid("read secret", id, f"longer than {MAX_SECRET_BYTES} bytes")
        return content

    async def has_agent(self, id: str) -> bool:
        if not self.offers(CHECK_AGENT):
            return False
        try:
            await call(self.http2, CHECK_AGENT, wire.text(1, id))
        except GrpcError:  # whatever its code is: clients have several for this
            return False
        return True

    async def _ask(self, path: str, message: bytes) -> Message | None:
        """None when the client has none of that."""
        try:
            return Message(await call(self.http2, path, message))
        except GrpcError as error:
            if error.code in (NOT_FOUND, UNIMPLEMENTED):
                return None
            raise Temporary("ask client", path.rpartition("/")[2], error.message) from error


class Sessions:
    """Those of one agent."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()

    def check(self, headers: Mapping[str, str]) -> str:
        """The id that a request's headers give a new session. Conflict for one that is there, or too many."""
        id = headers.get(ID_HEADER, "")
        if not id or len(id) > MAX_ID_CHARACTERS:
            raise Invalid("open session", "", "no id of a session")
        if id in self._sessions:
            raise Conflict("open session", id[:40], "it is there already")
        if len(self._sessions) >= MAX_SESSIONS:
            raise Temporary("open session", id[:40], f"there are {MAX_SESSIONS}", "end some")
        return id

    def add(self, id: str, methods: Iterable[str], http2: Http2) -> Session:
        """id: of `check`."""
        found = self._sessions[id] = Session(id, http2, frozenset(word.lower() for word in methods))
        self._changed.set()
        self._changed = asyncio.Event()
        return found

    def remove(self, session: Session) -> None:
        self._sessions.pop(session.id, None)

    async def get(self, id: str) -> Session:
        """`NotFound` when it does not come."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while id not in self._sessions:
                    await self._changed.wait()
        except TimeoutError:
            raise NotFound("find session", id[:40], "no such session is open", "build again") from None
        return self._sessions[id]
