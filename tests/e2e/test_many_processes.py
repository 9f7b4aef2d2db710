"""Containers that fork without an end, and that never wait for their children: they hurt themselves alone."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from tests.e2e.story import Story, eventually, is_alive

BOMB = """\
services:
  bomb:
    image: busybox:latest
    command: [sh, -c, "b() { b | b & }; b; exec sleep 1005"]
    pids_limit: 60
    stop_signal: SIGKILL
"""
NEXT = BOMB + '  next: {image: busybox:latest, command: [sleep, "1006"], stop_signal: SIGKILL}\n'
ORPHANS = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "for i in $$(seq 200); do (sleep 2 &); done; exec sleep 1007"]
    init: {init}
    stop_signal: SIGKILL
"""


def refused_forks(story: Story) -> int:
    """By the kernel's count, in whichever hierarchy the controller is."""
    found = 0
    for path in Path("/sys/fs/cgroup").glob(f"**/{story.layout.cgroup_parent}/*/pids.events"):
        with contextlib.suppress(OSError):
            found += int(path.read_text().split()[1])
    return found


def zombies_of(parent: int) -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            count += fields[0] == "Z" and int(fields[1]) == parent
    return count


def test_a_fork_bomb_is_held_and_all_else_goes_on(story: Story) -> None:
    story.apply({"shop/compose.yaml": BOMB})
    eventually(lambda: refused_forks(story) > 0, "the limit holds the bomb")
    began = time.monotonic()
    story.setpoint("status")
    print(f"status beside a bomb: {time.monotonic() - began:.2f} s")
    story.apply({"shop/compose.yaml": NEXT})
    pids = [story.pid("shop/container/bomb"), story.pid("shop/container/next")]
    story.commit({"shop/compose.yaml": None})
    story.setpoint("sync")
    eventually(lambda: not any(map(is_alive, pids)), "both are gone")
    eventually(lambda: not story.status()["objects"], "nothing is left")


def test_an_init_reaps_what_its_container_leaves(story: Story) -> None:
    story.apply({"shop/compose.yaml": ORPHANS.replace("{init}", "false")})
    pid = story.pid("shop/container/web")
    eventually(lambda: zombies_of(pid) > 0, "nobody waits for them")
    story.apply({"shop/compose.yaml": ORPHANS.replace("{init}", "true")})
    new = story.pid("shop/container/web")
    assert new != pid
    eventually(lambda: has_slept(new), "the last has begun")
    eventually(lambda: len(children_of(new)) == 1, "all 200 have ended, and the init waited for them")
    assert zombies_of(new) == 0
    supervisor = int(Path(f"/proc/{new}/stat").read_text().rpartition(")")[2].split()[1])
    assert zombies_of(supervisor) == 0
    assert zombies_of(story.agent_pid()) == 0


def children_of(init: int) -> list[str]:
    return Path(f"/proc/{init}/task/{init}/children").read_text().split()


def has_slept(init: int) -> bool:
    """The loop is over: the program is `sleep`."""
    for child in children_of(init):
        with contextlib.suppress(OSError):
            if b"1007" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return True
    return False
