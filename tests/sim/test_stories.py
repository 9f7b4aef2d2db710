"""Whole stories on the simulated host: what people do, and what then is so. Virtual time throughout."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.manifest.objects import Manifest, Revision
from agent.manifest.spec import (
    ContainerSpec,
    Dependency,
    Healthcheck,
    Mount,
    NetworkSpec,
    Restart,
    VolumeSpec,
)
from agent.reconcile.loop import Loop
from runtime.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from runtime.model import Drift, ExecResult
from store.records import Key
from tests.sim.fake_engine import BUSYBOX
from tests.sim.host import Host

WEB, DB, NET = "shop/container/web", "shop/container/db", "shop/network/default"


def service(**fields: object) -> ContainerSpec:
    return ContainerSpec.model_validate({"image": "busybox:latest", **fields})


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert host.observer.bugs == []
    assert host.engine.violations == []
    host.close()


def up(host: Host, **specs: object) -> None:
    host.submit({NET: NetworkSpec()} | {f"shop/container/{name}": spec for name, spec in specs.items()})
    host.settle()
    assert host.loop.is_ready(), host.phases()


def test_a_commit_becomes_running_containers_and_an_empty_plan(host: Host) -> None:
    up(host, web=service(), db=service())
    assert sorted(host.running()) == ["shop-db-1", "shop-web-1"]
    assert host.plan() == ""
    assert [revision for revision, _ in host.observer.converged] == ["r1"]
    record = host.loop.objects()[Key.parse(WEB)]
    assert record.generation == record.observed_generation == 1


def test_what_happened_is_stored_with_its_causes(host: Host) -> None:
    up(host, web=service())
    host.do(host.loop.flush())
    events = host.store.events(Key.parse(WEB))
    assert [event.reason for event in events] == ["Created", "Started"]
    assert events[0].cause == ("revision r1", "shop/compose.yaml:1", "is not there")
    (revision,) = host.store.revisions()
    assert (revision.id, revision.outcome) == ("r1", "applied") and revision.converged_at


def test_what_a_container_lives_through_is_told(host: Host) -> None:
    up(host, web=service())
    (state,) = host.engine.list()
    host.engine.emit("oom", state.id, "a process killed for want of memory")
    host.engine.emit("warning", state.id, "ulimit nofile is over what this host allows")
    host.settle()
    host.do(host.loop.flush())
    told = {event.reason: event.message for event in host.store.events(Key.parse(WEB))}
    assert told["OutOfMemory"] == "a process killed for want of memory; the container runs on"
    assert told["NotAllowedHere"] == "ulimit nofile is over what this host allows"
    assert list(host.running()) == ["shop-web-1"]


def test_the_same_again_costs_nothing(host: Host) -> None:
    up(host, web=service())
    passes, calls = len(host.observer.passes), len(host.engine.calls)
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(5)
    assert host.engine.calls[calls:] == []
    assert [p for p in host.observer.passes[passes:] if p[0] == "keys"] == []


def test_idle_only_the_full_pass_looks(host: Host) -> None:
    up(host, web=service())
    host.run(1)
    before = len(host.observer.passes)
    host.run(300)
    assert {kind for kind, _, _ in host.observer.passes[before:]} == {"full"}
    assert len(host.observer.passes) - before == 10


def test_a_killed_process_runs_again_at_once(host: Host) -> None:
    up(host, web=service())
    host.run(60)
    started = host.clock.now()
    host.engine.exit(host.running()["shop-web-1"])
    host.settle()
    assert host.clock.now() - started < 0.1
    assert host.status(WEB).restarts == 1
    assert host.observer.restarts == [(Key.parse(WEB), "exited with code 137")]


def test_a_crash_loop_backs_off_stalls_and_ends_on_request(host: Host) -> None:
    up(host, web=service(restart=Restart(policy="always", max_attempts=4)))
    for _ in range(4):
        host.settle()
        host.engine.exit(host.running()["shop-web-1"], 1)
        host.run(0.05)
    host.run(100)
    assert host.status(WEB).phase == "Stalled"
    assert "failed 4 times" in host.status(WEB).message
    assert {c.type for c in host.status(WEB).conditions} == {"Ready", "Stalled"}
    host.run(5000)
    assert host.running() == {}
    host.do(host.loop.restart(Key.parse(WEB)))
    host.settle()
    assert host.status(WEB).phase == "Running"


def test_stalled_survives_a_crash_of_the_agent(host: Host) -> None:
    up(host, web=service(restart=Restart(policy="always", max_attempts=2)))
    for _ in range(2):
        host.settle()
        host.engine.exit(host.running()["shop-web-1"], 1)
        host.run(1)
    assert host.status(WEB).phase == "Stalled"
    host.crash()
    host.boot()
    host.run(60)
    assert host.status(WEB).phase == "Stalled" and host.running() == {}


def test_dependencies_start_in_order_and_go_in_reverse(host: Host) -> None:
    check = Healthcheck(test=("CMD", "true"), interval=1)
    up(
        host,
        web=service(depends_on={"db": Dependency(condition="service_healthy")}),
        db=service(healthcheck=check),
    )
    starts = [host.engine.state(id).name for op, id in host.engine.calls if op == "start"]  # type: ignore[union-attr]
    assert starts == ["shop-db-1", "shop-web-1"]
    names = {state.id: state.name for state in host.engine.list()}
    host.submit({})
    host.settle()
    stops = [names[id] for op, id in host.engine.calls if op == "stop"]
    assert stops == ["shop-web-1", "shop-db-1"]
    assert host.engine.list_networks() == () and host.engine.list_sandboxes() == ()
    assert host.loop.objects() == {}


def test_unhealthy_turns_and_restarts_within_limits(host: Host) -> None:
    answers = {"code": 0}
    host.engine.exec_result = lambda id, argv: ExecResult(answers["code"], b"out of order")
    check = Healthcheck(test=("CMD", "check"), interval=1, retries=2)
    up(host, web=service(healthcheck=check, on_unhealthy="restart", restart=Restart(max_attempts=3)))
    answers["code"] = 1
    host.run(1.5)
    assert host.status(WEB).phase == "Running"
    host.run(300)
    assert host.status(WEB).restarts == 2
    assert host.status(WEB).phase == "Unhealthy"
    assert {c.type for c in host.status(WEB).conditions} == {"Ready", "Stalled", "Healthy"}
    answers["code"] = 0
    host.run(2)
    assert host.status(WEB).phase == "Running"


def test_health_survives_a_crash_of_the_agent(host: Host) -> None:
    check = Healthcheck(test=("CMD", "true"), interval=1000)
    up(host, web=service(healthcheck=check))
    host.run(1)
    host.crash()
    host.boot()
    host.run(0.01)
    assert host.status(WEB).phase == "Running"


def test_a_broken_file_freezes_its_objects(host: Host) -> None:
    up(host, web=service())
    host.submit({}, frozen=frozenset({"shop/compose.yaml"}))
    host.run(120)
    assert list(host.running()) == ["shop-web-1"]
    assert "kept as it was" in host.status(WEB).message
    host.engine.exit(host.running()["shop-web-1"])
    host.settle()
    assert list(host.running()) == ["shop-web-1"]
    (revision, *_) = host.store.revisions()
    assert revision.outcome == "invalid" and "compose.yaml:1:1" in revision.message
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(1)
    assert host.status(WEB).message == ""


def test_a_mass_prune_waits_for_a_yes(host: Host) -> None:
    up(host, **{f"c{n}": service() for n in range(6)})
    host.submit({NET: NetworkSpec(), "shop/container/c0": service()})
    host.run(60)
    assert len(host.running()) == 6
    held = host.status("shop/container/c3")
    assert (held.phase, held.conditions[0].reason) == ("Waiting", "PruneHeld")
    with pytest.raises(Conflict):
        host.do(host.loop.acknowledge_prune("another"))
    host.crash()
    host.boot()
    host.run(60)
    assert len(host.running()) == 6
    host.submit({NET: NetworkSpec(), "shop/container/c0": service()})
    assert host.do(host.loop.acknowledge_prune("r3")) == 5
    host.crash()
    host.boot()
    host.settle()
    assert list(host.running()) == ["shop-c0-1"]


def test_a_prune_that_is_taken_back_is_forgotten(host: Host) -> None:
    names = [f"c{n}" for n in range(6)]
    up(host, **{name: service() for name in names})
    host.submit({NET: NetworkSpec()})
    host.run(5)
    up(host, **{name: service() for name in names})
    assert len(host.running()) == 6 and not any(op == "stop" for op, _ in host.engine.calls)


def test_what_is_wanted_again_while_it_is_removed_is_not_forgotten(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[tuple[Manifest, Revision]] = []
    submit = host.loop.submit
    monkeypatch.setattr(host.loop, "submit", lambda *what: (submitted.append(what), submit(*what)))
    up(host, web=service(), db=service())

    async def hear_of_a_commit() -> None:
        submit(*submitted[0])

    monkeypatch.setattr("agent.reconcile.apply._nothing", hear_of_a_commit)  # as a key is to be forgotten
    host.submit({NET: NetworkSpec(), DB: service()})
    host.run(1)
    monkeypatch.undo()
    host.settle()
    assert sorted(host.running()) == ["shop-db-1", "shop-web-1"]


def test_a_lost_database_is_rebuilt_from_labels(host: Host) -> None:
    up(host, web=service(), db=service(), old=service())
    host.engine.foreign("ff")
    ids = host.running()
    host.crash()
    host.lose_database()
    host.boot()
    host.run(120)  # the source is not read yet: nothing is touched
    assert host.running() == ids
    host.submit({NET: NetworkSpec(), WEB: service(), DB: service()})
    host.run(5)
    left = {name: id for name, id in ids.items() if name != "shop-old-1"}
    assert host.running() == left
    assert not any(op in ("create", "start") for op, _ in host.engine.calls[9:])


def lose_bundles(host: Host) -> None:
    """The disk with the bundles is lost, and the database: only what the kernel has is left."""
    host.crash()
    host.lose_database()
    host.engine.lose_containers()
    host.boot()


def test_a_namespace_of_which_all_else_is_lost_goes(host: Host) -> None:
    up(host, web=service(), db=service())
    lose_bundles(host)
    host.run(120)  # the source is not read yet: nothing is touched
    assert len(host.engine.list_sandboxes()) == 2
    host.submit({NET: NetworkSpec(), DB: service()})
    host.settle()
    assert sorted(host.running()) == ["shop-db-1"]
    assert len(host.engine.list_sandboxes()) == 1
    host.submit({})
    host.settle()
    assert host.engine.list_networks() == () and host.engine.list_sandboxes() == ()
    assert host.loop.objects() == {}


def test_a_namespace_of_a_file_that_cannot_be_read_stays(host: Host) -> None:
    up(host, web=service())
    lose_bundles(host)
    host.submit({}, frozen=frozenset({"shop/compose.yaml"}))
    host.run(120)
    assert len(host.engine.list_sandboxes()) == 1


@pytest.mark.parametrize("scale", [0, 1], ids=["of-what-goes", "of-what-stays"])
def test_a_namespace_that_does_not_go_is_tried_ever_less_often(host: Host, scale: int) -> None:
    up(host, web=service(scale=2))
    lose_bundles(host)
    failures = iter([Temporary("delete sandbox", "web", "it is busy")] * 99)  # with an end: time is virtual
    host.engine.fault = lambda op, subject: next(failures, None) if op == "delete_sandbox" else None
    host.submit({NET: NetworkSpec(), WEB: service(scale=1)} if scale else {})
    host.run(300)
    assert 5 < [op for op, _ in host.engine.calls].count("delete_sandbox") < 40
    assert len(host.running()) == scale
    host.engine.fault = lambda op, subject: None
    host.run(120)
    assert len(host.engine.list_sandboxes()) == scale
    assert (WEB in map(str, host.loop.objects())) == bool(scale)


NGINX = replace(BUSYBOX, id="sha256:nginx", names=("nginx:1",))


def test_an_image_is_fetched(host: Host) -> None:
    host.submit({NET: NetworkSpec(), WEB: service(image="nginx:1"), DB: service(image="nginx:1")})
    host.run(1)
    assert host.status(WEB).conditions[0].reason == "Pulling"
    host.do(_call(host.engine.pulled, "nginx:1", NGINX))
    host.settle(5)
    assert [host.status(key).phase for key in (WEB, DB)] == ["Running", "Running"]
    assert [call for call in host.engine.calls if call[0] == "pull"] == [("pull", "nginx:1")] * 2


def test_an_image_that_is_brought_by_hand(host: Host) -> None:
    host.submit({NET: NetworkSpec(), WEB: service(image="nginx:1")})
    host.run(1)
    host.engine.images["nginx:1"] = NGINX
    host.do(_call(host.loop.image_changed, "nginx:1"))
    host.settle(5)
    assert host.status(WEB).phase == "Running"


def test_an_image_that_cannot_be_fetched_is_tried_again_and_what_runs_goes_on(host: Host) -> None:
    up(host, web=service())
    before = host.running()
    host.submit({NET: NetworkSpec(), WEB: service(image="nginx:1")})
    host.run(1)
    refused = Temporary("pull image", "nginx", "it is asked too often", "", retry_after_seconds=40)
    host.do(_call(host.engine.pulled, "nginx:1", refused))
    host.run(1)
    assert host.status(WEB).conditions[0].reason == "PullFailed"
    assert "asked too often" in host.status(WEB).conditions[0].message
    host.run(35)
    assert len([call for call in host.engine.calls if call[0] == "pull"]) == 1
    host.run(10)
    assert len([call for call in host.engine.calls if call[0] == "pull"]) == 2
    assert host.running() == before
    host.do(_call(host.engine.pulled, "nginx:1", NGINX))
    host.settle(5)
    assert host.status(WEB).phase == "Running"
    assert host.running() != before


def test_a_registry_that_said_no_is_asked_seldom(host: Host) -> None:
    host.submit({NET: NetworkSpec(), WEB: service(image="nginx:1")})
    for _ in range(3):
        host.run(301)
        host.do(_call(host.engine.pulled, "nginx:1", Invalid("pull image", "nginx", "nobody is let in")))
    assert len([call for call in host.engine.calls if call[0] == "pull"]) == 3


def test_drift_is_repaired_at_once_and_without_a_restart(host: Host) -> None:
    up(host, web=service())
    host.run(5)
    id = host.running()["shop-web-1"]
    started = host.engine.state(id).started_at  # type: ignore[union-attr]
    host.engine.tamper(Drift("cgroup", id, "memory.max is 1"))
    host.engine.tamper(Drift("bridge", "shop_default", "bridge is gone"))
    host.run(0.5)
    assert {(kind, outcome) for kind, _, outcome in host.observer.repairs} == {
        ("cgroup", "ok"),
        ("bridge", "ok"),
    }
    assert host.engine.state(id).started_at == started  # type: ignore[union-attr]
    host.engine.tamper(Drift("firewall", "", "the table is gone"))
    host.run(3)
    assert ("firewall", Key("engine", "host", "kernel"), "ok") in host.observer.repairs
    assert host.loop.is_ready() and Key("engine", "host", "kernel") not in host.loop.statuses()
    host.engine.tamper(Drift("veth", host.engine.state(id).sandbox, "no veth"))  # type: ignore[union-attr]
    host.run(3)
    assert ("veth", Key.parse(WEB), "ok") in host.observer.repairs
    host.engine.tamper(Drift("netns", host.engine.state(id).sandbox, "its namespace is gone"))  # type: ignore[union-attr]
    host.run(3)
    assert host.engine.state(id).started_at != started  # type: ignore[union-attr]
    assert host.loop.is_ready()


def test_what_keeps_breaking_is_put_back_ever_later_and_told_with_its_number(host: Host) -> None:
    up(host, web=service())
    host.run(5)
    id = host.running()["shop-web-1"]
    for _ in range(600):  # twice a second, for five minutes
        host.engine.tamper(Drift("cgroup", id, "pids.max is 1"))
        host.run(0.5)
    repaired = [kind for kind, _, outcome in host.observer.repairs if outcome == "ok"]
    assert 5 < len(repaired) < 20
    host.run(1)
    told = [
        event for event in host.store.events(limit=1000) if event.reason in ("DriftRepaired", "DriftReturns")
    ]
    assert [event.reason for event in told][:6] == ["DriftRepaired"] * 5 + ["DriftReturns"]
    assert len(told) <= 7
    assert "8 times in" in told[5].message
    host.engine.tamper(Drift("mount", id, "/data is not mounted"))  # another thing is put back at once
    host.run(0.5)
    assert host.observer.repairs[-1] == ("mount", Key.parse(WEB), "ok")
    assert host.engine.state(id).phase == "running"  # type: ignore[union-attr]


def test_a_network_made_anew_takes_its_containers_along(host: Host) -> None:
    up(host, web=service(), db=service())
    ids = host.running()
    host.submit({NET: NetworkSpec(subnet="10.99.0.0/16"), WEB: service(), DB: service()})
    host.settle()
    assert host.running() == ids
    (network,) = host.engine.list_networks()
    assert network.subnet == "10.99.0.0/16"
    assert all(s.addresses["shop_default"].startswith("10.99.") for s in host.engine.list())


def test_a_network_made_anew_takes_along_who_shares_it(host: Host) -> None:
    specs = {"vpn": service(), "app": service(network_mode="service:vpn")}
    up(host, **specs)
    ids = host.running()
    new = {f"shop/container/{name}": spec for name, spec in specs.items()}
    host.submit({NET: NetworkSpec(subnet="10.99.0.0/16"), **new})
    host.settle()
    host.run(5)
    assert host.loop.is_ready() and host.running() == ids
    assert [network.subnet for network in host.engine.list_networks()] == ["10.99.0.0/16"]


def test_a_network_that_is_renamed(host: Host) -> None:
    up(host, web=service())
    host.submit({NET: NetworkSpec(name="front"), WEB: service()})
    host.settle()
    host.run(60)
    assert [network.name for network in host.engine.list_networks()] == ["front"]


def test_limits_change_in_place(host: Host) -> None:
    up(host, web=service())
    ids = host.running()
    up(host, web=service(mem_limit=1 << 20))
    assert host.running() == ids
    assert host.engine.list()[0].resources.memory_bytes == 1 << 20


def test_scale_and_replace_one_at_a_time(host: Host) -> None:
    up(host, web=service(scale=3))
    host.submit({NET: NetworkSpec(), WEB: service(scale=3, command=["v2"])})
    host.settle()
    names = [(op, host.engine.calls.index((op, id))) for op, id in host.engine.calls if op == "stop"]
    assert len(names) == 3 and len(host.running()) == 3
    up(host, web=service(scale=1, command=["v2"]))
    assert list(host.running()) == ["shop-web-1"]
    assert len(host.engine.list_sandboxes()) == 1


def test_a_replaced_dependency_restarts_who_asked_for_it(host: Host) -> None:
    web = service(depends_on={"db": Dependency(restart=True)})
    up(host, web=web, db=service())
    id = host.running()["shop-web-1"]
    host.run(20)
    up(host, web=web, db=service(command=["v2"]))
    host.run(1)
    assert host.status(WEB).restarts == 1 and host.running()["shop-web-1"] == id


def test_a_sidecar_keeps_its_network(host: Host) -> None:
    up(host, vpn=service(), app=service(network_mode="service:vpn"))
    app, sandboxes = host.running()["shop-app-1"], host.engine.list_sandboxes()
    up(host, vpn=service(command=["v2"]), app=service(network_mode="service:vpn"))
    assert host.running()["shop-app-1"] == app
    assert [s.id for s in host.engine.list_sandboxes()] == [s.id for s in sandboxes]
    assert host.status("shop/container/app").restarts == 0


@pytest.mark.parametrize(
    ("error", "phase", "reason", "seconds"),
    [
        (Invalid("create", "web", "no such user"), "Stalled", "Invalid", 7200),
        (Unsupported("create", "web", "no such thing"), "Stalled", "Unsupported", 30),
        (Temporary("create", "web", "no memory", retry_after_seconds=40), "Waiting", "Temporary", 30),
        (Conflict("create", "web", "taken"), "Waiting", "Conflict", 0.1),
        (NotFound("create", "web", "gone"), "Waiting", "NotFound", 0.1),
    ],
)
def test_each_kind_of_error(host: Host, error: Exception, phase: str, reason: str, seconds: float) -> None:
    host.engine.fault = lambda op, subject: error if op == "create" else None
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(0.01)
    host.engine.fault = lambda op, subject: None
    host.run(seconds)
    status = host.status(WEB)
    assert (status.phase, status.conditions[0].reason, status.message) == (phase, reason, str(error))
    host.do(host.loop.sync())
    host.settle(1)
    assert host.status(WEB).phase == "Running"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the disk of /"),
        (errno.EDQUOT, "the quota is used up on the disk of /"),
    ],
)
def test_r7_a_disk_that_gives_no_room_is_nobodys_bug(host: Host, number: int, said: str) -> None:
    """Whichever call of whatever action meets it."""
    full = OSError(number, os.strerror(number), "/")
    host.engine.fault = lambda op, subject: full if op == "create" else None
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(0.01)
    status = host.status(WEB)
    assert (status.phase, status.conditions[0].reason) == ("Waiting", "Temporary")
    assert said in status.message and "hint: make room" in status.message
    host.engine.fault = lambda op, subject: None
    host.run(60)
    assert host.status(WEB).phase == "Running"


def test_a_bug_in_the_engine_is_told_and_retried() -> None:
    host = Host()
    host.engine.fault = lambda op, subject: ZeroDivisionError("oops") if op == "start" else None
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(0.5)
    assert host.status(WEB).conditions[0].reason == "InternalError"
    host.engine.fault = lambda op, subject: None
    host.settle(10)
    assert host.status(WEB).phase == "Running"
    assert {type(bug) for bug in host.observer.bugs} == {ZeroDivisionError}
    host.close()


def test_suspend_and_resume(host: Host) -> None:
    up(host, web=service())
    host.do(host.loop.suspend(Key.parse(WEB)))
    host.submit({NET: NetworkSpec(), WEB: service(command=["v2"])})
    host.engine.exit(host.running()["shop-web-1"])
    host.run(60)
    assert host.running() == {} and host.status(WEB).phase == "Suspended"
    host.crash()
    host.boot()
    host.run(60)
    assert host.running() == {}
    host.do(host.loop.resume(Key.parse(WEB)))
    host.settle()
    assert list(host.running()) == ["shop-web-1"]
    with pytest.raises(NotFound):
        host.do(host.loop.suspend(Key("no", "container", "such")))


def test_restart_request_is_done_once(host: Host) -> None:
    up(host, web=service(scale=2))
    host.do(host.loop.restart(Key.parse(WEB)))
    host.settle()
    assert host.status(WEB).restarts == 2
    host.run(300)
    assert host.status(WEB).restarts == 2


def test_volumes_are_kept_unless_the_manifest_says_otherwise(host: Host) -> None:
    mounts = tuple(Mount(type="volume", source=name, target=f"/{name}") for name in ("data", "tmp"))
    host.submit(
        {
            NET: NetworkSpec(),
            "shop/volume/data": VolumeSpec(),
            "shop/volume/tmp": VolumeSpec(keep=False),
            WEB: service(mounts=mounts),
        }
    )
    host.settle()
    assert host.loop.is_ready()
    host.submit({})
    host.settle()
    assert [volume.name for volume in host.engine.list_volumes()] == ["shop_data"]
    assert host.loop.objects() == {}
    host.run(120)
    assert host.loop.objects() == {}


def test_a_volume_that_a_container_has_still_is_not_tried(host: Host) -> None:
    """The container is to be without it, and runs on as it was while it waits for another."""
    mounts = (Mount(type="volume", source="data", target="/data"),)
    data = "shop/volume/data"
    host.submit({NET: NetworkSpec(), data: VolumeSpec(keep=False), WEB: service(mounts=mounts)})
    host.settle()
    host.submit({NET: NetworkSpec(), WEB: service(depends_on={"db": Dependency()})})
    host.run(200)
    assert host.running() and "delete_volume" not in [call[0] for call in host.engine.calls]
    assert f"waits for {WEB} to be gone" in host.status(data).message
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.settle()
    assert host.engine.list_volumes() == () and list(host.loop.objects()) == [Key.parse(NET), Key.parse(WEB)]


def test_objects_of_the_api_live_beside_manifests(host: Host) -> None:
    up(host, web=service())
    wanted = _object("docker/container/tool", service(network_mode="bridge"))
    host.do(host.loop.put(wanted))
    host.settle()
    assert sorted(host.running()) == ["docker-tool-1", "shop-web-1"]
    assert {network.name for network in host.engine.list_networks()} == {"shop_default", "bridge"}
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(5)
    assert "docker-tool-1" in host.running()
    with pytest.raises(Conflict):
        host.do(host.loop.remove(Key.parse(WEB)))
    with pytest.raises(Conflict):
        host.do(host.loop.put(_object(WEB, service())))
    host.do(host.loop.remove(wanted.key))
    host.settle()
    assert list(host.running()) == ["shop-web-1"]
    assert {network.name for network in host.engine.list_networks()} == {"shop_default"}


def test_down_removes_all_and_takes_nothing_more(host: Host) -> None:
    up(host, **{f"c{n}": service(depends_on={"c0": {}} if n else {}) for n in range(8)})
    host.engine.foreign("ff")
    host.do(host.loop.down())
    assert list(host.running()) == ["ff"]
    assert host.engine.list_networks() == () and host.loop.objects() == {}
    host.submit({NET: NetworkSpec(), WEB: service()})
    host.run(60)
    assert list(host.running()) == ["ff"]


def test_after_a_reboot_all_starts_again_in_order(host: Host) -> None:
    up(host, web=service(depends_on={"db": {}}), db=service(restart=Restart(policy="always")))
    host.run(60)
    host.crash()
    host.engine.reboot()
    calls = len(host.engine.calls)
    host.boot()
    host.settle()
    starts = [host.engine.state(id).name for op, id in host.engine.calls[calls:] if op == "start"]  # type: ignore[union-attr]
    assert starts == ["shop-db-1", "shop-web-1"]


def test_a_start_says_what_it_only_remembers(host: Host) -> None:
    up(host, web=service(), db=service())
    assert host.loop.remembered_count() == 0
    host.do(host.loop.flush())
    host.crash()
    next_one = Loop(host.engine, host.store, instance="sim", clock=host.clock, settings=host.settings)
    host.do(next_one.start())
    assert next_one.remembered_count() == 3
    host.do(next_one.stop())
    host.boot()
    host.settle()
    assert host.loop.remembered_count() == 0


def test_a_full_disk_stops_nothing_and_loses_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    write = host.store.write
    monkeypatch.setattr(
        host.store, "write", lambda batch: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    up(host, web=service())
    host.run(120)
    assert host.store.events() == ()
    monkeypatch.setattr(host.store, "write", write)
    host.run(60)
    assert [event.reason for event in host.store.events(Key.parse(WEB))] == ["Created", "Started"]


def test_preview_of_other_manifests_changes_nothing(host: Host) -> None:
    up(host, web=service(), db=service())
    calls = len(host.engine.calls)
    from agent.manifest.objects import Manifest

    wanted = _object(WEB, service(command=["v2"]))
    network = _object(NET, NetworkSpec())
    manifest = Manifest({wanted.key: wanted, network.key: network})

    async def look() -> list[str]:
        return [f"{action.verb} {action.subject}" for action in host.loop.preview(manifest)]

    assert host.do(look()) == [
        f"stop {DB}#1", f"delete sandbox of {DB}#1", f"delete {DB}#1",
        f"create {WEB}#1", f"stop {WEB}#1", f"start {WEB}#1", f"delete {WEB}#1",
    ]  # fmt: skip
    host.run(60)
    assert host.engine.calls[calls:] == [] and len(host.loop.objects()) == 3


def test_an_orderly_stop_leaves_containers_and_writes_all(host: Host) -> None:
    up(host, web=service())
    host.do(host.loop.stop())
    host.do(host.loop.stop())
    assert list(host.running()) == ["shop-web-1"]
    _, statuses = host.store.load()
    assert statuses[Key.parse(WEB)].phase == "Running"


def test_a_stop_under_way_goes_by_the_newest_commit_if_that_is_sooner(host: Host) -> None:
    up(host, web=service(stop_grace_period=3600.0))
    old = host.running()["shop-web-1"]
    host.engine.stop_takes = 7200.0
    host.submit({"shop/container/web": service(stop_grace_period=3600.0, command=("other",))})
    host.run(60)
    assert host.running()["shop-web-1"] == old, "it has an hour"
    host.submit({"shop/container/web": service(stop_grace_period=20.0, command=("other",))})
    host.run(15)
    assert host.running()["shop-web-1"] == old
    host.run(10)
    assert host.running()["shop-web-1"] != old


def test_events_and_changes_can_be_followed(host: Host) -> None:
    async def follow() -> list[str]:
        return [event.reason async for event in host.loop.events()]

    async def start() -> object:
        import asyncio

        return asyncio.ensure_future(follow())

    following = host.do(start())
    up(host, web=service())
    host.do(host.loop.stop())

    async def wait() -> list[str]:
        return await following  # type: ignore[misc]

    assert host.do(wait()) == ["NetworkCreated", "Created", "Started"]


async def _call(function: object, *arguments: object) -> None:
    function(*arguments)  # type: ignore[operator]


def _object(text: str, spec: object) -> object:
    from agent.manifest.hashing import hashes
    from agent.manifest.objects import Object, Where

    whole, recreate = hashes(spec)  # type: ignore[arg-type]
    return Object(Key.parse(text), spec, Where("", 0), whole, recreate)  # type: ignore[arg-type]
