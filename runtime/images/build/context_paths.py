"""Which files of its context a plan can take, so that a client who keeps it sends no others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runtime.images.dockerfile.plan import BuildPlan
from runtime.images.dockerfile.steps import (
    BindMount,
    CacheMount,
    FromContext,
    Origin,
    PathSource,
    RunAction,
    Step,
    TransferAction,
)

MAX_PATHS = 1000
_PLAIN = re.compile(r"[\w./@+~, =:-]+")  # means the same to everybody who reads patterns
_SIMPLE_PATTERN = re.compile(r"[\w./@+~, =:*?-]+")


def context_paths(plan: BuildPlan) -> tuple[str, ...] | None:
    """Paths and patterns below the context's root, without those that the plan cannot take; None for all of
    it. Rather too much than too little."""
    found: dict[str, None] = {}
    for stage in plan.stages:
        for step in stage.steps:
            for path, has_pattern in _of(step):
                path = path.strip("/")
                form = _SIMPLE_PATTERN if has_pattern else _PLAIN
                parts = path.split("/")
                if not form.fullmatch(path) or {"", ".", "..", "**"} & set(parts):
                    return None
                found[path] = None
    return tuple(found) if len(found) <= MAX_PATHS else None


def named_contexts(plan: BuildPlan) -> tuple[str, ...]:
    """The directories beside the context that a plan takes files of."""
    found: dict[str, None] = {}
    for stage in plan.stages:
        for step in stage.steps:
            for origin in _origins(step):
                if isinstance(origin, FromContext) and origin.name:
                    found[origin.name] = None
    return tuple(found)


def _origins(step: Step) -> tuple[Origin, ...]:
    match step.action:
        case TransferAction(origin=origin):
            return (origin,)
        case RunAction(mounts=mounts):
            return tuple(mount.origin for mount in mounts if isinstance(mount, BindMount | CacheMount))
        case _:
            return ()


def _of(step: Step) -> Iterator[tuple[str, bool]]:
    """(path, is it a pattern)"""
    match step.action:
        case TransferAction(origin=FromContext(name=""), sources=sources):
            for source in sources:
                if isinstance(source, PathSource):
                    yield source.path, source.has_pattern
        case RunAction(mounts=mounts):
            for mount in mounts:
                if isinstance(mount, BindMount | CacheMount) and mount.origin == FromContext():
                    yield mount.source, False
