"""A database that is damaged, short, gone, or of another time: kept aside and never deleted, rebuilt from
what runs and from git. No container is touched."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.supervisor.records import start_time
from store.reader import read_status
from tests.e2e.conftest import quiet_story, story
from tests.e2e.story import Story, eventually, is_alive

__all__ = ["quiet_story", "story"]

COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sleep, "1000"]
    stop_signal: SIGKILL
  db:
    image: busybox:latest
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    volumes: [data:/data]
volumes:
  data: {}
"""
KEYS = ("shop/container/web", "shop/container/db")


def flip(path: Path) -> None:
    dice = random.Random(9)
    content = bytearray(path.read_bytes())
    for _ in range(200):
        content[dice.randrange(len(content))] ^= 0xFF
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    for file in path.parent.glob("setpoint.db*"):
        file.unlink()


def lose_wal(path: Path) -> None:
    Path(f"{path}-wal").unlink(missing_ok=True)


def flip_wal(path: Path) -> None:
    wal = Path(f"{path}-wal")
    content = bytearray(wal.read_bytes())
    for at in range(100, len(content), 997):
        content[at] ^= 0xFF
    wal.write_bytes(content)


def flip_shm(path: Path) -> None:
    shm = Path(f"{path}-shm")
    shm.write_bytes(bytes(byte ^ 0xA5 for byte in shm.read_bytes()))


def run_sql(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        raw = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            raw.execute(statement)
        raw.close()

    return run


GARBAGE_ROWS = run_sql(
    "UPDATE objects SET spec = x'fffe', generation = 'many' WHERE name = 'web'",
    "UPDATE statuses SET conditions = '[[1]]', containers = '[7]' WHERE name = 'web'",
    """UPDATE statuses SET memory = '{"exits": [{"index": "x", "at": []}], "restarts": "often",
       "failures": {"1": {"kind": 3}}, "health": 7, "is_suspended": 1}' WHERE name = 'db'""",
    "UPDATE events SET cause = '{', at = 'noon'",
    "INSERT INTO objects SELECT 'a/b', kind, '', owner, spec, spec_hash, generation, observed_generation, "
    "file, line, revision, deleting, updated_at FROM objects LIMIT 1",
)
GARBAGE_SPECS = run_sql(
    """UPDATE objects SET spec = '{"image": [1, {}], "command": 7, "depends_on": "\\u0000"}'""",
    "UPDATE objects SET spec_hash = 'x', file = '../../etc/passwd', line = 0",
)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_no_container_is_touched(story: Story, is_killed: bool) -> None:
    damages: tuple[Callable[[Path], None], ...] = (
        flip, cut_short, empty, delete, GARBAGE_ROWS, GARBAGE_SPECS
    )  # fmt: skip
    if is_killed:  # the -wal and -shm of a dead agent are there
        damages = (lose_wal, flip_wal, flip_shm, flip)
    story.apply({"shop/compose.yaml": COMPOSE})
    path = story.layout.database
    pids = {key: story.pid(key) for key in KEYS}
    began = {key: start_time(pid) for key, pid in pids.items()}
    for damage in damages:
        if is_killed:
            agent = story.agent_pid()
            story.kill(agent)
            eventually(lambda agent=agent: not is_alive(agent), "the agent is gone")
        else:
            story.setpoint("agent", "stop")
        kept = set(path.parent.glob("setpoint.db.*"))
        damage(path)
        damaged = path.read_bytes() if path.exists() else b""
        story.setpoint("status", code=None)  # of the damaged file: a sentence, or what is left
        story.start_agent()
        story.setpoint("sync", "--wait", "--timeout", "20s")
        story.setpoint("wait", "--for", "ready", "--timeout", "20s")
        assert {key: story.pid(key) for key in KEYS} == pids, damage
        assert {key: start_time(pid) for key, pid in pids.items()} == began
        aside = [p for p in set(path.parent.glob("setpoint.db.damaged-*")) - kept if p.suffix != "-shm"]
        if damage in (flip, cut_short) and not is_killed:  # a -wal may mend it
            assert [p.read_bytes() for p in aside if p.name.endswith("Z")] == [damaged]
            assert "StoreDamaged" in story.setpoint("events")
        if damage is GARBAGE_ROWS:
            assert Path(f"{path}.bad-rows").read_text().count("\n") >= 3
            assert not aside
    # A page that is found damaged as it is written to has all of it written again, a moment later.
    eventually(lambda: (s := read_status(path)) and set(KEYS) <= set(map(str, s.objects)), "all is stored")
    assert {o["restarts"] for o in story.status()["objects"]} == {0}


def test_of_a_newer_setpoint(story: Story) -> None:
    """Refused with what to do, and left as it is; what runs goes on."""
    story.apply({"shop/compose.yaml": COMPOSE})
    path, pid = story.layout.database, story.pid(KEYS[0])
    story.setpoint("agent", "stop")
    run_sql("UPDATE alembic_version SET version_num = '9999'")(path)
    before = path.read_bytes()
    story.setpoint("agent", "--watch", story.tree, "--metrics", "", code=1)
    assert "version '9999'" in story.said
    assert "move the file aside" in story.said
    assert path.read_bytes() == before
    assert is_alive(pid)
    path.rename(path.with_name("setpoint.db.of-the-newer"))
    story.start_agent()
    story.setpoint("wait", "--for", "ready", "--timeout", "20s")
    assert story.pid(KEYS[0]) == pid
