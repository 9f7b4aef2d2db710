"""`setpoint image build --check`: mistakes and remarks, without an agent."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli import main


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr. There is no agent that it could ask."""
    code = main.main(["--instance", "tcheck", "image", "build", "--check", *words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM x AS a\nMAINTAINER me\nRUN y\nFROM a\n")
    return tmp_path


def test_nothing_is_wrong(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = context / "Dockerfile"
    remark = f"{name}:2: remark: MAINTAINER is of the past: write LABEL maintainer=…"
    assert check(capsys, str(context)) == (0, [remark, f"{name}: no mistakes"], "")


def test_mistakes_of_every_stage_and_of_the_ignore_file(
    context: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (context / "web").write_text("FROM x AS a\nCOPY --from=b c d\nFROM y AS b\nFROM z\n")
    (context / "web.dockerignore").write_text("ok\n[\n")
    (context / ".dockerignore").write_text("[[\n")  # not the one that is read
    code, lines, _ = check(capsys, "-f", "web", str(context))
    assert code == 1
    assert lines == [
        f"{context}/web:2:13: the stage b comes later (hint: move it before this one)",
        f"{context}/web.dockerignore:2: the pattern '[' has a [ without its ]"
        " (hint: write \\[ for a bracket itself)",
        f"{context}/web: 2 mistakes",
    ]
    assert check(capsys, "-f", "web", "--target", "b", str(context))[1][0].endswith("bracket itself)")


def test_a_wrong_target_and_a_wrong_argument(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no stage is named 'c'" in check(capsys, "--target", "c", str(context))[1][1]
    (context / "Dockerfile").write_text("ARG V\nFROM $V\n")
    assert check(capsys, str(context))[0] == 1
    assert check(capsys, "--build-arg", "V=x", str(context))[0] == 0


def test_from_stdin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"FROM x\nRUM \x1b[31m\n")))
    code, lines, _ = check(capsys, "-f", "-", str(tmp_path))
    assert code == 1 and lines[0].startswith("stdin:2:1: there is no instruction 'RUM'")
    assert "\x1b" not in "".join(lines)


def test_what_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = check(capsys, str(tmp_path))
    assert code == 1 and "no such file" in error
    assert "a tar is not looked into" in check(capsys, "-")[2]
