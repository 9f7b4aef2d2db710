"""When a registry is asked again: every branch, as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.manifest.pull_policy import period_seconds
from agent.manifest.spec import ContainerSpec
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import Memory, Refreshed, from_json, to_json
from agent.reconcile.refresh import NEVER, Asking, after_pull, find_asking, is_refreshed, with_asking
from agent.reconcile.world import Desired, Pull, World
from runtime.model import ImageInfo
from store.records import Key

KEY, NAME, NOW = Key("shop", "container", "web"), "nginx:1", 10_000.0
IMAGE = ImageInfo("sha256:" + "1" * 64, (NAME,), 1, 0.0, "amd64", "linux")


def asking(
    policy: str,
    last: Refreshed | None = None,
    pull: Pull | None = None,
    *,
    here: bool = True,
    now: float = NOW,
) -> Asking:
    spec = ContainerSpec.model_validate({"image": NAME, "pull_policy": policy})
    images, pulls = {NAME: IMAGE} if here else {}, {NAME: pull} if pull else {}
    world = World(memory={KEY: Memory(refreshed=last)}, images=images, pulls=pulls)
    return find_asking(Desired(KEY, spec, "", generation=2), spec, world, now)


@pytest.mark.parametrize(
    "policy", ["", "missing", "if_not_present", "never", "every_", "every_1x", "sometimes"]
)
def test_who_does_not_ask(policy: str) -> None:
    assert asking(policy) == NEVER


@pytest.mark.parametrize("policy", ["always", "if_newer", "daily", "weekly", "every_1h30m"])
def test_who_asks_at_first(policy: str) -> None:
    assert asking(policy).is_first and asking(policy).is_due
    assert asking(policy, here=False) == NEVER, "what is missing is fetched anyway"
    assert not asking(policy, pull=Pull()).is_due, "it is under way"
    other = Refreshed("nginx:0", 2, NOW)
    assert asking(policy, other).is_first, "it was asked for another name"


def test_a_new_version_asks_again_and_time_does_not() -> None:
    assert asking("always", Refreshed(NAME, 1, NOW)).is_first
    assert asking("always", Refreshed(NAME, 2, 0.0)) == Asking(False, False, "", None, "")
    assert not asking("daily", Refreshed(NAME, 1, NOW)).is_first


def test_time_asks_again() -> None:
    found = asking("every_1h", Refreshed(NAME, 1, NOW - 1800))
    assert (found.is_due, found.wake_at) == (False, NOW + 1800)
    assert asking("every_1h", Refreshed(NAME, 1, NOW - 3600)).is_due


def test_after_a_failure() -> None:
    failed = Refreshed(NAME, 2, NOW - 10, "connection refused")
    waits = asking("always", failed, Pull("connection refused", 1, NOW + 30, frozenset({"shop"})))
    assert (waits.is_first, waits.is_due, waits.wake_at) == (False, False, NOW + 30)
    assert asking("always", failed, Pull("connection refused", 1, NOW)).is_due
    assert asking("always", failed).is_due, "a new agent does not know when it is time"
    assert not asking("always", failed, Pull()).is_due


@pytest.mark.parametrize(
    "image", ["nginx@sha256:" + "0" * 64, "nginx:1@sha256:" + "0" * 64, "sha256:" + "0" * 64]
)
def test_what_a_digest_names_is_never_asked_for(image: str) -> None:
    assert not is_refreshed(ContainerSpec.model_validate({"image": image, "pull_policy": "always"}))


def test_what_is_remembered() -> None:
    desired = Desired(KEY, None, "", generation=4)
    assert after_pull(None, desired, NAME, "", 5.0) == Refreshed(NAME, 4, 5.0)
    last = Refreshed(NAME, 3, 1.0)
    assert after_pull(last, desired, NAME, "refused", 5.0) == Refreshed(NAME, 4, 1.0, "refused")
    assert after_pull(last, desired, "other:1", "refused", 5.0).at == 5.0
    memory = Memory(refreshed=last)
    assert from_json(to_json(memory)) == memory
    assert from_json({"refreshed": {"reference": 7}}).refreshed is None
    assert from_json({"refreshed": "x"}).refreshed is None


def test_how_an_object_stands() -> None:
    runs = Verdict("Running", "Running", is_settled=True)
    assert with_asking(runs, NEVER) == runs
    assert not with_asking(runs, Asking(True, True, "")).is_settled
    assert with_asking(runs, Asking(False, False, "", 50.0)).wake_at == 50.0
    said = with_asking(runs, Asking(False, False, "", None, "refused")).message
    assert said == "runs the image that is here: refused"
    waits = Verdict("Waiting", "VolumeMissing", "waits for volume data")
    assert with_asking(waits, Asking(False, False, "", None, "refused")).message == waits.message


@given(
    st.lists(st.tuples(st.integers(0, 999_999), st.sampled_from("wdhms")), max_size=4), st.text(max_size=3)
)
def test_times_are_sums_and_what_is_none_is_0(parts: list[tuple[int, str]], odd: str) -> None:
    unit = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
    text = "".join(f"{number}{letter}" for number, letter in parts)
    assert period_seconds(f"every_{text}") == sum(number * unit[letter] for number, letter in parts)
    assert period_seconds(odd) == 0.0
