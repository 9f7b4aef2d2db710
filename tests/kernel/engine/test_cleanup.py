"""Removing an instance, whatever is going on in it."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from runtime import cgroups, cleanup
from runtime.layout import Layout


async def test_what_was_being_started_goes_too(instance: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the supervisor forked after all were killed, and before it ended itself."""
    late: list[subprocess.Popen[bytes]] = []

    def end_supervisor(layout: Layout, _deadline: float) -> None:
        directories = cgroups.create(f"/{layout.cgroup_parent}/late", {})

        def join() -> None:
            cgroups.join(f"{directory}/cgroup.procs" for directory in directories)

        late.append(subprocess.Popen(["sleep", "1000"], preexec_fn=join))

    monkeypatch.setattr(cleanup, "end_supervisor", end_supervisor)
    waiting = asyncio.to_thread(cleanup.remove_instance, instance, with_data=True)
    try:
        reaping = asyncio.create_task(asyncio.to_thread(lambda: _reap(late)))
        await waiting
        assert await reaping == -9
        assert cgroups.existing(f"/{instance.cgroup_parent}") == ()
    finally:
        for process in late:
            process.kill()
            process.wait()


def _reap(late: list[subprocess.Popen[bytes]]) -> int:
    while not late:
        os.sched_yield()
    return late[0].wait(timeout=20)
