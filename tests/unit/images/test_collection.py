"""Which images go: by need, by age, by how full the disk is, and when a person asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.images.collection import DAY, HOUR, Asked, Disk, Holding, Rules, is_short, judge

NOW = 1_000_000_000.0
ROOMY = Disk(1000, 900)
FULL = Disk(1000, 50)


def image(name: str, *, size: int = 100, shared: int = 0, by_hand: str = "", named: bool = True) -> Holding:
    parts = {f"layer {name}": size} | ({"layer base": shared} if shared else {})
    return Holding(name, (f"{name}:1",) if named else (), parts, by_hand)


def told(judgements: object) -> dict[str, str]:
    return {each.id: ("goes: " if each.goes else "stays: ") + each.why for each in judgements}  # type: ignore[attr-defined]


def test_with_room_nothing_goes_but_what_is_old() -> None:
    found = judge([image("a"), image("b")], {}, {"a": NOW - 40 * DAY, "b": NOW - 2 * DAY}, ROOMY, NOW)
    assert told(found) == {
        "a": "goes: unused for 40 days",
        "b": "stays: nobody needs it; there is room (the disk is 10% full)",
    }


def test_a_full_disk_takes_the_least_recently_used_until_the_low_mark() -> None:
    used = {"a": NOW - 3 * DAY, "b": NOW - 5 * DAY, "c": NOW - 4 * DAY}
    found = judge([image("a"), image("b"), image("c")], {}, used, FULL, NOW)
    assert [(each.id, each.goes, each.goes_bytes) for each in found] == [
        ("b", True, 100), ("c", True, 100), ("a", False, 0),
    ]  # fmt: skip
    assert told(found)["b"] == "goes: unused for 5 days, and the disk is 95% full"
    assert told(found)["a"] == "stays: nobody needs it; others give room enough"


def test_between_the_marks_nothing_is_begun() -> None:
    assert not any(each.goes for each in judge([image("a")], {}, {"a": NOW - 2 * DAY}, Disk(1000, 180), NOW))


def test_what_has_no_name_goes_before_what_has_one() -> None:
    used = {"old": NOW - 9 * DAY, "moved": NOW - 2 * DAY}
    found = judge([image("old"), image("moved", named=False)], {}, used, Disk(1000, 140), NOW)
    assert [each.id for each in found if each.goes] == ["moved"]


def test_what_is_needed_stays_whatever_the_disk() -> None:
    roots = {"a": "shop/container/web runs it"}
    found = judge([image("a"), image("b")], roots, {"a": 0.0, "b": 0.0}, FULL, NOW)
    assert told(found)["a"] == "stays: shop/container/web runs it"
    assert told(found)["b"].startswith("goes: unused for")


def test_what_came_by_hand_stays() -> None:
    found = judge([image("a", by_hand="lab/a:1")], {}, {"a": 0.0}, FULL, NOW)
    assert told(found) == {"a": "stays: came by hand as lab/a:1: no registry can give it again"}


def test_what_is_new_or_not_known_yet_stays() -> None:
    found = judge([image("a"), image("b")], {}, {"a": NOW - HOUR / 2}, FULL, NOW)
    assert set(told(found).values()) == {"stays: was used within 60 min"}


def test_a_shared_layer_counts_when_its_last_image_goes() -> None:
    used = {"a": NOW - 5 * DAY, "b": NOW - 4 * DAY, "c": NOW - 3 * DAY}
    holdings = [image("a", size=10, shared=150), image("b", size=10, shared=150), image("c")]
    found = judge(holdings, {}, used, FULL, NOW)
    assert [(each.id, each.goes_bytes) for each in found if each.goes] == [("a", 10), ("b", 160)]
    assert [each.own_bytes for each in found if each.goes] == [160, 160]


def test_asked_for_what_has_no_name_goes_and_no_more() -> None:
    holdings = [image("a"), image("b", named=False), image("c", by_hand="lab/c:1")]
    found = told(judge(holdings, {}, dict.fromkeys("abc", NOW - HOUR), ROOMY, NOW, asked=Asked()))
    assert found["b"] == "goes: has no name, unused for 60 min"
    assert found["a"] == found["c"] == "stays: has a name (--all takes it)"


def test_asked_for_all_takes_what_came_by_hand_and_not_what_is_held() -> None:
    holdings = [image("a", by_hand="lab/a:1"), image("b"), image("c")]
    asked = Asked(all_unused=True, until_seconds=DAY)
    used = {"a": NOW - 2 * DAY, "b": NOW - HOUR, "c": NOW - 2 * DAY}
    found = told(judge(holdings, {"c": "a lease holds it"}, used, ROOMY, NOW, asked=asked))
    assert found == {
        "a": "goes: unused for 2 days", "b": "stays: was used within 24 h", "c": "stays: a lease holds it",
    }  # fmt: skip


def test_never_by_age_when_that_is_off() -> None:
    rules = Rules(max_age_seconds=0.0)
    assert not any(each.goes for each in judge([image("a")], {}, {"a": 0.0}, ROOMY, NOW, rules))


def test_short_is_when_all_that_may_go_gives_too_little() -> None:
    held = judge([image("a")], {"a": "it runs"}, {}, FULL, NOW)
    assert is_short(FULL, Rules(), held)
    freed = judge([image("a", size=200)], {}, {"a": 0.0}, FULL, NOW)
    assert not is_short(FULL, Rules(), freed)
    assert not is_short(ROOMY, Rules(), held)
    assert Disk(0, 0).used_fraction == 0.0


IDS = st.sampled_from("abcdefgh")
HOLDINGS = st.dictionaries(
    IDS, st.tuples(st.integers(0, 400), st.booleans(), st.booleans(), st.booleans()), max_size=8
)


@given(
    HOLDINGS, st.sets(IDS), st.dictionaries(IDS, st.floats(0, 60 * DAY)), st.integers(0, 1000),
    st.integers(1, 300),
)  # fmt: skip
def test_whatever_there_is_nothing_needed_goes_and_no_byte_counts_twice(
    made: dict[str, tuple[int, bool, bool, bool]],
    needed: set[str],
    ages: dict[str, float],
    free: int,
    base: int,
) -> None:
    holdings = [
        image(id, size=size, shared=base * shares, named=named, by_hand=f"{id}:1" if hand and named else "")
        for id, (size, named, hand, shares) in made.items()
    ]
    used = {id: NOW - age for id, age in ages.items()}
    found = judge(holdings, dict.fromkeys(needed, "needed"), used, Disk(1000, free), NOW)
    assert sorted(each.id for each in found) == sorted(made)
    for each in found:
        assert not each.goes or (each.id not in needed and each.id in ages)
        assert not each.goes or ages[each.id] >= HOUR
        assert each.why and each.goes_bytes <= each.own_bytes
    everything = {part: size for holding in holdings for part, size in holding.parts.items()}
    assert sum(each.goes_bytes for each in found) <= sum(everything.values())
