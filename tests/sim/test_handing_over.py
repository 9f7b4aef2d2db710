"""What the Docker API made becomes a manifest's: without a restart, and whenever the agent dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import Asked, ContainerSpec, Restart
from agent.reconcile import convert
from runtime.errors import Conflict, NotFound, Temporary
from store.records import Key
from tests.sim.host import Host

API = Key("@api", "container", "0123456789ab")
WEB = Key("shop", "container", "web")
MADE = ContainerSpec(
    image="busybox:latest", container_name="web", network_mode="none", labels={"tier": "front"},
    restart=Restart(), asked=Asked(image="busybox:latest"),
)  # fmt: skip
SAID = ContainerSpec(
    image="busybox:latest", container_name="web", network_mode="none", labels={"tier": "front"},
    restart=Restart(),
)  # fmt: skip


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert host.observer.bugs == []
    assert host.engine.violations == []
    host.close()


def as_object(key: Key, spec: ContainerSpec) -> Object:
    return Object(key, spec, Where("", 0), *hashes(spec))


def made(host: Host, spec: ContainerSpec = MADE) -> str:
    """The id of a container that the API made, and that runs."""
    host.do(host.loop.put(as_object(API, spec), starts=True))
    host.run(1)
    return host.running()["web"]


def starts(host: Host) -> int:
    return sum(op in ("start", "stop", "create", "delete") for op, _ in host.engine.calls)


def test_it_runs_on_under_the_manifests_key(host: Host) -> None:
    id, before = made(host), starts(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.run(60)
    assert API in host.loop.objects(), "until a manifest says so it is the API's"
    host.submit({str(WEB): SAID})
    host.settle()
    assert host.running() == {"web": id} and starts(host) == before
    assert set(host.loop.objects()) == {WEB}
    (state,) = host.engine.list()
    assert state.labels[convert.LABEL_KEY] == str(WEB)
    assert state.labels["tier"] == "front" and state.labels[convert.LABEL_FILE] == "shop/compose.yaml:1"
    assert host.plan() == ""
    host.do(host.loop.flush())
    reasons = [event.reason for event in host.store.events(WEB)]
    assert reasons == ["Adopted"]


def test_then_it_is_a_manifests_like_any_other(host: Host) -> None:
    id = made(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.submit({str(WEB): SAID})
    host.settle()
    with pytest.raises(Conflict, match=r"shop/compose\.yaml"):
        host.do(host.loop.remove(WEB))
    host.submit({str(WEB): SAID.model_copy(update={"labels": {"tier": "back"}})})
    host.settle()
    assert list(host.running()) == ["web"] and host.running()["web"] != id
    assert len(host.engine.list()) == 1 and len(host.engine.list_sandboxes()) == 1
    host.submit({})
    host.settle()
    assert host.engine.list() == () and host.engine.list_sandboxes() == ()


def test_a_stopped_one_is_handed_over_too(host: Host) -> None:
    stopped = MADE.model_copy(update={"ensure": "stopped"})
    host.do(host.loop.put(as_object(API, stopped)))
    host.run(1)
    said = SAID.model_copy(update={"ensure": "stopped"})
    host.do(host.loop.hand_over(API, as_object(WEB, said)))
    host.submit({str(WEB): said})
    host.settle()
    assert [state.labels[convert.LABEL_KEY] for state in host.engine.list()] == [str(WEB)]
    assert host.running() == {}


def test_another_spec_than_the_proven_one_takes_nothing(host: Host) -> None:
    id = made(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.submit({str(WEB): SAID.model_copy(update={"tty": True})})
    host.run(60)
    assert host.running() == {"web": id}
    assert API in host.loop.objects()
    assert "has that name" in host.status(str(WEB)).message
    host.submit({str(WEB): SAID})
    host.settle()
    assert host.running() == {"web": id} and set(host.loop.objects()) == {WEB}


def test_what_changed_since_it_was_looked_at_is_not_taken(host: Host) -> None:
    id = made(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.do(host.loop.put(as_object(API, MADE.model_copy(update={"mem_limit": 1 << 30}))))
    host.submit({str(WEB): SAID})
    host.run(60)
    assert host.running() == {"web": id} and API in host.loop.objects()


def test_a_failed_rewriting_is_tried_again_and_not_at_once(host: Host) -> None:
    id = made(host)
    failures = iter([Temporary("relabel", "web", "no space")] * 2)
    host.engine.fault = lambda op, subject: next(failures, None) if op == "relabel" else None
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.submit({str(WEB): SAID})
    host.run(0.5)
    assert host.status(str(WEB)).message == "relabel web: no space"
    assert [op for op, _ in host.engine.calls].count("relabel") == 1
    host.settle()
    assert host.running() == {"web": id} and set(host.loop.objects()) == {WEB}


def test_only_what_the_api_owns_is_handed_over(host: Host) -> None:
    with pytest.raises(NotFound):
        host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    host.submit({str(WEB): SAID})
    host.settle()
    with pytest.raises(Conflict, match=r"shop/compose\.yaml wants it"):
        host.do(host.loop.hand_over(WEB, as_object(WEB, SAID)))


MOMENTS = ("before the manifest", "before the labels", "after the labels")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("loses_database", [False, True])
def test_a_crash_at_any_moment_neither_removes_nor_doubles_it(
    host: Host, moment: str, loses_database: bool
) -> None:
    id, before = made(host), starts(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    if moment == "before the manifest":
        host.crash()
    elif moment == "after the labels":
        host.crash()
        labels = convert.labels_of(WEB, 1, hashes(SAID)[1], 0, convert.Origin("shop/compose.yaml", 1, "r1"))
        host.do(host.engine.relabel(id, {**SAID.labels, **labels}))
    else:
        host.engine.fault = lambda op, subject: Temporary("relabel", id, "dies here")
        host.submit({str(WEB): SAID})
        host.run(0.01)
        host.crash()
    host.engine.fault = lambda op, subject: None
    if loses_database:
        host.lose_database()
    host.boot()
    host.submit({str(WEB): SAID})
    host.run(120)
    assert host.running() == {"web": id}
    assert len(host.engine.list()) == 1 and starts(host) == before + _vain_creates(host, before)
    if not loses_database:
        assert set(host.loop.objects()) == {WEB}
        assert host.plan() == ""


def _vain_creates(host: Host, before: int) -> int:
    """Without a database nobody knows of the wish: the manifest's own is refused the name, ever again."""
    changing = [op for op, _ in host.engine.calls if op in ("start", "stop", "create", "delete")]
    assert set(changing[before:]) <= {"create"}
    return len(changing) - before


def test_dying_between_any_two_calls(host: Host) -> None:
    """Every await of the hand-over is a place to die at."""
    id = made(host)
    host.do(host.loop.hand_over(API, as_object(WEB, SAID)))
    for step in range(12):
        host.submit({str(WEB): SAID})
        host.run(step * 0.001)
        host.crash()
        host.boot()
    host.submit({str(WEB): SAID})
    host.settle()
    assert host.running() == {"web": id} and set(host.loop.objects()) == {WEB}
    assert host.plan() == ""


def test_who_shares_its_network_finds_it_after_the_hand_over_and_a_replacement(host: Host) -> None:
    made(host, MADE.model_copy(update={"network_mode": "bridge"}))
    said = SAID.model_copy(update={"network_mode": "bridge"})
    host.do(host.loop.hand_over(API, as_object(WEB, said)))
    beside = ContainerSpec(image="busybox:latest", network_mode="service:web")
    host.submit({str(WEB): said, "shop/container/beside": beside})
    host.settle()
    (sandbox,) = host.engine.list_sandboxes()
    changed = said.model_copy(update={"labels": {"tier": "back"}})
    host.submit({str(WEB): changed, "shop/container/beside": beside})
    host.settle()
    assert sorted(host.running()) == ["shop-beside-1", "web"]
    assert {state.sandbox for state in host.engine.list()} == {sandbox.id}
    host.submit({})
    host.settle()
    assert host.engine.list() == () and host.engine.list_sandboxes() == ()


def test_who_shares_its_network_by_the_api_finds_it_under_its_new_key(host: Host) -> None:
    id = made(host, MADE.model_copy(update={"network_mode": "bridge"}))
    said = SAID.model_copy(update={"network_mode": "bridge"})
    beside = Key("@api", "container", "ba9876543210")
    shares = ContainerSpec(
        image="busybox:latest", container_name="beside", network_mode=f"container:{API.name}", asked=Asked()
    )
    host.do(host.loop.put(as_object(beside, shares), starts=True))
    host.run(1)
    other = host.running()["beside"]
    host.do(host.loop.hand_over(API, as_object(WEB, said)))
    host.submit({str(WEB): said})
    host.settle()
    host.engine.exit(other, 1)
    host.do(host.loop.put(as_object(beside, shares), starts=True))
    host.run(5)
    assert host.running() == {"web": id, "beside": other}
    assert host.status(str(beside)).phase == "Running"
