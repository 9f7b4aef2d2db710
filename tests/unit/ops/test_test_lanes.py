"""ops/test-lanes: two pieces at a time, those apart that must be, and a second try when all have ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OPS = Path(__file__).parents[3] / "ops"
TEST = """
from pathlib import Path

def test_it():
    with Path("begun").open("a") as file:
        file.write("{name}\\n")
    others = {{path.name for path in Path("runs").iterdir()}}
    assert not others & {apart}, others
    mark = Path("runs/{name}")
    mark.touch()
    try:
        assert {passes}
    finally:
        mark.unlink()
"""
ONCE_BEFORE = 'Path("begun").read_text().split().count("{name}") > 1'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The scripts alone, in a checkout of their own."""
    for folder in ("ops", "runs"):
        (tmp_path / folder).mkdir()
    for script in ("test-lanes", "test-summary"):
        shutil.copy(OPS / script, tmp_path / "ops")
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def write(tree: Path, name: str, apart: tuple[str, ...] = (), passes: str = "True") -> None:
    folder = tree / "tests" / name
    folder.mkdir(parents=True)
    text = TEST.format(name=name, apart=set(apart), passes=passes.format(name=name))
    (folder / f"test_{name}.py").write_text(text)


def lanes(tree: Path, *words: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, tree / "ops/test-lanes", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert not done.stderr
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("==> ")]


def test_what_must_be_apart_is_and_a_second_try_comes_last(tree: Path) -> None:
    write(tree, "kernel", apart=("api",))
    write(tree, "api", apart=("kernel",), passes=ONCE_BEFORE)
    write(tree, "contract")
    code, told = lanes(tree, "--together", "contract", "kernel", "api")
    assert code == 0
    assert told[-1] == "==> tests/api: those that failed, alone"
    assert sum(line.endswith(" s)") for line in told) == 3
    assert (tree / "build/junit/api.again.xml").exists()
    assert (tree / "begun").read_text().split()[-1] == "api"


def test_one_by_one_in_the_order_that_was_asked_for(tree: Path) -> None:
    write(tree, "kernel", passes="False")
    write(tree, "api")
    code, told = lanes(tree, "kernel", "api")
    assert code == 1
    assert told == ["==> tests/kernel", "==> tests/api", "==> tests/kernel: those that failed, alone"]
