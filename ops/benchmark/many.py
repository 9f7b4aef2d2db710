"""Many objects, of which nearly all have no process: what one change, a commit without one, and nothing at
all cost an engine that knows 1,000 and 10,000. Only for Setpoint: the others hold no such desired state.

A machine of this size runs no 10,000 containers. `scale: 0` objects are read, planned, stored and looked at
like others, and have no process; the one that changes runs.
"""

from __future__ import annotations

import time

from measure import Show, appended, cpu_seconds, idle_share, median, pss_bytes
from setpoint import Setpoint

ROWS: tuple[tuple[str, str, Show], ...] = (
    ("first", "COUNT objects without a process, commit to all settled", lambda v: f"{v:.1f} s"),
    ("change", "one change among COUNT, commit to the new one running", lambda v: f"{v * 1000:.0f} ms"),
    ("nothing", "a commit that changes none of COUNT, engine CPU", lambda v: f"{v * 1000:.0f} ms"),
    ("memory", "engine memory with COUNT (PSS)", lambda v: f"{v / 1e6:.0f} MB"),
    ("idle", "engine CPU while nothing happens, with COUNT (of one core)", lambda v: f"{v * 100:.2f} %"),
)
CHANGES = 7
RESTING = """\
apiVersion: setpoint/v1
kind: Container
metadata: {{name: c{n}, labels: {{tier: back}}}}
spec:
  image: busybox:latest
  scale: 0
  command: [sleep, '1000000']
  environment: {{A: one, B: two}}
"""
CHANGED = """\
services:
  heal:
    image: busybox:latest
    command: [sh, -c, "echo x >>/marks/heal; exec sleep 1000001"]
    environment: {{ROUND: "{round}"}}
    stop_signal: SIGKILL
    volumes: ["{marks}:/marks"]
"""


def measure_many(peer: Setpoint, count: int, idle_seconds: float) -> dict[str, float]:
    """Rows of the table, by their keys; the engine has no more than `count` objects at first."""
    found = _measure(peer, count, idle_seconds)
    return {f"{name}_{count}": value for name, value in found.items()}


def _measure(peer: Setpoint, count: int, idle_seconds: float) -> dict[str, float]:
    write(peer, count)
    change(peer, 0)
    commit = prepare(peer)  # git's own work over so many new files takes as long again
    began = time.perf_counter()
    move(peer, commit)
    peer.setpoint("sync")
    peer.setpoint("wait", "--for", "ready", "--timeout", "300s")
    numbers = {"first": time.perf_counter() - began}
    times = []
    for n in range(1, CHANGES + 1):
        change(peer, count + n)
        commit = prepare(peer)
        with appended(peer.mark()):
            began = time.perf_counter()
            move(peer, commit)
        times.append(time.perf_counter() - began)
        peer.setpoint("wait", "--for", "ready", "--timeout", "30s")
    numbers["change"] = median(times)
    numbers["nothing"] = sum(nothing(peer) for _ in range(CHANGES)) / CHANGES  # the kernel counts in 10 ms
    numbers["memory"] = pss_bytes(peer.engine_pids())
    time.sleep(2.0)
    # A slow pass over everything is among it.
    numbers["idle"] = idle_share(peer.engine_pids(), idle_seconds)
    return numbers


def nothing(peer: Setpoint) -> float:
    """CPU seconds that a commit which changes no object costs the engine."""
    (peer.tree / "README").write_text(f"{time.monotonic_ns()}\n")
    commit = prepare(peer)
    before = cpu_seconds(peer.engine_pids())
    move(peer, commit)
    time.sleep(1.0)
    return cpu_seconds(peer.engine_pids()) - before


def write(peer: Setpoint, count: int) -> None:
    for n in range(count):
        folder = peer.tree / f"p{n // 50}"
        folder.mkdir(exist_ok=True)
        (folder / f"c{n}.yaml").write_text(RESTING.format(n=n))


def change(peer: Setpoint, number: int) -> None:
    text = CHANGED.format(round=number, marks=peer.marks)
    (peer.tree / "bench/compose.yaml").write_text(text)


def prepare(peer: Setpoint) -> str:
    """The commit, all but its name: moving the branch is what makes it wanted."""
    peer.git("add", "-A")
    return peer.git("commit-tree", peer.git("write-tree").strip(), "-p", "HEAD", "-m", "bench").strip()


def move(peer: Setpoint, commit: str) -> None:
    peer.git("update-ref", "refs/heads/main", commit)
