"""The first minute: ops/up, a page in the browser, names between containers, and ops/down."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from runtime.layout import Layout
from tests import leaks
from tests.e2e.story import ROOT, Story, eventually, free_port

QUICKSTART = ROOT / "manifests/quickstart"


def quickstart_on(port: int) -> dict[str, str | None]:
    text = (QUICKSTART / "hello/compose.yaml").read_text()
    assert "127.0.0.1:8080:80" in text
    return {"hello/compose.yaml": text.replace("127.0.0.1:8080:80", f"127.0.0.1:{port}:80")}


def test_the_page_is_served_and_asked_for_by_name(story: Story) -> None:
    port = free_port()
    story.apply(quickstart_on(port), seconds=45)
    assert "It runs" in story.fetch(port)
    logs = eventually(lambda: story.setpoint("logs", "hello/visitor"), "the visitor asked")
    assert "<title>It runs</title>" in logs
    page = story.object("hello/container/page")
    assert page is not None
    assert page["ready"]
    health = [c for c in (story.object("hello/container/web") or {})["conditions"] if c["type"] == "Healthy"]
    assert [c["status"] for c in health] == ["True"]


def test_up_twice_and_down(instance: Layout, tmp_path: Path) -> None:
    tree, port = tmp_path / "m", free_port()
    shutil.copytree(QUICKSTART, tree)
    for name, text in quickstart_on(port).items():
        (tree / name).write_text(str(text))

    def ops(name: str, *words: str) -> str:
        command = [ROOT / "ops" / name, "--instance", instance.instance, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    up = ("--watch", str(tree), "--metrics", "127.0.0.1:0")
    assert "all that is needed is here" in ops("up", "--prepare")
    assert not instance.run.exists() and not instance.data.exists()
    first = ops("up", *up)
    assert "hello/container/web" in first
    assert str(instance.agent_socket) in first
    pids = leaks.processes(instance)
    assert "runs already" in ops("up", *up)
    assert leaks.processes(instance) == pids
    ops("down")
    assert leaks.find_leaks(instance) == []
    assert not instance.run.exists()
    assert (instance.volumes).exists()
    ops("down", "--data")
    assert not instance.data.exists()
