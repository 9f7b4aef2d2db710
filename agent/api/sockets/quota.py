"""What there is of what one scoped socket made, and whether more may come. Called right before a wish is
stored, with no wait between: of many that ask for the last place, one gets it.

The rows are the count: an agent that was killed counts the same. A row is there until what it wants is gone,
so that a place is free once nothing holds it, and not before. Builds and execs are of this agent: of one
that died the builds have ended, and the execs are within their container's limits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.docker.auto_remove import anonymous_volumes
from agent.api.docker.wishes import container_spec_of
from agent.api.sockets.scope import SOCKET_LABEL, Scope
from agent.manifest.spec import ContainerSpec, Quota
from agent.policy.quota import (
    Use,
    build_with_share,
    exceeded,
    exceeds_swap,
    use_of,
    use_of_build,
    with_share,
)
from agent.reconcile import convert
from agent.reconcile.api_objects import API_OWNER
from runtime.build_steps import StepLimits
from runtime.model import ImageInfo
from store.records import Key, ObjectRecord


def claim(context: Context, scope: Scope | None, asked: Use, *, but: Key | None = None) -> None:
    """Forbidden when it does not fit. but: what there is of this one is not counted, since it changes."""
    if scope is None or scope.quota is None:
        return
    found = exceeded(scope.quota, used_at(context, scope.name, but), asked)
    if found is not None:
        raise _forbidden(context, scope, *found)


def claim_container(
    context: Context, scope: Scope | None, spec: ContainerSpec, image: ImageInfo, volumes: int
) -> None:
    """volumes: those with a name that come with it."""
    if scope is None or scope.quota is None:
        return
    nameless = convert.nameless_volumes(spec, image.volumes)
    _check_swap(context, scope, scope.quota, spec.mem_limit, spec.memswap_limit)
    claim(context, scope, use_of(spec, volumes + len(nameless)))


def claim_change(context: Context, scope: Scope | None, key: Key, wanted: ContainerSpec) -> None:
    """One that is there gets other limits."""
    if scope is None or scope.quota is None:
        return
    _check_swap(context, scope, scope.quota, wanted.mem_limit, wanted.memswap_limit)
    claim(context, scope, replace(use_of(wanted), containers=0), but=key)


@contextlib.contextmanager
def building(context: Context, scope: Scope | None, limits: StepLimits) -> Iterator[None]:
    """While a build runs, it is counted as a container."""
    if scope is None or scope.quota is None:
        yield
        return
    _check_swap(context, scope, scope.quota, limits.memory_bytes, limits.memory_swap_bytes)
    use = use_of_build(limits)
    claim(context, scope, use)
    running = context.building.setdefault(scope.name, [])
    running.append(use)
    try:
        yield
    finally:
        running.remove(use)


def used_at(context: Context, name: str, but: Key | None = None) -> Use:
    """Of all that the socket of that name made."""
    used = Use(execs=context.execs.count_of(name))
    for each in context.building.get(name, ()):
        used += each
    for key, record in context.loop.objects().items():
        labels = record.spec.get("labels")
        if key != but and labels and labels.get(SOCKET_LABEL) == name and record.owner == API_OWNER:
            used += _use_of(context, key, record)
    return used


def _use_of(context: Context, key: Key, record: ObjectRecord) -> Use:
    if key.kind == "network":
        return Use(networks=1)
    if key.kind == "volume":
        return Use(volumes=1)
    if key.kind != "container":
        return Use()
    return use_of(container_spec_of(record), len(anonymous_volumes(context, key, record)))


def with_limits(scope: Scope, spec: ContainerSpec) -> ContainerSpec:
    """The container, with what each may have of what it does not say."""
    more = with_share(scope.quota, spec) if scope.quota is not None else {}
    return ContainerSpec.model_validate({**spec.model_dump(exclude_unset=True), **more}) if more else spec


def build_with_limits(scope: Scope, limits: StepLimits) -> StepLimits:
    return limits if scope.quota is None else replace(limits, **build_with_share(scope.quota, limits))


def _check_swap(context: Context, scope: Scope, quota: Quota, memory: int | None, both: int | None) -> None:
    if exceeds_swap(quota, memory, both):
        what = "swap: more than as much again as its memory"
        raise _forbidden(context, scope, what, "leave --memory-swap out")


def _forbidden(context: Context, scope: Scope, what: str, how: str) -> Forbidden:
    project, _, name = scope.name.partition("/")
    record = context.loop.objects().get(Key(project, "socket", name))
    place = f" ({record.file}:{record.line})" if record is not None and record.file else ""
    return Forbidden(f"over the quota of the socket {scope.name}{place}: {what} (hint: {how})")
