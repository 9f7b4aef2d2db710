"""Quotas of scoped sockets: what a container asks for, what it gets when it says nothing, and what of it does
not fit any more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.manifest.spec import ContainerSpec, Quota, Share
from agent.policy.quota import (
    NO_LIMIT,
    Use,
    build_with_share,
    exceeded,
    exceeds_swap,
    use_of,
    use_of_build,
    with_share,
)
from runtime.build_steps import StepLimits

MIB = 1 << 20
EACH = Share(memory=64 * MIB, cpus=0.5, pids=100)


def asked(**fields: Any) -> Use:
    return use_of(ContainerSpec(image="x", **fields))


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({}, Use(containers=1, memory=NO_LIMIT, cpus=NO_LIMIT, pids=2048)),
        (
            {"mem_limit": 5 * MIB, "cpus": 0.3, "pids_limit": 7},
            Use(containers=1, memory=5 * MIB, cpus=300, pids=7),
        ),
        ({"pids_limit": -1}, Use(containers=1, memory=NO_LIMIT, cpus=NO_LIMIT, pids=NO_LIMIT)),
        ({"pids_limit": 0}, Use(containers=1, memory=NO_LIMIT, cpus=NO_LIMIT, pids=NO_LIMIT)),
        ({"mem_limit": 0, "cpus": 0.0}, Use(containers=1, memory=NO_LIMIT, cpus=NO_LIMIT, pids=2048)),
    ],
)
def test_what_a_container_asks_for(fields: dict[str, Any], use: Use) -> None:
    assert asked(**fields) == use


def test_what_says_nothing_gets_what_each_may_have() -> None:
    quota, spec = Quota(each=EACH), ContainerSpec(image="x")
    assert with_share(quota, spec) == {"mem_limit": 64 * MIB, "cpus": 0.5, "pids_limit": 100}
    said = ContainerSpec(image="x", mem_limit=128 * MIB, cpus=1.0, pids_limit=-1)
    assert with_share(quota, said) == {}
    assert with_share(Quota(memory=MIB, cpus=1.0, pids=1), spec) == {}
    assert with_share(Quota(each=Share(pids=10**6)), spec) == {"pids_limit": 2048}


def test_a_build_does_likewise() -> None:
    quota = Quota(each=EACH)
    more = build_with_share(quota, StepLimits())
    assert more == {"memory_bytes": 64 * MIB, "cpu_quota_us": 50_000, "pids": 100}
    use = use_of_build(StepLimits(**more))
    assert use == Use(containers=1, memory=64 * MIB, cpus=500, pids=100)
    assert StepLimits(**more).resources().pids == 100
    assert build_with_share(quota, StepLimits(5, 7)) == {"pids": 100}
    assert build_with_share(Quota(each=Share(memory=MIB)), StepLimits()) == {"memory_bytes": MIB}
    assert use_of_build(StepLimits()) == Use(containers=1, memory=NO_LIMIT, cpus=NO_LIMIT, pids=2048)


@pytest.mark.parametrize(
    ("quota", "used", "wanted", "said"),
    [
        (Quota(), Use(containers=10**6), Use(containers=1), None),
        (Quota(containers=2), Use(containers=1), Use(containers=1), None),
        (
            Quota(containers=2), Use(containers=2), Use(containers=1),
            ("containers: 2 of 2 are there", "remove what is not needed, or raise quota.containers there"),
        ),
        (
            Quota(volumes=2), Use(volumes=1), Use(containers=1, volumes=3),
            ("volumes: 1 of 2 are there, and 3 more asked for",
             "remove what is not needed, or raise quota.volumes there"),
        ),
        (Quota(networks=0), Use(), Use(containers=1), None),
        (
            Quota(networks=0), Use(), Use(networks=1),
            ("networks: 0 of 0 are there", "remove what is not needed, or raise quota.networks there"),
        ),
        (
            Quota(memory=100 * MIB), Use(memory=60 * MIB), asked(mem_limit=41 * MIB),
            ("memory: 60m of 100m are given, and 41m more asked for",
             "remove what is not needed, ask for less, or raise quota.memory there"),
        ),
        (Quota(memory=100 * MIB), Use(memory=60 * MIB), asked(mem_limit=40 * MIB), None),
        (
            Quota(memory=100 * MIB), Use(), asked(),
            ("memory: a container without a limit",
             "say how much it needs (--memory), or give quota.each.memory there"),
        ),
        (
            Quota(memory=100 * MIB), Use(memory=NO_LIMIT), asked(mem_limit=6 * MIB),
            ("memory: one of its containers has no limit", "remove that one, or give it a limit"),
        ),
        (Quota(memory=100 * MIB), Use(memory=NO_LIMIT), Use(volumes=1), None),
        (
            Quota(each=EACH), Use(), asked(mem_limit=65 * MIB),
            ("memory: 65m for one, and each may have 64m", "ask for less, or raise quota.each.memory there"),
        ),
        (
            Quota(each=EACH), Use(), asked(mem_limit=MIB, cpus=0.5, pids_limit=-1),
            ("pids: one without a limit, and each may have 100",
             "ask for less, or raise quota.each.pids there"),
        ),
        (Quota(cpus=0.3), Use(cpus=200), asked(cpus=0.1), None),
        (
            Quota(cpus=0.3), Use(cpus=200), asked(cpus=0.11),
            ("cpus: 0.2 of 0.3 are given, and 0.11 more asked for",
             "remove what is not needed, ask for less, or raise quota.cpus there"),
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(quota: Quota, used: Use, wanted: Use, said: tuple[str, str] | None) -> None:
    assert exceeded(quota, used, wanted) == said


@pytest.mark.parametrize(
    ("memory", "both", "is_so"),
    [(64, None, False), (64, 128, False), (64, 129, True), (64, -1, True), (None, -1, True), (64, 0, False)],
)
def test_swap_does_not_get_round_the_memory(memory: int | None, both: int | None, is_so: bool) -> None:
    assert exceeds_swap(Quota(memory=1), memory, both) is is_so
    assert exceeds_swap(Quota(each=Share(memory=1)), memory, both) is is_so
    assert not exceeds_swap(Quota(cpus=1.0), memory, both)


LIMITS = st.none() | st.integers(0, 5)
USES = st.builds(Use, *(st.integers(0, 3) for _ in range(4)))


@given(st.builds(Quota, containers=LIMITS, networks=LIMITS, volumes=LIMITS, execs=LIMITS), st.lists(USES))
def test_however_much_is_asked_for_there_is_never_one_more(quota: Quota, wishes: list[Use]) -> None:
    used = Use()
    for wish in wishes:
        refused = exceeded(quota, used, wish)
        after = used + wish
        fits = all(
            (most := getattr(quota, name)) is None or not getattr(wish, name) or getattr(after, name) <= most
            for name in ("containers", "networks", "volumes", "execs")
        )
        assert (refused is None) is fits
        if fits:
            used = after
            assert quota.containers is None or used.containers <= quota.containers
