"""Further processes in running containers, and the streams of their first ones: exec, attach, resize.

Called by `engine`, which hands its callers through; `processes` holds what is started. Starts no
container.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from runtime import processes
from runtime.assembly import Assembly
from runtime.container_index import ContainerIndex
from runtime.errors import Conflict, Invalid, Unsupported
from runtime.model import ExecResult
from runtime.supervisor.client import Client, Result

WAIT_SECONDS = 5.0  # for a supervisor that follows one that died; 0.2 s are usual
ATTACHING = 16  # the supervisor is asked for at once: it answers each in a moment


class Execs:
    """Processes and streams in the containers of an index."""

    def __init__(self, index: ContainerIndex, assembly: Assembly, client: Client) -> None:
        self._index = index
        self._assembly = assembly
        self._client = client
        self._attaching = asyncio.Semaphore(ATTACHING)

    async def run(
        self,
        id: str,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        max_output_bytes: int = 65536,
        user: str = "",
        working_dir: str = "",
        environment: Sequence[str] = (),
    ) -> ExecResult:
        await self._client.wait_up(WAIT_SECONDS)
        process = self._process("exec", id, argv, user, working_dir, environment)
        return await processes.run_captured(self._client, id, process, timeout_seconds, max_output_bytes)

    async def start(  # noqa: PLR0913
        self,
        id: str,
        argv: Sequence[str],
        *,
        terminal: bool = False,
        stdin: bool = False,
        user: str = "",
        working_dir: str = "",
        environment: Sequence[str] = (),
        size: tuple[int, int] = (0, 0),
        output: bool = True,
        privileged: bool = False,
    ) -> processes.Process:
        """Start argv inside a running container with pipes, or a terminal of size (rows, columns), or
        (without output) with none. privileged: with all capabilities of this host and unconfined by
        AppArmor; the container's seccomp filter stays."""
        await self._client.wait_up(WAIT_SECONDS)
        process = self._process("exec", id, argv, user, working_dir, environment)
        process["terminal"] = terminal
        if terminal and all(size):
            process["consoleSize"] = {"height": size[0], "width": size[1]}
        if privileged:
            process.update(self._privileges(id))
        return await processes.start_process(
            self._client, id, process, terminal=terminal, stdin=stdin, output=output
        )

    def _privileges(self, id: str) -> dict[str, Any]:
        entry = self._index.get("exec", id)
        if entry.config.security.user_namespace != "host":
            raise Unsupported(
                "exec",
                entry.config.name,
                "privileged is power over the host, and its user namespace has none",
            )
        capabilities = list(self._assembly.capabilities)
        given = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        return {"capabilities": given, "apparmorProfile": ""}

    def _process(
        self, op: str, id: str, argv: Sequence[str], user: str, working_dir: str, environment: Sequence[str]
    ) -> dict[str, Any]:
        entry = self._index.get(op, id)
        if not entry.is_running or entry.is_paused:
            raise Conflict(op, entry.config.name, "it is paused" if entry.is_paused else "it does not run")
        if not argv:
            raise Invalid(op, entry.config.name, "no command")
        inherited = self._assembly.read_config(id)["process"]["env"] if environment else ()
        return processes.process_of(argv, user, working_dir, environment, inherited)

    async def attach(
        self, id: str, *, stdin: bool = False, streams: Sequence[str] = ("stdout", "stderr"),
        closes_stdin: bool = True, framed: bool = False,
    ) -> tuple[int, str]:  # fmt: skip
        """A socket's descriptor, the caller's now: what the container writes from here on, and its stdin.
        framed: with the Docker Engine API's 8-byte headers, which a terminal never has. A container that
        was created and not started yet loses nothing. And the stamp of the last record in the log that may
        be older, "" when it is not known."""
        await self._client.wait_up(WAIT_SECONDS)
        entry = self._index.get("attach", id)
        result, fds = await self._ask_attach(
            name=id, streams=list(streams), framed=framed and not entry.config.tty,
            closes_stdin=closes_stdin and stdin, early=not entry.is_running,
        )  # fmt: skip
        return fds[0], str(result.get("stamp", ""))

    async def _ask_attach(self, **fields: Any) -> Result:
        """A few at once, until they are answered: whoever asks and goes away would else pile them up, here
        and in the supervisor."""
        await self._attaching.acquire()
        try:
            answer = self._client.send("attach", **fields)
        except BaseException:
            self._attaching.release()
            raise
        answer.add_done_callback(lambda _answer: self._attaching.release())
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_close)
            raise

    def has_terminal(self, id: str) -> bool:
        return self._index.get("look at", id).config.tty

    async def resize(self, id: str, rows: int, columns: int) -> None:
        """The size of a container's own terminal."""
        await self._client.call("resize", name=id, rows=rows, columns=columns)


def _close(answer: asyncio.Future[Result]) -> None:
    """What nobody waits for any more."""
    if not answer.cancelled() and answer.exception() is None:
        for descriptor in answer.result()[1]:
            os.close(descriptor)
