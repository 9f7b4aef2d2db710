"""Compiled filters that no container has do not pile up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime import seccomp_cache
from runtime.seccomp_cache import MOST_SPARE
from runtime.supervisor import prepare
from runtime.supervisor.prepare import MOST_PROGRAMS, SECCOMP


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    found = tmp_path / "seccomp"
    found.mkdir()
    for number in range(MOST_SPARE + 1):
        (found / f"{number}.bpf").write_bytes(bytes(8))
    (found / "profile.json").write_text("{}")
    return found


def test_only_those_in_use_stay_once_there_are_too_many(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, text in (
        ("a", json.dumps({"annotations": {SECCOMP: f"{cache}/1.bpf"}})), ("b", "damaged"), ("c", "[]"),
    ):  # fmt: skip
        (run / name).mkdir(parents=True)
        (run / name / "config.json").write_text(text)
    (run / "empty").mkdir()
    assert seccomp_cache.is_full(str(cache), 0) and not seccomp_cache.is_full(str(cache), 1)
    assert seccomp_cache.clear(str(cache), str(run), "config.json", {f"{cache}/2.bpf"}) == 2
    assert sorted(each.name for each in cache.iterdir()) == ["1.bpf", "2.bpf", "profile.json"]
    assert not seccomp_cache.is_full(str(cache), 2)


def test_no_run_directory_is_no_container(cache: Path, tmp_path: Path) -> None:
    assert seccomp_cache.clear(str(cache), str(tmp_path / "none"), "config.json", ()) == 0


def test_the_supervisor_keeps_a_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_programs", {})
    for number in range(MOST_PROGRAMS + 10):
        file = tmp_path / f"{number}.bpf"
        file.write_bytes(number.to_bytes(8, "little"))
        config = {"annotations": {SECCOMP: str(file)}}
        assert prepare._seccomp(config, None)[0][0] == number.to_bytes(8, "little")
    assert len(prepare._programs) == 10
