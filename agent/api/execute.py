"""Exec: a process in a running container, its terminal or pipes on an upgraded connection.

    client ── frames: 0 stdin, 4 resize, 6 signal ──>  agent ── pipes or pty ──> process
    client <── frames: 1 stdout, 2 stderr, 3 exit ───  agent <───────────────────

What cannot be started is an answer with a status code; from the 101 on errors are frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any, Protocol

from aiohttp import web

from agent.api import errors, tasks
from agent.api.at_once import begun_at_once
from agent.api.descriptors import read_some, write_all
from agent.api.openapi.shapes.host import ExecOrder
from agent.api.requests import context_of, flag_of, json_of, key_of, strings_of, text_of, whole, whole_of
from agent.api.things import containers_of
from agent.api.upgrade import Connection, Upgraded, take_over
from agent.first_step import eager
from agent.wire import ERROR, EXIT, RESIZE, SIGNAL, STDERR, STDIN, STDOUT
from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from runtime.model import ContainerState

UPGRADE = {"Connection": "Upgrade", "Upgrade": "setpoint"}
LAST_OUTPUT_SECONDS = 0.5  # a child that keeps the pipe open must not keep the exit code back


class Running(Protocol):
    """A process that the engine started. stderr is -1 with a terminal, where stdin and stdout are the
    same pty; stdin is -1 when none was asked for. close() frees the descriptors, and ends the process
    if it still runs."""

    stdin: int
    stdout: int
    stderr: int

    async def wait(self) -> int: ...
    async def signal(self, name: str) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    def close_stdin(self) -> None: ...
    def close(self) -> None: ...


@begun_at_once
async def execute(request: web.Request) -> web.StreamResponse:
    """Run a command in a running container: an upgraded connection. ?replica=; the body says what to run."""
    context, key = context_of(request), key_of(request)
    replica = whole(request, "replica", 1, least=1)
    state = _running_of(containers_of(context, str(key), replica), str(key))
    body = await json_of(request, ExecOrder)
    argv = strings_of(body, "argv")
    if not argv:
        raise Invalid("exec", str(key), "no command", "setpoint exec NAME -- COMMAND")
    running = await context.engine.start_exec(
        state.id,
        argv,
        terminal=flag_of(body, "tty"),
        stdin=flag_of(body, "stdin"),
        user=text_of(body, "user"),
        working_dir=text_of(body, "working_dir"),
        environment=strings_of(body, "environment"),
        size=(whole_of(body, "rows"), whole_of(body, "columns")),
    )
    try:
        connection = take_over(request, UPGRADE)
        await _bridge(connection, running)
        connection.close()
    finally:
        running.close()
    return Upgraded()


def _running_of(states: list[ContainerState], key: str) -> ContainerState:
    running = [state for state in states if state.phase == "running"]
    if running:
        return running[-1]
    if any(state.phase == "paused" for state in states):
        raise Conflict("exec", key, "it is paused", "setpoint resume")
    if states:
        raise Conflict("exec", key, "it does not run", "setpoint why tells the reason")
    raise NotFound("exec", key, "it has no such container", "setpoint describe tells why")


async def _bridge(connection: Connection, running: Running) -> None:
    """Until the process has ended and its output is sent, or the client is gone."""
    outputs = [eager(_send_output(connection, running.stdout, STDOUT))]
    if running.stderr >= 0:
        outputs.append(eager(_send_output(connection, running.stderr, STDERR)))
    inputs = eager(_take_input(connection, running))
    ended = eager(running.wait())
    lost = eager(connection.wait_lost())
    try:
        await _wait_for_end(ended, lost, inputs)
        if not connection.is_lost:
            if unsent := [output for output in outputs if not output.done()]:
                await asyncio.wait(unsent, timeout=LAST_OUTPUT_SECONDS)
            await connection.write_frame(EXIT, json.dumps({"exit_code": ended.result()}).encode())
    except ConnectionError:
        pass
    except SetpointError as error:
        with contextlib.suppress(ConnectionError):
            await connection.write_frame(ERROR, json.dumps(errors.to_json(error)).encode())
    finally:
        await tasks.end(*outputs, inputs, ended, lost)


async def _wait_for_end(
    ended: asyncio.Future[int], lost: asyncio.Future[None], inputs: asyncio.Future[None]
) -> None:
    """Until the process ended or the client is gone; the end of the client's input is neither."""
    pending: set[asyncio.Future[Any]] = {ended, lost, inputs}
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if inputs in done:
            inputs.result()  # a frame that made no sense ends it here
        if ended in done or lost in done:
            return


async def _send_output(connection: Connection, descriptor: int, stream: int) -> None:
    os.set_blocking(descriptor, False)
    while data := await read_some(descriptor):
        await connection.write_frame(stream, data)


async def _take_input(connection: Connection, running: Running) -> None:
    """The client's frames, until it closes its half or is gone."""
    if running.stdin >= 0:
        os.set_blocking(running.stdin, False)
    is_open = running.stdin >= 0
    while (frame := await connection.read_frame()) is not None:
        stream, content = frame
        if stream == STDIN and not content:
            running.close_stdin()
            is_open = False
        elif stream == STDIN and is_open:
            is_open = await write_all(running.stdin, content)
        elif stream == RESIZE:
            size = _json_frame(content)
            await running.resize(whole_of(size, "rows"), whole_of(size, "columns"))
        elif stream == SIGNAL:
            await running.signal(text_of(_json_frame(content), "signal"))


def _json_frame(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise Invalid("read frame", "", "not JSON") from None
    if not isinstance(data, dict):
        raise Invalid("read frame", "", "not a JSON object")
    return data
