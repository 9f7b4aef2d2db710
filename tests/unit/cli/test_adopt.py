"""`adopt` and `export`: what is asked of the agent, what is written, and what is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import FakeAgent, Run

KEY = "@api/container/0123456789ab"
OTHER = "@api/container/ba9876543210"
TEXT = "services:\n  web:\n    image: a\n"


def answer(path: str, **more: Any) -> dict[str, Any]:
    return {
        "key": KEY,
        "heir": "shop/container/web",
        "path": path,
        "text": TEXT,
        "notes": [],
        "problems": [],
        **more,
    }


def status(where: str = "", *keys: str) -> dict[str, Any]:
    objects = [{"key": key, "unmanaged": True, "name": f"n{i}"} for i, key in enumerate(keys or (KEY,))]
    objects.append({"key": "@api/network/lab", "unmanaged": True, "name": "lab"})
    return {"objects": objects, "source": {"where": where}}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def route(key: str) -> str:
    return f"POST /adopt/{key.replace('@', '%40')}"


def test_it_is_printed_and_nothing_is_wished_for(agent: FakeAgent, run: Run) -> None:
    agent.routes |= {"GET /status": status(), route(KEY): answer("a/b.yaml", notes=["a \x1b[2J note"])}
    code, out, err = run("adopt", "n0")
    assert (code, out, err) == (0, TEXT, "note: a \\x1b[2J note\n")
    assert "hand_over=1" not in agent.asked[-1][1]


def test_it_is_written_where_it_was_said(agent: FakeAgent, run: Run, tree: Path) -> None:
    agent.routes |= {"GET /status": status(str(tree)), route(KEY): answer("shop/web.compose.yaml")}
    file = tree / "shop/web.compose.yaml"
    code, out, _ = run("adopt", "n0", "--to", str(file))
    assert code == 0 and file.read_text() == TEXT
    assert "takes over with the commit of this file" in out
    method, path, body = agent.asked[-1]
    assert (
        method == "POST" and "hand_over=" in path and body == {"path": "shop/web.compose.yaml", "project": ""}
    )
    code, _, err = run("adopt", "n0", "--to", str(file))
    assert code == 1 and "there already" in err and file.read_text() == TEXT


def test_a_problem_writes_nothing(agent: FakeAgent, run: Run, tree: Path) -> None:
    found = answer("shop/web.compose.yaml", problems=["mounts would be another"])
    agent.routes |= {"GET /status": status(str(tree)), route(KEY): found}
    code, _, err = run("adopt", "n0", "--to", str(tree / "shop/web.compose.yaml"))
    assert code == 1 and "is not adopted: mounts would be another" in err
    assert not (tree / "shop").exists()


def test_a_file_outside_of_what_is_watched_is_refused(agent: FakeAgent, run: Run, tree: Path) -> None:
    agent.routes |= {"GET /status": status(str(tree)), route(KEY): answer("x.yaml")}
    for target in ("/tmp/x.compose.yaml", str(tree / "../x.compose.yaml")):
        code, _, err = run("adopt", "n0", "--to", target)
        assert code == 1 and "which is watched" in err
    (tree / "out").symlink_to("/tmp")
    code, _, err = run("adopt", "n0", "--to", str(tree / "out/x.compose.yaml"))
    assert code == 1 and "which is watched" in err


def test_a_source_elsewhere_is_told_with_as(agent: FakeAgent, run: Run) -> None:
    agent.routes |= {
        "GET /status": status("https://git.example.org/a"),
        route(KEY): answer("shop/w.compose.yaml"),
    }
    code, _, err = run("adopt", "n0", "--to", "x.compose.yaml")
    assert code == 1 and "no directory on this host is watched" in err
    code, out, _ = run("adopt", "n0", "--as", "shop/w.compose.yaml")
    assert code == 0 and out == TEXT and agent.asked[-1][2]["path"] == "shop/w.compose.yaml"


def test_export_is_for_all_and_tells_of_each_that_is_left_out(agent: FakeAgent, run: Run, tree: Path) -> None:
    bad = answer("", problems=["there is no word for it"]) | {"key": OTHER}
    agent.routes |= {
        "GET /status": status(str(tree), KEY, OTHER),
        route(KEY): answer("adopted/n0.compose.yaml"),
        route(OTHER): bad,
    }
    code, _, err = run("export", "--to", str(tree))
    assert code == 1 and "@api/container/n1 is not adopted: there is no word for it" in err
    assert [str(path.relative_to(tree)) for path in tree.rglob("*.yaml")] == ["adopted/n0.compose.yaml"]


def test_where_nothing_is_unmanaged_that_is_said(agent: FakeAgent, run: Run, tree: Path) -> None:
    agent.routes |= {"GET /status": status(str(tree)) | {"objects": []}}
    assert run("export") == (0, "", "no container is unmanaged\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["adopt"], "no container is named"),
        (["adopt", "n0", "--commit"], "--commit without a file"),
        (["adopt", "--all", "--as", "x.compose.yaml"], "several containers"),
        (["export", "-o", "x.tar"], "manifests go to a directory"),
        (["export", "shop/web"], "a container goes to a file"),
    ],
)
def test_what_makes_no_sense_is_said(agent: FakeAgent, run: Run, words: list[str], said: str) -> None:
    agent.routes |= {"GET /status": status("", KEY, OTHER)}
    code, _, err = run(*words)
    assert code == 1 and said in err
