"""ops/test-summary: what the last line of a test run counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "ops/test-summary"
CASES = {"passed": "", "failed": "<failure/>", "skipped": "<skipped/>", "error": "<error/>"}


def report(path: Path, **outcomes: str) -> Path:
    cases = "".join(
        f'<testcase classname="t" name="{name}">{CASES[ended]}</testcase>' for name, ended in outcomes.items()
    )
    path.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    return path


def summary(*arguments: str | Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_outcomes_are_added_up(tmp_path: Path) -> None:
    report(tmp_path / "unit.xml", a="passed", b="skipped")
    report(tmp_path / "kernel.xml", a="passed", b="failed", c="error")
    assert summary(tmp_path, "unit", "kernel") == (1, ["2 passed, 2 failed, 1 skipped"])


def test_a_folder_without_a_report_has_failed(tmp_path: Path) -> None:
    report(tmp_path / "unit.xml", a="passed")
    code, lines = summary(tmp_path, "unit", "kernel")
    assert (code, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_who_passes_at_the_second_try_is_named(tmp_path: Path) -> None:
    report(tmp_path / "unit.xml", a="failed", b="passed")
    report(tmp_path / "unit.again.xml", a="passed")
    told = "unsteady, passed at the second try: t::a"
    assert summary(tmp_path, "unit") == (0, [told, "2 passed, 0 failed, 0 skipped"])


def test_who_fails_twice_has_failed(tmp_path: Path) -> None:
    report(tmp_path / "unit.xml", a="failed", b="failed")
    report(tmp_path / "unit.again.xml", a="failed", b="skipped")
    assert summary(tmp_path, "unit") == (1, ["0 passed, 2 failed, 0 skipped"])


def test_few_have_a_second_try(tmp_path: Path) -> None:
    few = report(tmp_path / "few.xml", a="failed", b="error", c="passed")
    many = report(tmp_path / "many.xml", a="failed", b="failed", c="failed")
    assert summary("--are-few", few)[0] == 0
    assert summary("--are-few", many)[0] == 1
