"""The index of what is there stays in step, whatever comes and goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.reconcile.convert import LABEL_KEY
from agent.reconcile.observe import Observed
from agent.reconcile.world import ABSENT
from runtime.model import ContainerState, VolumeConfig
from store.records import Key
from tests.sim.fake_engine import FakeEngine

A, B = Key("shop", "container", "a"), Key("shop", "container", "b")
DATA = Key("shop", "volume", "data")


def container(id: str, key: Key, *volumes: str) -> ContainerState:
    return ContainerState(id, id, {LABEL_KEY: str(key)}, "running", volumes=volumes)


@pytest.fixture
def observed() -> Observed:
    return Observed(FakeEngine(lambda: 0.0))


def test_a_volume_s_users_are_those_whose_containers_have_it(observed: Observed) -> None:
    one, two, three = (container(id, key, "data", "more") for id, key in (("1", A), ("2", A), ("3", B)))
    for state in (one, two, three):
        observed._put(state.id, state)
    assert observed.volume_users == {"data": {A, B}, "more": {A, B}}
    observed._put("1", None)
    assert observed.volume_users["data"] == {A, B}  # its other replica has it
    observed._put("2", replace(two, volumes=("more",)))
    assert observed.volume_users == {"data": {B}, "more": {A, B}}
    observed._put("2", None)
    observed._put("3", None)
    assert observed.volume_users == {} and observed.actual == {}


def test_a_look_at_one_volume_sees_what_a_look_at_all_does(observed: Observed) -> None:
    engine = observed._engine
    config = VolumeConfig("shop_data", {LABEL_KEY: str(DATA)})
    for work in (engine.create_volume(config), engine.create_volume(VolumeConfig("by-hand"))):
        asyncio.run(work)
    for name in ("shop_data", "by-hand", "not-there"):
        observed.look_at_volume(name)
    by_all = Observed(engine)
    by_all.look_at_volumes()
    assert (observed.volumes, observed.actual) == (by_all.volumes, by_all.actual)
    assert [state.name for state in observed.actual[DATA].volumes] == ["shop_data"]
    for name in ("shop_data", "by-hand"):
        asyncio.run(engine.delete_volume(name))
        observed.look_at_volume(name)
    assert observed.volumes == {} and observed.actual.get(DATA, ABSENT) == ABSENT
