"""The messages of BuildKit's control and gateway that are read or written here. Pure; numbers are those of
its .proto files. Requests come from whoever connects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.api.docker.buildkit import wire
from agent.api.docker.buildkit.wire import Message
from runtime.images.build.cache import CachedStep

Typed = tuple[str, dict[str, str]]
"""A kind, with its attributes."""


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """control.SolveRequest. has_definition: it brings an LLB graph of its own."""

    ref: str
    session: str
    frontend: str
    attributes: dict[str, str]
    exporters: list[Typed]
    cache_exports: list[Typed]
    entitlements: list[str]
    has_definition: bool
    has_policy: bool


def read_solve(data: bytes) -> SolveRequest:
    found = Message(data)
    exporters = [_typed(each) for each in found.messages(13)]
    if not exporters and found.text(3):
        exporters = [(found.text(3), found.text_map(4))]
    return SolveRequest(
        found.text(1), found.text(5), found.text(6), found.text_map(7), exporters,
        [_typed(each) for each in found.message(8).messages(4)],
        found.texts(9), bool(found.blob(2)) or found.has(10), bool(found.blob(12)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrontendRequest:
    """gateway.SolveRequest."""

    frontend: str
    attributes: dict[str, str]
    has_definition: bool
    has_policy: bool


def read_frontend(data: bytes) -> FrontendRequest:
    found = Message(data)
    return FrontendRequest(
        found.text(2), found.text_map(3), bool(found.blob(1)) or found.has(13), found.has(15)
    )


def _typed(found: Message) -> Typed:
    return found.text(1), found.text_map(2)


def read_return(data: bytes) -> str:
    """Why the client's part of the build failed; "" when it did not."""
    error = Message(data).message(2)
    return (error.text(2) or "the client gave the build up") if error.whole(1) else ""


def write_result(ref: str) -> bytes:
    """gateway.SolveResponse with one result."""
    return wire.inner(3, wire.inner(3, wire.text(1, ref)))


def write_solved(response: Mapping[str, str]) -> bytes:
    return wire.text_map(1, response)


def write_pong(capabilities: Sequence[str], llb: Sequence[str], worker: bytes) -> bytes:
    found = [wire.inner(1, _capability(name)) for name in capabilities]
    found += [wire.inner(2, _capability(name)) for name in llb]
    return b"".join(found) + wire.inner(3, worker)


def _capability(name: str) -> bytes:
    return wire.text(1, name) + wire.number(2, True)


def write_worker(id: str, labels: Mapping[str, str], platform: tuple[str, str, str], version: bytes) -> bytes:
    """platform: os, architecture, variant."""
    system, architecture, variant = platform
    of = wire.text(1, architecture) + wire.text(2, system) + wire.text(3, variant)
    return wire.text(1, id) + wire.text_map(2, labels) + wire.inner(3, of) + wire.inner(5, version)


def write_version(package: str, version: str) -> bytes:
    return wire.text(1, package) + wire.text(2, version)


def write_usage(step: CachedStep, size: int) -> bytes:
    """A UsageRecord of a kept step."""
    return (
        wire.text(1, step.key) + wire.number(4, size) + wire.moment(6, step.used_at)
        + wire.moment(7, step.used_at) + wire.text(9, "a step of a build") + wire.text(10, "regular")
    )  # fmt: skip
