"""Which update an object may take now, and what the others wait for."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from agent.manifest.spec import UpdateSpec
from agent.updates.policy import Update, candidates, decide

NOW = 1_000_000.0
HOUR = 3600.0
NOON = time.strptime("Wed 12:00", "%a %H:%M")
OLD, NEW, NEWER = "sha256:" + "1" * 64, "sha256:" + "2" * 64, "sha256:" + "3" * 64
ANY = UpdateSpec(policy="minor", minimum_age=0.0)


def test_candidates_are_the_newer_ones_and_the_present_one_last() -> None:
    tags = ["1.2.3", "1.2.4", "1.3.0", "2.0.0", "1.4.0-rc1"]
    assert candidates(ANY, "1.2.3", tags) == ("1.3.0", "1.2.4", "1.2.3")
    assert candidates(UpdateSpec(policy="digest"), "1.2.3", tags) == ("1.2.3",)
    asked = UpdateSpec(policy="minor", prereleases=True)
    assert candidates(asked, "1.2.3", tags)[0] == "1.4.0-rc1"


def test_the_newest_that_is_old_enough() -> None:
    policy = UpdateSpec(policy="minor", minimum_age=72 * HOUR)
    offered = [("1.4", NEWER), ("1.3", NEW), ("1.2", OLD)]
    seen = {("1.4", NEWER): NOW - HOUR, ("1.3", NEW): NOW - 100 * HOUR}
    assert decide(policy, "1.2", OLD, offered, seen, NOW, NOON) == Update(
        "1.3", NEW, NOW - 100 * HOUR, "1.3 is newer than 1.2"
    )


def test_when_all_are_too_new_the_best_is_told_with_what_it_waits_for() -> None:
    policy = UpdateSpec(policy="minor", minimum_age=72 * HOUR)
    offered = [("1.4", NEWER), ("1.3", NEW)]
    for age, text in (
        (0.0, "3 days"),
        (71.5 * HOUR, "30 min"),
        (48 * HOUR, "24 h"),
        (72 * HOUR - 1, "1 min"),
    ):
        seen = {("1.4", NEWER): NOW - age, ("1.3", NEW): NOW - age}
        found = decide(policy, "1.2", OLD, offered, seen, NOW, NOON)
        assert found is not None and not found.is_due
        assert (found.tag, found.waits) == ("1.4", f"is too new for another {text}")


def test_one_that_was_never_seen_is_of_this_moment() -> None:
    policy = UpdateSpec(policy="minor", minimum_age=HOUR)
    found = decide(policy, "1.2", OLD, [("1.3", NEW)], {}, NOW, NOON)
    assert found is not None and found.seen_at == NOW and not found.is_due


def test_another_digest_of_the_same_tag() -> None:
    found = decide(ANY, "1.2", OLD, [("1.2", NEW)], {}, NOW, NOON)
    assert found == Update("1.2", NEW, NOW, f"1.2 means {NEW[:19]} now")
    assert decide(ANY, "1.2", NEW, [("1.2", NEW)], {}, NOW, NOON) is None
    assert decide(ANY, "1.2", "", [("1.2", NEW)], {}, NOW, NOON) is None  # nobody knows what runs
    assert decide(ANY, "1.2", OLD, [("1.3", "")], {}, NOW, NOON) is None
    assert decide(ANY, "1.2", OLD, [], {}, NOW, NOON) is None


def test_the_same_digest_under_a_newer_tag_is_news() -> None:
    found = decide(ANY, "1.2", OLD, [("1.3", OLD)], {}, NOW, NOON)
    assert found is not None and found.tag == "1.3"


def test_outside_its_windows_it_waits_for_one() -> None:
    policy = UpdateSpec(policy="minor", minimum_age=0.0, window=("02:00-04:00 Sun", "11:00-13:00 Wed"))
    found = decide(policy, "1.2", OLD, [("1.3", NEW)], {}, NOW, NOON)
    assert found is not None and found.is_due
    found = decide(policy, "1.2", OLD, [("1.3", NEW)], {}, NOW, time.strptime("Thu 12:00", "%a %H:%M"))
    assert found is not None and found.waits == "waits for 02:00-04:00 Sun or 11:00-13:00 Wed"
    never = UpdateSpec(policy="minor", minimum_age=0.0, window=("no window",))
    found = decide(never, "1.2", OLD, [("1.3", NEW)], {}, NOW, NOON)
    assert found is not None and not found.is_due


DIGEST = st.sampled_from(["", OLD, NEW, NEWER])
TAG = st.sampled_from(["1.2", "1.3", "1.4"])


@given(
    st.lists(st.tuples(TAG, DIGEST), max_size=6),
    DIGEST,
    st.dictionaries(st.tuples(TAG, DIGEST), st.floats(0, 2 * NOW)),
    st.floats(0, 1e6),
)
def test_nothing_too_young_is_due_and_nothing_that_is_here_is_news(
    offered: list[tuple[str, str]], present: str, seen: dict[tuple[str, str], float], age: float
) -> None:
    policy = UpdateSpec(policy="minor", minimum_age=age)
    found = decide(policy, "1.2", present, offered, seen, NOW, NOON)
    if found is None:
        return
    assert (found.tag, found.digest) in offered and found.digest
    assert (found.tag, found.digest) != ("1.2", present)
    assert not found.is_due or NOW - seen.get((found.tag, found.digest), NOW) >= age
