"""D2, CVE-2026-33747: a Dockerfile that brings its own frontend, and names in it that are used as paths."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import runtime.images.dockerfile
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.images.dockerfile.steps import RunAction
from tests.unit.images.dockerfile.build import mistakes_of, plan_of

FOLDER = Path(runtime.images.dockerfile.__file__).parent
PURE = {
    *(
        "__future__",
        "bisect",
        "collections.abc",
        "csv",
        "dataclasses",
        "difflib",
        "enum",
        "json",
        "posixpath",
    ),
    *("re", "signal", "typing", "urllib.parse"),
}
IDS = (
    "..",
    "a/../b",
    "../../etc/passwd",
    "/../x",
    "a" * 4096,
    "a b",
    "a\tb",
    "\u202eid",
    "é",
    "$(id)",
    "a;b",
    "a`b`",
)


@pytest.mark.parametrize(
    "syntax", ["docker/dockerfile:1", "evil.test/frontend@sha256:00", "../../bin/sh", "x y z", "`id`"]
)
def test_d2_a_frontend_is_written_down_and_never_asked_for(syntax: str) -> None:
    text = f"# syntax={syntax}\nFROM scratch\nCOPY a b\n"
    plan = plan_of(text)
    assert plan.images == ()
    assert plan == plan_of("\n" + text[text.index("FROM") :])


def test_d2_the_reader_can_open_and_run_nothing() -> None:
    """No module of it imports what could: no other part of the runtime, no os, no process, no socket."""
    imported: set[str] = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    ours = {name for name in imported if name.startswith("runtime")}
    assert {name for name in ours if not name.startswith("runtime.images.dockerfile")} == {
        "runtime.errors", "runtime.images.reference",
    }  # fmt: skip
    assert imported - ours <= PURE


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("kind", ["cache,target=/x", "secret", "ssh"])
def test_d2_an_id_is_no_path(kind: str, name: str) -> None:
    assert mistakes_of(f'FROM scratch\nRUN --mount="type={kind},id={name}" x\n')
    assert mistakes_of(f'FROM scratch\nARG N="{name}"\nRUN --mount=type={kind},id=$N x\n'), (
        "hidden in a variable"
    )


@pytest.mark.parametrize("name", ["..", "a/b", "/etc/passwd", "."])
def test_d2_a_documents_name_is_a_files(name: str) -> None:
    assert mistakes_of(f"FROM scratch\nCOPY <<{name} /x/\na\n{name}\n")
    assert mistakes_of(f"FROM scratch\nRUN <<{name}\n#!/bin/sh\n{name}\n")


def test_d2_a_secrets_target_follows_its_name_and_not_a_path_in_it() -> None:
    with pytest.raises(DockerfileInvalid):
        plan_of("FROM scratch\nRUN --mount=type=secret,id=../../etc/shadow x\n")
    (step,) = plan_of("FROM scratch\nRUN --mount=type=secret,id=shadow x\n").stages[0].steps
    assert isinstance(step.action, RunAction)
    assert step.action.mounts[0].target == "/run/secrets/shadow"


@pytest.mark.parametrize("word", ["../../../etc/passwd", "/../../x", "a/../../../b", "..//..//c"])
def test_d2_no_path_of_a_step_leads_up(word: str) -> None:
    text = (
        f"FROM scratch\nCOPY {word} /w/{word}\nWORKDIR {word}\nRUN --mount=source={word},target=/m/{word} x\n"
    )
    steps = plan_of(text).stages[0].steps
    assert ".." not in repr([step.action for step in steps])


@pytest.mark.parametrize(
    "flag", ["--security=insecure", "--device=vendor.com/gpu", "--network=host", "--mount=type=bind,target=/"]
)
def test_d2_no_dockerfile_asks_for_rights(flag: str) -> None:
    assert mistakes_of(f"FROM scratch\nRUN {flag} x\n")
