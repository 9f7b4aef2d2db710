"""The methods that BuildKit's clients call, for one connection: the control service, and the gateway by which
`docker build` asks for its frontend. LLB graphs are refused: the Dockerfile is built by us.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator

from agent.api.context import Context
from agent.api.docker.build_cache import PruneWish, forget, size_of
from agent.api.docker.buildkit import messages, wire
from agent.api.docker.buildkit.attributes import (
    FRONTENDS,
    GATEWAY_SIGN,
    check_cache_exports,
    read_attributes,
    read_exporters,
)
from agent.api.docker.buildkit.grpc import UNKNOWN, GrpcError, Methods
from agent.api.docker.buildkit.http2 import Headers
from agent.api.docker.buildkit.jobs import Job, Jobs
from agent.api.docker.buildkit.messages import SolveRequest
from agent.api.docker.buildkit.sessions import Sessions
from agent.api.docker.buildkit.solve import Build
from agent.api.docker.buildkit.wire import Message
from runtime.builds import new_id
from runtime.errors import Unsupported
from runtime.images.images import host_platform

GATEWAY_LABEL = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
BUILD_ID = "buildkit-controlapi-buildid"
CAPABILITIES = (
    "solve.base",
    "return",
    "returnmap",
    "proto.refarray",
    "importcaches",
    "gateway.solve.metadata",
)
LLB = ("source.local",)
_PACKAGE = "setpoint"


class Control:
    """is_trusted: whether root is at the other end."""

    def __init__(self, context: Context, sessions: Sessions, jobs: Jobs, *, is_trusted: bool) -> None:
        self._context = context
        self._sessions = sessions
        self._jobs = jobs
        self._is_trusted = is_trusted

    def methods(self) -> Methods:
        control, bridge = "/moby.buildkit.v1.Control", "/moby.buildkit.v1.frontend.LLBBridge"
        return {
            f"{control}/Solve": self.solve,
            f"{control}/Status": self.status,
            f"{control}/ListWorkers": self.list_workers,
            f"{control}/Info": self.info,
            f"{control}/DiskUsage": self.disk_usage,
            f"{control}/Prune": self.prune,
            f"{control}/ListenBuildHistory": self.build_history,
            f"{bridge}/Ping": self.ping,
            f"{bridge}/Solve": self.solve_frontend,
            f"{bridge}/Return": self.take_return,
            f"{bridge}/Evaluate": self.evaluate,
            "/grpc.health.v1.Health/Check": self.check_health,
        }

    # --- a build

    async def solve(self, message: bytes, headers: Headers) -> bytes:
        """Until the build is over. Without a frontend the client asks for it by the gateway, and returns."""
        request = messages.read_solve(message)
        job = Job(request.ref, request.session, (), self._is_trusted)
        self._jobs.add(job)  # before it is refused: the client waits for how it goes, too
        try:
            _check(request)
            job.names = read_exporters(request.exporters)
            if request.frontend:
                await self._build(job, request.attributes)
            elif why := await job.returned:
                raise GrpcError(UNKNOWN, why)
        finally:
            self._jobs.end(job)
        return messages.write_solved(_response(job))

    async def solve_frontend(self, message: bytes, headers: Headers) -> bytes:
        request = messages.read_frontend(message)
        _check_frontend(
            request.frontend, has_definition=request.has_definition, has_policy=request.has_policy
        )
        job = await self._jobs.get(headers.get(BUILD_ID, ""))
        task = asyncio.current_task()
        assert task is not None
        job.tasks.add(task)
        try:
            await self._build(job, request.attributes)
        finally:
            job.tasks.discard(task)
        return messages.write_result(os.urandom(16).hex())

    async def _build(self, job: Job, attributes: dict[str, str]) -> None:
        asked = read_attributes(attributes, new_id(), job.names, is_trusted=job.is_trusted)
        session = await self._sessions.get(job.session)
        await Build(self._context, job, session, asked).run()

    async def take_return(self, message: bytes, headers: Headers) -> bytes:
        job = await self._jobs.get(headers.get(BUILD_ID, ""))
        if not job.returned.done():
            job.returned.set_result(messages.read_return(message))
        return b""

    async def evaluate(self, message: bytes, headers: Headers) -> bytes:
        """What was solved is built already."""
        return b""

    async def ping(self, message: bytes, headers: Headers) -> bytes:
        await self._jobs.get(headers.get(BUILD_ID, ""))
        return messages.write_pong(CAPABILITIES, LLB, self._worker())

    async def status(self, message: bytes, headers: Headers) -> AsyncGenerator[bytes, None]:
        job = await self._jobs.get(Message(message).text(1))
        async for piece in job.status():
            yield piece

    # --- what there is

    async def list_workers(self, message: bytes, headers: Headers) -> bytes:
        return wire.inner(1, self._worker())

    def _worker(self) -> bytes:
        host = host_platform()
        platform = (host.os, host.architecture, host.variant)
        id = self._context.settings.layout.instance
        return messages.write_worker(id, {GATEWAY_LABEL: GATEWAY_SIGN}, platform, self._version())

    def _version(self) -> bytes:
        return messages.write_version(_PACKAGE, self._context.version)

    async def info(self, message: bytes, headers: Headers) -> bytes:
        return wire.inner(1, self._version())

    async def disk_usage(self, message: bytes, headers: Headers) -> bytes:
        steps = await asyncio.to_thread(self._context.engine.images.build_steps)
        return b"".join(wire.inner(1, messages.write_usage(step, size_of(step))) for step in steps)

    async def prune(self, message: bytes, headers: Headers) -> AsyncGenerator[bytes, None]:
        """Records of what went."""
        request = Message(message)
        if any(request.texts(1)):
            raise Unsupported("prune build cache", "--filter", "not known here", "--filter until=24h")
        engine = self._context.engine
        before = {step.key: step for step in await asyncio.to_thread(engine.images.build_steps)}
        wish = PruneWish(request.signed(3) / 1e9, request.signed(4))
        pruned = await forget(engine, wish, time.time())
        for key in pruned.keys:
            if key in before:
                yield messages.write_usage(before[key], size_of(before[key]))

    async def build_history(self, message: bytes, headers: Headers) -> AsyncGenerator[bytes, None]:
        """None is kept in BuildKit's form: `setpoint image builds` lists them."""
        nothing: tuple[bytes, ...] = ()
        for event in nothing:
            yield event

    async def check_health(self, message: bytes, headers: Headers) -> bytes:
        return wire.number(1, 1)


def _check(request: SolveRequest) -> None:
    _check_frontend(request.frontend, has_definition=request.has_definition, has_policy=request.has_policy)
    check_cache_exports(request.cache_exports)
    for name in request.entitlements:
        if name != "network.host":
            raise Unsupported("build image", f"--allow {name[:40]}", "steps have no more rights", "leave it")


def _check_frontend(name: str, *, has_definition: bool, has_policy: bool) -> None:
    if name not in FRONTENDS:
        hint = "the Dockerfile is read by the agent itself"
        raise Unsupported("build image", name[:60], "no frontends from outside are run", hint)
    if has_definition:
        hint = "build from a Dockerfile, without contexts that are other builds"
        raise Unsupported("build image", "LLB", "graphs of build steps are not executed", hint)
    if has_policy:
        hint = "unset EXPERIMENTAL_BUILDKIT_SOURCE_POLICY; kind: Policy rules images"
        raise Unsupported("build image", "source policy", "not known here", hint)


def _response(job: Job) -> dict[str, str]:
    if job.image is None:
        return {}
    found = {"containerimage.digest": job.image.id, "containerimage.config.digest": job.image.id}
    return {**found, "image.name": ",".join(job.names)} if job.names else found
