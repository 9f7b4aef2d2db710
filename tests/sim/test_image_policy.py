"""The rules for images in the loop: stricter ones stop nothing that runs and start nothing that ended; looser
ones, a signature that comes, and time alone let it start, with nobody asking for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.manifest.spec import ContainerSpec, NetworkSpec
from agent.policy.policy import ImageRule, Policy
from runtime.errors import Invalid
from tests.signing import public, simple
from tests.sim.fake_engine import BUSYBOX
from tests.sim.host import Host

WEB, NET = "shop/container/web", "shop/network/default"
HOUR, DIGEST = 3600.0, "sha256:" + "d" * 64
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    host.engine.images["busybox:latest"] = replace(BUSYBOX, digest=DIGEST)
    yield host
    assert host.observer.bugs == []
    assert host.engine.violations == []
    host.close()


def rules(**rule: object) -> Policy:
    return Policy("policy.yaml", images=(ImageRule("all", ("*",), 7, **rule),))  # type: ignore[arg-type]


def commit(host: Host, policy: Policy, *names: str, image: str = "busybox:latest") -> None:
    host.policy = policy
    spec = ContainerSpec.model_validate({"image": image, "restart": {"policy": "always"}})
    host.submit({NET: NetworkSpec()} | {f"shop/container/{name}": spec for name in names})


def end(host: Host) -> None:
    (id,) = [state.id for state in host.engine.list() if state.phase == "running"]
    host.engine.exit(id)


def test_stricter_rules_and_looser_ones(host: Host) -> None:
    commit(host, rules(), "web")
    host.settle()
    assert host.running() and host.loop.is_ready()
    commit(host, rules(deny=True), "web")
    host.settle()
    status = host.status(WEB)
    assert host.running() and status.phase == "Running"
    assert "not allowed by policy.yaml:7 (rule images.all)" in status.message
    end(host)
    host.run(2 * HOUR)
    assert not host.running() and host.status(WEB).phase == "Stalled"
    assert [c.reason for c in host.status(WEB).conditions if c.type == "Stalled"] == ["ImageRefused"]
    commit(host, rules(), "web")
    host.settle()
    assert host.running() and host.status(WEB).message == ""


def test_a_young_image_runs_when_it_is_old_enough(host: Host) -> None:
    host.engine.first_seen["busybox:latest"] = host.clock.now()
    commit(host, rules(minimum_age_seconds=72 * HOUR), "web")
    host.run(71 * HOUR)
    assert not host.running() and host.status(WEB).phase == "Waiting"
    host.run(2 * HOUR)
    assert host.running() and host.status(WEB).phase == "Running"


def test_a_signature_that_comes_with_a_pull_by_hand(host: Host) -> None:
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web")
    host.run(10.0)
    assert not host.running() and "no signature of it is known" in host.status(WEB).message
    host.engine.signatures["busybox:latest"] = (simple(KEY, DIGEST),)

    async def pulled() -> None:
        host.loop.image_changed()

    host.do(pulled())
    host.settle()
    assert host.running()


def test_a_pull_that_was_refused_is_tried_again_under_other_rules(host: Host) -> None:
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web", image="lab/app:1")
    host.run(1.0)
    host.engine.pulled("lab/app:1", Invalid("pull image", "lab/app:1", "not allowed by policy.yaml:7"))
    host.run(1.0)
    assert host.status(WEB).phase == "Waiting" and "not allowed" in host.status(WEB).message
    commit(host, rules(pinned=False), "web", image="lab/app:1")
    host.run(1.0)
    host.engine.pulled("lab/app:1", replace(BUSYBOX, id="sha256:" + "e" * 64, digest=DIGEST))
    host.settle()
    assert host.running()


def test_a_denied_registry_is_never_asked(host: Host) -> None:
    commit(host, rules(deny=True), "web", image="lab/app:1")
    host.run(HOUR)
    assert host.engine.pull_state("lab/app:1") is None and host.status(WEB).phase == "Stalled"
