"""Answers that are kept: the same while nothing changed, another when anything did, and only so many."""

from __future__ import annotations

from agent.api.docker import rendered
from agent.api.docker.rendered import Rendered


def test_made_again_when_a_part_is_another() -> None:
    kept, made = Rendered(), list[str]()

    def make() -> bytes:
        made.append("x")
        return f"{len(made)}".encode()

    assert kept.get("a", ("one", {"x": 1}), make) == b"1"
    assert kept.get("a", ("one", {"x": 1}), make) == b"1"
    assert kept.get("a", ("one", {"x": 2}), make) == b"2"
    assert kept.get("b", ("one", {"x": 2}), make) == b"3"
    assert kept.get("a", ("one", {"x": 1}), make) == b"4"


def test_bounded_in_number_and_size() -> None:
    kept = Rendered()
    for number in range(rendered.MAX_KEPT + 10):
        kept.get(str(number), (), lambda: b"old")
    assert kept.get(str(rendered.MAX_KEPT + 9), (), lambda: b"new") == b"old"
    assert kept.get("0", (), lambda: b"new") == b"new"
    large = b"x" * (rendered.MAX_BYTES + 1)
    assert kept.get("large", (), lambda: large) == large
    assert kept.get("large", (), lambda: b"made again") == b"made again"
