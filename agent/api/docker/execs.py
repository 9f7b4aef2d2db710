"""Further processes in running containers: made, started, resized, shown. See `exec_registry` for their life.

What cannot be started for want of the program is told on the stream, after the 101, and by the exit code:
that is where clients look for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from agent.api import tasks
from agent.api.at_once import at_once, begun_at_once
from agent.api.context import Context
from agent.api.docker import exec_registry
from agent.api.docker.answers import json_answer, message_of
from agent.api.docker.bodies import flag_of, json_body, list_of, text_of, texts_of
from agent.api.docker.container_body import environment_of
from agent.api.docker.detach_keys import DEFAULT, read_keys
from agent.api.docker.events import note_container
from agent.api.docker.exec_registry import Exec, ExecWish
from agent.api.docker.finding import find_container
from agent.api.docker.hijack import hijack, take_head
from agent.api.docker.pumps import FRAME, send_output, take_input
from agent.api.docker.terminal_size import read_console_size, read_size
from agent.api.requests import context_of
from agent.api.sockets.quota import claim
from agent.api.upgrade import Connection, Upgraded
from agent.api.ways import scope_of
from agent.first_step import eager
from agent.policy.quota import Use
from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from runtime.model import ContainerState

READY_SECONDS = 10.0  # a resize may come before the process
NOT_FOUND, NOT_EXECUTABLE = 127, 126
STDOUT, STDERR = 1, 2


@begun_at_once
async def create(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    body = await json_body(request)
    wish = read_wish(body)
    state = find_container(context, request.match_info["id"])
    check_running(state)
    await context.execs.turns.come(state.id)
    scope = scope_of(request)
    claim(context, scope, Use(execs=1))
    id = context.execs.add(state.id, wish, scope.name if scope is not None else "").id
    note_container(context, state, f"exec_create: {' '.join(wish.argv)}", execID=id)
    return json_answer({"Id": id}, 201)


def read_wish(body: dict[str, Any]) -> ExecWish:
    """The body of a create. Pure."""
    argv = texts_of(body, "Cmd")
    if not argv or not argv[0]:
        raise Invalid("", "", "No exec command specified")
    keys = text_of(body, "DetachKeys")
    is_terminal = flag_of(body, "Tty")
    working_dir = text_of(body, "WorkingDir")
    if working_dir and not working_dir.startswith("/"):
        raise Invalid("", "", f"Cwd must be an absolute path, not {working_dir[:80]!r}")
    environment = texts_of(body, "Env")
    environment_of(environment)  # a variable without a name is none
    return ExecWish(
        argv=argv,
        environment=environment,
        user=text_of(body, "User"),
        working_dir=working_dir,
        is_terminal=is_terminal,
        has_stdin=flag_of(body, "AttachStdin"),
        has_stdout=flag_of(body, "AttachStdout"),
        has_stderr=flag_of(body, "AttachStderr"),
        is_privileged=flag_of(body, "Privileged"),
        detach_keys=read_keys(keys) if keys else None,
        size=read_console_size(list_of(body, "ConsoleSize")) if is_terminal else (0, 0),
    )


def check_running(state: ContainerState) -> None:
    """Conflict, in the daemon's words, for a container in which nothing can be started."""
    if state.phase == "paused":
        raise Conflict("", "", f"container {state.id} is paused, unpause the container before exec")
    if state.phase != "running":
        raise Conflict("", "", f"container {state.id} is not running")


@begun_at_once
async def start(request: web.Request) -> web.StreamResponse:
    """Attached on a connection that leaves HTTP, or detached. The supervisor works on it while its client is
    answered."""
    context = context_of(request)
    each = _find(context, request.match_info["id"])
    body = await json_body(request)
    is_raw = flag_of(body, "Tty")
    size = read_console_size(list_of(body, "ConsoleSize")) if each.wish.is_terminal else (0, 0)
    state = context.engine.state(each.container)
    if state is None:
        raise NotFound("", "", f"No such container: {each.container}")
    check_running(state)
    is_detached = flag_of(body, "Detach")
    context.execs.begin(each)
    begun = _begin(context, each, size, has_client=not is_detached)
    if is_detached:
        if failure := await begun:
            raise failure
        return web.Response(status=200)
    try:
        connection = hijack(request, framed=not is_raw)
        failure = await begun
        await take_head(connection)
        await (_tell(connection, failure, is_raw) if failure else _talk(connection, each, is_raw))
        if each.has_detached:
            note_container(context, state, "exec_detach", execID=each.id)
        connection.close()
    finally:
        begun.cancel()  # or whoever was not answered would never leave it
        each.leave()
    return Upgraded()


def _begin(
    context: Context, each: Exec, size: tuple[int, int], *, has_client: bool
) -> asyncio.Future[SetpointError | None]:
    """Begin its process, also when the client breaks off meanwhile: it has asked for it. For why it cannot
    be; to be cancelled by who waits no more."""
    told: asyncio.Future[SetpointError | None] = asyncio.get_running_loop().create_future()
    eager(_begin_and_tell(context, each, size, told, has_client=has_client))
    return told


async def _begin_and_tell(
    context: Context,
    each: Exec,
    size: tuple[int, int],
    told: asyncio.Future[SetpointError | None],
    *,
    has_client: bool,
) -> None:
    try:
        failure = await _begin_process(context, each, size, has_client=has_client)
    except Exception as error:
        if not told.done():
            told.set_exception(error)
    except BaseException:
        told.cancel()
        raise
    else:
        if not told.done():
            told.set_result(failure)
        elif told.cancelled():
            each.leave()


async def _begin_process(
    context: Context, each: Exec, size: tuple[int, int], *, has_client: bool
) -> SetpointError | None:
    wish = each.wish
    try:
        async with context.execs.turns.of(each.container):
            process = await context.engine.start_exec(
                each.container, wish.argv, terminal=wish.is_terminal, stdin=wish.has_stdin and has_client,
                user=wish.user, working_dir=wish.working_dir, environment=wish.environment,
                size=size if all(size) else wish.size, output=has_client, privileged=wish.is_privileged,
            )  # fmt: skip
    except SetpointError as error:
        is_missing = error.reason.startswith(("executable file not found", "No such file"))
        each.fail(NOT_FOUND if is_missing else NOT_EXECUTABLE)
        if isinstance(error, Invalid):
            return Invalid("", "", f"OCI runtime exec failed: {message_of(error)}")
        return error
    except BaseException:
        each.fail(NOT_EXECUTABLE)
        raise
    each.follow(process)
    _tell_life(context, each)
    if not has_client:
        each.leave()
    return None


def _tell_life(context: Context, each: Exec) -> None:
    state = context.engine.state(each.container)
    if state is None:
        return
    note_container(context, state, f"exec_start: {' '.join(each.wish.argv)}", execID=each.id)

    def tell_end(exit: asyncio.Future[int]) -> None:
        if not exit.cancelled() and exit.exception() is None:
            note_container(context, state, "exec_die", execID=each.id, exitCode=str(exit.result()))

    each.exit.add_done_callback(tell_end)


async def _tell(connection: Connection, failure: SetpointError, is_raw: bool) -> None:
    text = message_of(failure).encode() + b"\r\n"
    await connection.write(text if is_raw else FRAME.pack(STDOUT, len(text)) + text)


async def _talk(connection: Connection, each: Exec, is_raw: bool) -> None:
    """Until the process has ended and its output is sent, or the client has detached. A client that is gone
    cancels this. As few tasks as can be: most execs last for milliseconds."""
    outputs: list[asyncio.Future[None]] = [eager(work) for work in _outputs(connection, each, is_raw)]
    inputs = asyncio.ensure_future(_take_input(connection, each)) if each.wish.has_stdin else None
    try:
        if inputs is None or not await _ends_by_input(inputs, each.exit):
            await each.wait_ended()
            if unsent := [output for output in outputs if not output.done()]:
                await asyncio.wait(unsent)
    finally:
        await tasks.end(*outputs, *filter(None, (inputs,)))


async def _ends_by_input(inputs: asyncio.Future[bool], exit: asyncio.Future[int]) -> bool:
    """Once the input or the process has ended: whether the former ends the connection."""
    either: set[asyncio.Future[Any]] = {inputs, exit}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    return inputs.done() and inputs.result() and not exit.done()


def _outputs(connection: Connection, each: Exec, is_raw: bool) -> list[Any]:
    """One for each stream; what was not asked for is read all the same."""
    process, wish = each.process, each.wish
    if process is None:
        return []
    found = []
    streams = ((process.stdout, STDOUT, wish.has_stdout), (process.stderr, STDERR, wish.has_stderr))
    for descriptor, stream, is_wanted in streams:
        if descriptor >= 0:
            send = connection.write if is_wanted else _send_nowhere
            found.append(send_output(descriptor, send, 0 if is_raw else stream, each.exit))
    return found


async def _send_nowhere(_data: memoryview) -> None:
    """Of a stream that the client did not ask for."""


async def _take_input(connection: Connection, each: Exec) -> bool:
    """The client's bytes to the process. Whether that ends the connection: the detach keys do, and the end
    of a terminal's input, as with Docker's daemon."""
    process, wish = each.process, each.wish
    if process is None:
        return False
    keys = (wish.detach_keys or DEFAULT) if wish.is_terminal else None
    end = await take_input(connection.read, process.stdin, keys)
    if not wish.is_terminal:
        process.close_stdin()
    each.has_detached = end == "detached"
    return each.has_detached or wish.is_terminal


async def resize(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    rows, columns = read_size(request)
    each = _find(context, request.match_info["id"])
    if each.exit_code is not None:
        raise Conflict("", "", f"exec {each.id} has ended")
    await each.wait_started(READY_SECONDS)
    if each.process is None:
        raise Invalid("", "", "exec process is not started")
    await each.process.resize(rows, columns)
    return web.Response(status=200)


@at_once
def inspect(request: web.Request) -> web.Response:
    context = context_of(request)
    each = _find(context, request.match_info["id"])
    return json_answer(exec_registry.view(each, can_remove=context.execs.can_remove(each)))


def _find(context: Context, id: str) -> Exec:
    """NotFound also for one whose container is gone."""
    each = context.execs.get(id)
    if context.engine.state(each.container) is None:
        context.execs.forget(each)
        raise NotFound("", "", f"No such exec instance: {id[:128]}")
    return each
