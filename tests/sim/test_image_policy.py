"""The rules for images in the loop: stricter ones stop nothing that runs and start nothing that ended; looser
ones, a signature that comes, and time alone let it start, with nobody asking for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.manifest.spec import ContainerSpec, NetworkSpec
from agent.policy.policy import ImageRule, Policy
from runtime.errors import Invalid, Temporary
from store.records import Key
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


ASKED = ["busybox:latest"]


def asked(host: Host) -> list[str]:
    return host.engine.asked_of


def wait_asked(host: Host, count: int) -> None:
    """Until it was asked that often, and an hour at most: seconds are nothing here."""
    for _ in range(3600):
        if len(asked(host)) < count:
            host.run(1.0)
    assert len(asked(host)) == count


def reasons(host: Host) -> list[str]:
    return [event.reason for event in host.store.events(Key.parse(WEB))]


def test_signatures_of_what_is_here_are_asked_for_once(host: Host) -> None:
    """A rule that is younger than the image: its registry is asked, for all who have it, once a rule."""
    commit(host, rules(), "web", "db")
    host.settle()
    assert len(host.running()) == 2 and asked(host) == []
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web", "db")
    host.run(2.0)
    assert asked(host) == ASKED
    assert "its registry is asked for them; it runs already and goes on" in host.status(WEB).message
    host.engine.answered("busybox:latest", ())
    host.run(2 * HOUR)
    assert asked(host) == ASKED and len(host.running()) == 2
    assert "no signature of it is known here" in host.status(WEB).message
    assert "asked" not in host.status(WEB).message
    commit(host, rules(signed_by=(public(KEY).encode(),), identities=()), "web", "db", "new")
    host.run(2.0)
    assert asked(host) == ASKED  # the same rules, another revision
    commit(host, rules(signed_by=(public(KEY).encode(),), architectures=frozenset({"amd64"})), "web", "db")
    host.run(2.0)
    assert asked(host) == ASKED * 2
    host.engine.answered("busybox:latest", (simple(KEY, DIGEST),))
    host.settle()
    host.run(2.0)  # events are stored with the next pass
    assert host.status(WEB).message == "" and host.loop.is_ready()
    assert "SignaturesCame" in reasons(host)


def test_a_registry_that_does_not_answer_is_asked_again_later(host: Host) -> None:
    commit(host, rules(), "web")
    host.settle()
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web")
    for count in range(1, 5):
        wait_asked(host, count)
        host.engine.answered("busybox:latest", Temporary("ask for signatures of", "busybox", "no route"))
        host.run(1.0)
        message = host.status(WEB).message
        assert "could not be asked: ask for signatures of busybox: no route; it runs already" in message
    assert host.running()
    assert reasons(host).count("SignaturesFailed") == 1  # told once, not at each try
    wait_asked(host, 5)
    assert "no route" in host.status(WEB).message  # also while it is asked
    host.engine.answered("busybox:latest", (simple(KEY, DIGEST),))
    host.settle()
    assert host.status(WEB).message == ""


def test_what_may_not_run_is_started_when_its_signature_comes(host: Host) -> None:
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web")
    host.run(2.0)
    assert not host.running() and asked(host) == ASKED
    host.engine.answered("busybox:latest", (simple(KEY, DIGEST),))
    host.settle()
    assert host.running() and host.status(WEB).message == ""


def test_another_image_under_that_name_is_asked_for_anew(host: Host) -> None:
    commit(host, rules(signed_by=(public(KEY).encode(),)), "web")
    host.run(2.0)
    host.engine.answered("busybox:latest", ())
    host.run(2.0)
    other = replace(BUSYBOX, id="sha256:" + "e" * 64, digest="sha256:" + "f" * 64)
    host.engine.images["busybox:latest"] = other

    async def loaded() -> None:
        host.loop.image_changed()

    host.do(loaded())
    host.run(2.0)
    assert asked(host) == ASKED * 2


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
