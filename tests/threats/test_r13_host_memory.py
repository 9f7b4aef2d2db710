"""R13: a host without memory. Containers go first, then the agent, the supervisor last: who is spared is not
handed down from parent to child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.source.sandbox import Sandbox
from runtime import cgroups, landlock, oom_score
from runtime.cleanup import remove_instance
from runtime.engine import NativeEngine
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.daemon.conftest import AgentProcess
from tests.native import PATIENCE_SECONDS, config_of, run, supervisor_pid

LIMIT_BYTES = 200 << 20
HOG = "x=$$(head -c 400000000 /dev/zero | tr '\\\\0' x)"
MANIFEST = """\
services:
  quiet: {image: "busybox:latest", network_mode: none, command: [sleep, "1000"], stop_signal: SIGKILL}
"""
WITH_HOG = f"""{MANIFEST}\
  hog:
    {{image: "busybox:latest", network_mode: none, restart: "no", command: [sh, -c, "{HOG}"]}}
"""


def may_spare() -> bool:
    """Whether a lower value is ours to set: it needs CAP_SYS_RESOURCE, which a nested host lacks."""
    said = "from pathlib import Path; Path('/proc/self/oom_score_adj').write_text('-900')"
    return not subprocess.run([sys.executable, "-c", said], stderr=subprocess.DEVNULL, check=False).returncode


spares = pytest.mark.skipif(not may_spare(), reason="this host does not let root lower an oom_score_adj")


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def until(condition: Any) -> Any:
    deadline = time.monotonic() + 3 * PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
    return found


@spares
async def test_r13_containers_are_not_spared_with_their_supervisor(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    assert score(await supervisor_pid(engine)) == -900
    assert score(engine._index.pid_of(config.id)) == 0
    inside = await engine.exec(
        config.id, ["cat", "/proc/self/oom_score_adj"], timeout_seconds=PATIENCE_SECONDS
    )
    assert inside.output == b"0\n"


@spares
def test_r13_what_works_for_the_agent_is_not_spared_with_it(
    instance: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score("self")
    Path("/proc/self/oom_score_adj").write_text("-500")
    try:
        with Sandbox().start(["sleep", "1000"], landlock.Reach(("/",), (), network=False)) as git:
            found = [score(git.pid)]
            git.kill()
        with IsolatedImages(instance)._workers._begun(["list"], -1) as worker:
            found.append(score(worker.pid))
            worker.kill()
    finally:
        Path("/proc/self/oom_score_adj").write_text(str(before))
    assert found == [0, 0]


def test_r13_what_was_spared_less_is_left_so() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("300")
        oom_score.unprotect(process.pid)
        assert score(process.pid) == 300
        process.kill()
    oom_score.unprotect(process.pid)  # it has ended: nothing


@pytest.fixture
def agent(instance: Layout, busybox_archive: Path, tmp_path: Path) -> Iterator[AgentProcess]:
    (tmp_path / "manifests/shop").mkdir(parents=True)
    made = AgentProcess(instance, tmp_path / "manifests")
    try:
        made.start()
        list(made.client.load_image(busybox_archive))
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.end(signal.SIGKILL)
        remove_instance(instance, with_data=True)


def containers(agent: AgentProcess) -> dict[str, dict[str, Any]]:
    found = agent.client.status()["objects"]
    return {each["key"].split("/")[2]: one for each in found for one in each["containers"]}


def test_r13_a_container_that_eats_all_memory_is_what_is_killed(agent: AgentProcess, tmp_path: Path) -> None:
    """The host here is a control group that engine and containers share, with less than one of them wants."""
    manifest = tmp_path / "manifests/shop/compose.yaml"
    manifest.write_text(MANIFEST)
    quiet = until(lambda: containers(agent).get("quiet", {}).get("pid"))
    assert agent.process is not None
    assert score(agent.process.pid) == (-500 if may_spare() else score("self"))
    found = cgroups.hierarchies()
    host = Path(found.directory("memory" if "memory" in found.v1 else "", f"/{agent.layout.cgroup_parent}"))
    own = host / "engine"
    own.mkdir()
    engine = [agent.process.pid, *supervisors(agent.layout)]
    try:
        assert len(engine) == 2
        for pid in engine:
            (own / "cgroup.procs").write_text(str(pid))
        limit = host / ("memory.limit_in_bytes" if "memory" in found.v1 else "memory.max")
        limit.write_text(str(LIMIT_BYTES))
        manifest.write_text(WITH_HOG)
        until(lambda: containers(agent).get("hog", {}).get("exit_code") == 137)
        assert agent.process.poll() is None
        assert supervisors(agent.layout) == engine[1:]
        assert containers(agent)["quiet"]["pid"] == quiet
        limit.write_text("-1" if "memory" in found.v1 else "max")
    finally:
        for pid in engine:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        agent.process.wait()
        until(lambda: not cgroups.pids(str(own)))
        own.rmdir()


def supervisors(layout: Layout) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(layout.supervisor_socket).encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
