"""What the scenarios of tests/plans do not reach: odd worlds, and order."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from agent.manifest.spec import ContainerSpec, VolumeSpec
from agent.reconcile.actions import Plan
from agent.reconcile.exits import exits_of_run
from agent.reconcile.memory import Memory
from agent.reconcile.needs import find_cycle
from agent.reconcile.plan import in_order, plan, plan_key
from agent.reconcile.policy import Exit
from agent.reconcile.world import Desired, PruneGuard, World, desired_of, replica_of
from runtime.model import ContainerState
from store.records import Key, ObjectRecord


def key(name: str, kind: str = "container") -> Key:
    return Key("shop", kind, name)


def wanted(name: str, **fields: object) -> Desired:
    spec = ContainerSpec.model_validate({"image": "busybox", **fields})
    return desired_of(ObjectRecord(key(name), "git", {}, "h", 1, 0, "f", 1, "r"), spec)


def world(*desired: Desired) -> World:
    return World(desired={each.key: each for each in desired})


def test_a_key_that_nobody_wants_gets_nothing() -> None:
    found = plan_key(key("ghost"), World(), 0.0)
    assert found.actions == () and found.verdict.reason == "NotOurs"


def test_no_world_no_plan() -> None:
    assert plan(World(), 0.0) == Plan() and not plan(World(), 0.0)
    assert str(Plan()) == ""


def test_what_is_needed_comes_first_and_a_chain_of_thousands_is_no_recursion() -> None:
    names = [f"c{n:05}" for n in range(3000)]
    chain = [wanted(name, depends_on={after: {}}) for name, after in pairwise(names)]
    order = list(in_order({each.key: each for each in [*chain, wanted(names[-1])]}))
    assert [each.name for each in order] == names[::-1]


def test_cycles() -> None:
    found = world(
        wanted("self", depends_on={"self": {}}),
        wanted("a", depends_on={"b": {}, "c": {}}),
        wanted("b", depends_on={"d": {}}),
        wanted("c", depends_on={"d": {}}),
        wanted("d", depends_on={"a": {}}),
        wanted("e", depends_on={"a": {}, "gone": {}}),
    )
    assert find_cycle(key("self"), found) == (key("self"), key("self"))
    assert find_cycle(key("a"), found) == (key("a"), key("b"), key("d"), key("a"))
    assert find_cycle(key("e"), found) == ()
    assert [each.name for each in in_order(found.desired)] == ["d", "b", "c", "a", "e", "self"]


def test_real_names() -> None:
    volume = ObjectRecord(key("v", "volume"), "git", {}, "h", 1, 0, "f", 1, "r")
    found = World(desired={volume.key: desired_of(volume, VolumeSpec(name="real"))})
    assert found.volume_name(volume.key) == "real"
    assert found.volume_name(key("other", "volume")) == "shop_other"


def test_labels_that_say_nonsense() -> None:
    for text in ("", "x", "-1", "1" * 99, "²"):
        state = ContainerState("aa", "aa", {"setpoint.index": text, "setpoint.attempt": text}, "running")
        assert (replica_of(state).index, replica_of(state).attempt) == (0, 0)


def test_an_exit_of_another_run_is_not_this_one() -> None:
    memory = Memory(exits=(Exit(1, "aa", 5.0, 6.0, 0), Exit(1, "bb", 7.0, 8.0, 0)))
    state = ContainerState("aa", "aa", {}, "stopped", started_at=9.0, finished_at=10.0, exit_code=3)
    assert [each.code for each in exits_of_run(memory, replica_of(state), 11.0)] == [0, 3]
    assert exits_of_run(memory, replica_of(replace(state, finished_at=None)), 11.0)[-1].at == 11.0
    assert exits_of_run(memory, replica_of(replace(state, finished_at=99.0)), 11.0)[-1].at == 11.0


def test_the_guard_is_for_many_and_most() -> None:
    held = [
        (going, running)
        for going in range(7)
        for running in range(going, 14)
        if PruneGuard(going, running).is_held
    ]
    assert (3, 3) not in held and (4, 8) not in held and (4, 7) in held and (6, 12) not in held


def test_what_is_left_alone_keeps_nobody_waiting() -> None:
    suspended = replace(wanted("web", depends_on={"db": {}}, suspend=True), deleting=False)
    db = replace(wanted("db"), deleting=True)
    live = replica_of(ContainerState("aa", "aa", {"setpoint.index": "1"}, "running"))
    from agent.reconcile.world import Actual

    found = replace(
        world(suspended, db),
        actual={suspended.key: Actual(replicas=(live,)), db.key: Actual(replicas=(live,))},
        dependents={db.key: frozenset({suspended.key})},
    )
    assert [action.verb for action in plan_key(db.key, found, 0.0).actions] == ["stop", "delete"]
