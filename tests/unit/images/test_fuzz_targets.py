"""The fuzzers' targets for a short while, by Hypothesis: seeds cut, joined and changed, and no traceback."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import SetpointError
from tests.fuzz.targets import TARGETS, run

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_themselves_and_most_of_them_to_their_end(name: str) -> None:
    """A target whose seeds were all refused would try nothing."""
    answered = 0
    for seed in TARGETS[name].seeds:
        run(TARGETS[name], seed)
        try:
            TARGETS[name].run(seed)
        except SetpointError:
            continue
        answered += 1
    assert answered >= 2


@pytest.mark.parametrize("name", TARGETS)
@QUICK
@given(st.data())
def test_changed_seeds_are_answered_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    seeds = st.sampled_from(target.seeds)
    text = bytearray(data.draw(seeds))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.binary(max_size=6) | seeds.map(lambda seed: seed[:40]))
        text[at : at + data.draw(st.integers(0, 8))] = piece
    run(target, bytes(text))


@pytest.mark.parametrize("name", TARGETS)
@QUICK
@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_refused(name: str, data: bytes) -> None:
    run(TARGETS[name], data)
