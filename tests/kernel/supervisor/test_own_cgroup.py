"""The supervisor is out of its starter's control groups, and no container is in its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from runtime import cgroups
from runtime.cgroup_limits import controllers
from runtime.cleanup import remove_instance
from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.supervisor.own_cgroup import path_beside
from tests import leaks
from tests.native import config_of, run, supervisor_pid, until

REPOSITORY = Path(__file__).resolve().parents[3]
START = "import sys; from runtime.layout import Layout; from runtime.supervisor import starter; "
START += "starter.ensure(Layout(sys.argv[1]))"


def _cgroups_of(pid: int) -> dict[str, str]:
    """Controllers (or name=…, or "" for the unified hierarchy) -> path."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def _own(layout: Layout) -> list[str]:
    """The supervisor's directories."""
    found = cgroups.hierarchies()
    return [found.directory(each, path_beside(layout.cgroup_parent)) for each in controllers({}, found)]


async def test_it_has_its_own_and_containers_are_not_in_it(engine: NativeEngine) -> None:
    pid = await supervisor_pid(engine)
    await run(engine, config_of(engine, "one", "sleep", "1000"))
    directories = _own(engine.layout)
    assert directories
    assert {cgroups.pids(directory) for directory in directories} == {(pid,)}


async def test_the_next_one_has_it_too(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    cgroups.kill(path_beside(engine.layout.cgroup_parent))  # it leaves a mark on a v2 cgroup
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    pid = await supervisor_pid(engine)
    assert {cgroups.pids(directory) for directory in _own(engine.layout)} == {(pid,)}
    await run(engine, config_of(engine, "two", "sleep", "1000"))
    assert [state.phase for state in engine.list()] == ["running", "running"]


async def test_what_ends_the_starters_cgroup_does_not_end_it(instance: Layout) -> None:
    path = f"/{instance.cgroup_parent}.starter"
    made = cgroups.create(path, {})
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, instance.instance, cwd=REPOSITORY, preexec_fn=lambda: _join(made)
    )
    try:
        assert await starter.wait() == 0
        (pid,) = leaks.processes(instance)
        paths = _cgroups_of(pid)
        assert path not in paths.values()
        assert set(paths.values()) <= {path_beside(instance.cgroup_parent), "/"}
        assert cgroups.list_pids(path) == ()
    finally:
        cgroups.kill(path)
        await asyncio.to_thread(cgroups.delete, path)
        await asyncio.to_thread(remove_instance, instance, with_data=True)


def _join(directories: tuple[str, ...]) -> None:
    cgroups.join(f"{directory}/cgroup.procs" for directory in directories)
