"""Who needs an image, and which good ones a revert may ask for."""

from __future__ import annotations

from agent.images.roots import KEPT_REMOVED_SECONDS, Wanted, find_roots, kept_good
from runtime.model import ContainerState
from store.image_memory import GoodImageRecord, LeaseRecord
from store.records import Key

WEB = Key("shop", "container", "web")
NOW = 1_000_000.0


def good(image: str, at: float, removed_at: float | None = None) -> GoodImageRecord:
    return GoodImageRecord(WEB, image, "web:1", "c0ffee0123456789", at, removed_at)


def roots(**given: object) -> dict[str, str]:
    empty: dict[str, object] = {
        "containers": (), "in_use": (), "wanted": (), "good": {}, "leases": (), "pulling": (), "names": {},
        "now": NOW,
    }  # fmt: skip
    return find_roots(**(empty | given))  # type: ignore[arg-type]


def test_what_runs_and_what_is_stopped() -> None:
    states = [
        ContainerState("1", "shop-web-1", {}, "running", image="a"),
        ContainerState("2", "shop-job-1", {}, "stopped", image="b"),
        ContainerState("3", "shop-job-2", {}, "paused", image="c"),
    ]
    assert roots(containers=states, in_use=["a", "d"]) == {
        "a": "shop-web-1 runs it", "b": "shop-job-1 was made of it", "c": "shop-job-2 runs it",
        "d": "a container is being made of it",
    }  # fmt: skip


def test_what_is_wanted_says_where_and_what_is_not_here_needs_nothing() -> None:
    wanted = [Wanted(WEB, "web:2", "a", "shop/compose.yaml:3"), Wanted(WEB, "web:3", "")]
    assert roots(wanted=wanted) == {"a": "shop/container/web wants it (shop/compose.yaml:3)"}


def test_the_two_last_good_ones_of_what_is_wanted() -> None:
    records = [good("c", 30.0), good("b", 20.0), good("a", 10.0)]
    assert kept_good(records, NOW) == tuple(records[:2])
    found = roots(good={WEB: records})
    assert found["b"] == "shop/container/web went well with it at c0ffee012345, and a revert would need it"
    assert "a" not in found


def test_the_last_good_one_of_what_was_removed_for_a_while() -> None:
    records = [good("b", 20.0, NOW), good("a", 10.0, NOW)]
    assert kept_good(records, NOW + 1) == (records[0],)
    assert "had it" in roots(good={WEB: records})["b"]
    assert kept_good(records, NOW + KEPT_REMOVED_SECONDS) == ()
    assert kept_good((), NOW) == ()


def test_a_lease_holds_by_id_or_name_until_it_is_over() -> None:
    leases = [
        LeaseRecord("1", "a", "ci", NOW - 10, NOW + 10),
        LeaseRecord("2", "docker.io/library/b:1", "ci", NOW - 10, NOW + 10),
        LeaseRecord("3", "c", "ci", NOW - 10, NOW),
    ]
    found = roots(leases=leases, names={"docker.io/library/b:1": "b"})
    assert found.keys() == {"a", "b"} and found["a"].startswith("ci holds it until ")


def test_what_is_being_pulled_again_is_kept_meanwhile() -> None:
    names = {"docker.io/library/b:1": "b"}
    found = roots(pulling=["docker.io/library/b:1", "docker.io/library/new:1"], names=names)
    assert found == {"b": "b:1 is being pulled"}
