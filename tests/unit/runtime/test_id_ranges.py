"""Which ids belong to whom: claims of several instances, an earlier life, and none left."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import id_ranges
from runtime.errors import Temporary
from runtime.id_ranges import END, FIRST, SIZE, IdRanges, claims


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_ranges, "COUNT", 6)
    monkeypatch.setattr(id_ranges, "foreign_ranges", frozenset)


def opened(place: Path, instance: str, held: dict[str, int] | None = None) -> IdRanges:
    ranges = IdRanges(instance, place / "ids")
    ranges.open(held or {})
    return ranges


def test_two_instances_never_share_a_range_and_the_last_one_is_told(tmp_path: Path) -> None:
    one, other = opened(tmp_path, "one"), opened(tmp_path, "other")
    given = [ranges.claim(f"{n}") for n in range(3) for ranges in (one, other)]
    assert sorted(given) == [FIRST + n * SIZE for n in range(6)]
    assert one.claim("1") == given[2]
    with pytest.raises(Temporary, match="all 6 ranges"):
        one.claim("more")
    other.release("0")
    assert one.claim("more") == given[1]


def test_an_earlier_life_is_taken_over_by_its_records(tmp_path: Path) -> None:
    first = opened(tmp_path, "one")
    kept, lost, stray = first.claim("kept"), first.claim("lost"), first.claim("stray")
    id_ranges.remove(lost, tmp_path / "ids")
    again = opened(tmp_path, "one", {"kept": kept, "lost": lost})
    assert dict(map(reversed, claims("one", tmp_path / "ids"))) == {"kept": kept, "lost": lost}  # type: ignore[arg-type]
    assert (again.claim("kept"), again.claim("lost")) == (kept, lost)
    assert stray in {again.claim(f"{n}") for n in range(4)}


def test_a_claim_that_another_has_meanwhile_is_not_taken(tmp_path: Path) -> None:
    first = opened(tmp_path, "one")
    was = first.claim("a")
    id_ranges.remove(was, tmp_path / "ids")
    other = opened(tmp_path, "other", {"b": was})
    again = opened(tmp_path, "one", {"a": was})
    assert other.claim("b") == was and again.claim("a") != was


def test_a_directory_that_went_is_made_again(tmp_path: Path) -> None:
    ranges = opened(tmp_path, "one")
    (tmp_path / "ids").rmdir()
    assert FIRST <= ranges.claim("a") < END


def test_what_the_host_has_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = frozenset(FIRST + n * SIZE for n in range(5))
    monkeypatch.setattr(id_ranges, "foreign_ranges", lambda: foreign)
    assert opened(tmp_path, "one").claim("a") == FIRST + 5 * SIZE


def test_users_subordinate_ids_and_processes_are_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # what is a few above
    files = {
        "subuid": f"me:{FIRST - 1}:2\nme:{FIRST + SIZE - 1}:2\nbad\n",
        "group": "g:x:5:\n",
        "passwd": f"u:x:{FIRST + 2 * SIZE + 5}:{END}:x:/:\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(id_ranges, "_FILES", tuple(str(tmp_path / name) for name in files))
    monkeypatch.setattr(id_ranges, "_running", lambda: iter([(FIRST + 3 * SIZE, FIRST + 3 * SIZE), (0, 5)]))
    assert id_ranges.foreign_ranges() == {FIRST + n * SIZE for n in range(4)}


def test_the_pool_is_whole_ranges_that_others_do_not_use() -> None:
    assert FIRST % SIZE == END % SIZE == 0 and END < 1 << 31 and FIRST > 2_000_200_000
