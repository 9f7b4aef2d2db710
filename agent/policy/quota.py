"""How much there may be at a time of what one scoped socket made: what is asked for, and what of it does not
fit any more. Pure; `agent.api.sockets.quota` counts what there is.

A container without a limit fits no quota of that: it says how much it needs, or gets what each may have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from agent.manifest.spec import ContainerSpec, Quota
from agent.manifest.writer.values import size_text
from runtime.build_steps import StepLimits
from runtime.model import Resources

DEFAULT_PIDS = Resources().pids or 0
NO_LIMIT = math.inf
SHARES = ("memory", "cpus", "pids")
_OPTIONS = {"memory": "--memory", "cpus": "--cpus", "pids": "--pids-limit"}


@dataclass(frozen=True, slots=True)
class Use:
    """So many of each, and so much of the host in sum; NO_LIMIT where one has none. cpus: in thousandths, for
    sums of fractions would be a bit off."""

    containers: int = 0
    networks: int = 0
    volumes: int = 0
    execs: int = 0
    memory: float = 0
    cpus: float = 0
    pids: float = 0

    def __add__(self, other: Use) -> Use:
        return Use(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def use_of(spec: ContainerSpec, volumes: int = 0) -> Use:
    """Of a container. volumes: those that come with it."""
    pids = DEFAULT_PIDS if spec.pids_limit is None else spec.pids_limit
    return Use(
        containers=1,
        volumes=volumes,
        memory=spec.mem_limit or NO_LIMIT,
        cpus=thousandths(spec.cpus) if spec.cpus else NO_LIMIT,
        pids=pids if pids > 0 else NO_LIMIT,
    )


def use_of_build(limits: StepLimits) -> Use:
    """Of a build: one step runs at a time."""
    quota = limits.cpu_quota_us
    return Use(
        containers=1,
        memory=limits.memory_bytes or NO_LIMIT,
        cpus=thousandths(quota / limits.cpu_period_us) if quota else NO_LIMIT,
        pids=DEFAULT_PIDS if limits.pids is None else limits.pids,
    )


def thousandths(cpus: float) -> int:
    return math.ceil(round(cpus * 1000, 6))


def with_share(quota: Quota, spec: ContainerSpec) -> dict[str, Any]:
    """Fields of a spec: what each may have of what it does not say."""
    each, found = quota.each, dict[str, Any]()
    if spec.mem_limit is None and each.memory is not None:
        found["mem_limit"] = each.memory
    if spec.cpus is None and each.cpus is not None:
        found["cpus"] = each.cpus
    if spec.pids_limit is None and each.pids is not None:
        found["pids_limit"] = min(each.pids, DEFAULT_PIDS)
    return found


def build_with_share(quota: Quota, limits: StepLimits) -> dict[str, Any]:
    """The same of a build's steps, which cannot say how many processes they need."""
    each, found = quota.each, dict[str, Any]()
    if limits.memory_bytes is None and each.memory is not None:
        found["memory_bytes"] = each.memory
    if limits.cpu_quota_us is None and each.cpus is not None:
        found["cpu_quota_us"] = max(1000, int(each.cpus * limits.cpu_period_us))
    if each.pids is not None:
        found["pids"] = min(each.pids, DEFAULT_PIDS)
    return found


def exceeds_swap(quota: Quota, memory: int | None, with_swap: int | None) -> bool:
    """Whether swap gets round the memory that it may have. with_swap: memory and swap together."""
    if quota.memory is None and quota.each.memory is None:
        return False
    return with_swap is not None and not 0 <= with_swap <= 2 * (memory or 0)


def exceeded(quota: Quota, used: Use, asked: Use) -> tuple[str, str] | None:
    """What does not fit, and what would; None when all does."""
    return next(_exceeded(quota, used, asked), None)


def _exceeded(quota: Quota, used: Use, asked: Use) -> Iterator[tuple[str, str]]:
    for name in SHARES:
        most, wanted = _most(quota.each, name), getattr(asked, name)
        if most is not None and wanted > most:
            one = "one without a limit" if wanted == NO_LIMIT else f"{_shown(name, wanted)} for one"
            yield (
                f"{name}: {one}, and each may have {_shown(name, most)}",
                f"ask for less, or raise quota.each.{name} there",
            )
    for field in fields(Use):
        name = field.name
        most, wanted, there = _most(quota, name), getattr(asked, name), getattr(used, name)
        if most is None or not wanted or there + wanted <= most:
            continue
        if wanted == NO_LIMIT:
            how = f"say how much it needs ({_OPTIONS[name]}), or give quota.each.{name} there"
            yield f"{name}: a container without a limit", how
        elif there == NO_LIMIT:
            yield f"{name}: one of its containers has no limit", "remove that one, or give it a limit"
        elif name in SHARES:
            given = f"{_shown(name, there)} of {_shown(name, most)} are given"
            what = f"{name}: {given}, and {_shown(name, wanted)} more asked for"
            yield what, f"remove what is not needed, ask for less, or raise quota.{name} there"
        else:
            more = "" if wanted == 1 else f", and {wanted} more asked for"
            yield (
                f"{name}: {there} of {most} are there{more}",
                f"remove what is not needed, or raise quota.{name} there",
            )


def _most(share: Any, name: str) -> float | None:
    value: float | None = getattr(share, name)
    return thousandths(value) if name == "cpus" and value is not None else value


def _shown(name: str, value: float) -> str:
    if name == "cpus":
        return f"{value / 1000:g}"
    return str(size_text(int(value)) if name == "memory" else int(value))
