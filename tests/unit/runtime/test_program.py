"""What a process was started from, and what became of that."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runtime.program import Program, of_agent


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of all that is loaded, beside what Python itself and this test have loaded."""
    made = tmp_path / "module.py"
    made.write_text("one = 1\n")
    module = ModuleType("made_up")
    module.__file__ = str(made)
    monkeypatch.setitem(sys.modules, "made_up", module)
    monkeypatch.setitem(sys.modules, "built_in", ModuleType("built_in"))
    return made


def test_it_is_what_it_was_while_nothing_is_written(file: Path) -> None:
    program = Program()
    assert not program.is_outdated()
    file.read_text()
    assert not program.is_outdated()


def test_a_module_that_is_another_by_now_or_gone(file: Path) -> None:
    program = Program()
    os.utime(file, (1, 1))
    assert program.is_outdated() and not Program().is_outdated()
    program = Program()
    other = file.with_suffix(".new")
    other.write_bytes(file.read_bytes())
    os.utime(other, (1, 1))
    other.rename(file)  # of the same size and time
    assert program.is_outdated()
    program = Program()
    file.unlink()
    assert program.is_outdated()
    assert not Program().is_outdated()  # one that began without it


def test_what_a_supervisor_alone_has_loaded_makes_its_agent_outdated(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runtime/supervisor").mkdir(parents=True)
    (tmp_path / "runtime/supervisor/attach.py").write_text("one = 1\n")
    monkeypatch.setattr("runtime.program.__file__", str(tmp_path / "runtime/program.py"))
    program, alone = of_agent(), Program()
    assert not program.is_outdated()
    os.utime(tmp_path / "runtime/supervisor/attach.py", (1, 1))
    assert program.is_outdated() and not alone.is_outdated()


def test_a_name_that_stands_for_another_interpreter(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.symlink_to("/bin/true")
    monkeypatch.setattr(sys, "executable", str(python))
    program = Program()
    assert not program.is_outdated()
    python.unlink()
    assert program.is_outdated()
    python.symlink_to("/bin/false")
    assert program.is_outdated()
