"""F5: clients of attach, exec, resize, logs, events and websockets that break off at any moment, as often as
SETPOINT_BREAKS says (1,000): nothing of them is left in the agent or the supervisor, and a client that does
not read holds nobody up."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.api.trimming import QUIET_SECONDS
from agent.client import Client
from runtime.layout import Layout
from tests.api.http_client import Http, connected
from tests.e2e.story import PROGRAM, Story

BREAKS = int(os.environ.get("SETPOINT_BREAKS", "1000"))
WARM = 300  # before the base is taken: of each kind some, many at once, so that pools and buffers are made
WORKERS = 16
POOL = min(32, (os.cpu_count() or 1) + 4)
REST_SECONDS = 120.0  # an exec that waits to be resized does so for ten
PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 1.05  # with 2,048 execs, which are known for a while by design: 1.3 MB
NAMES_BYTES = 1 << 20  # the interpreter's table of interned names doubles once in an agent's life
FLOOD_BYTES = 8 << 20  # while fifty do not read
UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
BOTH = "stream=1&stdout=1&stderr=1"


@pytest.fixture
def story(instance: Layout, busybox_archive: Path, tmp_path: Path) -> Iterator[Story]:
    """An agent with three containers: one that says much, one that listens, one that never starts."""
    if os.geteuid() != 0 or not PROGRAM.exists():
        pytest.skip("needs root, and ops/up or ops/test to have made the program")
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    story.start_agent()
    try:
        story.setpoint("image", "load", busybox_archive)
        http = Http(story.layout.agent_socket)
        _create(http, "loud", "while :; do seq 1000; sleep 0.05; done", Tty=False)
        # It says a word first: from then on the supervisor has its log open, whoever types at it afterwards.
        _create(http, "ear", "echo awake; cat > /dev/null; sleep 1000", OpenStdin=True, Tty=True)
        _create(http, "never", "true", OpenStdin=True)
        for name in ("loud", "ear"):
            assert http("POST", f"/containers/{name}/start").status == 204
        yield story
    finally:
        story.take_down()


def _create(http: Http, name: str, script: str, **fields: Any) -> None:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none"}, **fields}
    answer = http("POST", "/containers/create", body, query={"name": name})
    assert answer.status == 201, answer.body


# --- what is counted ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    descriptors: int
    threads: int
    tasks: int
    supervisor_descriptors: int

    def is_within(self, base: Counted) -> bool:
        """Threads are those of a pool, which is full some day."""
        most = replace(base, threads=base.threads + POOL)
        return all(getattr(self, name) <= getattr(most, name) for name in self.__dataclass_fields__)


def _count(story: Story) -> Counted:
    agent, supervisor = story.agent_pid(), _supervisor(story)
    return Counted(
        descriptors=len(os.listdir(f"/proc/{agent}/fd")),
        threads=len(os.listdir(f"/proc/{agent}/task")),
        tasks=_tasks(story),
        supervisor_descriptors=len(os.listdir(f"/proc/{supervisor}/fd")),
    )


def _shown(story: Story) -> str:
    """What is open, for whoever has to find out what was left."""
    found = []
    for pid in (story.agent_pid(), _supervisor(story)):
        links = sorted(os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
        found.append(f"{pid}: {' '.join(links)}")
    return "\n".join(found)


def _supervisor(story: Story) -> int:
    """The parent of a container's first process."""
    http = Http(story.layout.agent_socket)
    pid = http("GET", "/containers/loud/json").json["State"]["Pid"]
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _tasks(story: Story) -> int:
    address = Client(story.layout.agent_socket).version()["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("setpoint_tasks ")).split()[1]))


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


# --- who breaks off -------------------------------------------------------------------------------


class Breaker:
    """Clients of all kinds, each of which ends at a moment of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._http = Http(path)

    def break_off(self, seed: int) -> None:
        chance = random.Random(seed)
        kinds: tuple[Callable[[random.Random], bytes], ...] = (
            self._attach, self._attach, self._websocket, self._exec, self._exec, self._resize, self._logs,
            self._events,
        )  # fmt: skip
        request = chance.choice(kinds)(chance)
        with connected(self._path, 20.0) as connection, contextlib.suppress(ConnectionError):
            if chance.random() < 0.1:
                connection.sendall(request[: chance.randrange(1, len(request))])
                return
            connection.sendall(request)
            if chance.random() < 0.2:
                return
            for _ in range(chance.randrange(4)):
                connection.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    connection.recv(chance.choice((1, 500, 100_000)))
            if chance.random() < 0.5:
                connection.sendall(b"a word\n" * chance.choice((1, 1000)))
            if chance.random() < 0.3:
                connection.shutdown(chance.choice((socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR)))
            time.sleep(chance.choice((0.0, 0.0, 0.01)))

    def _attach(self, chance: random.Random) -> bytes:
        name = chance.choice(("loud", "ear", "never"))
        upgrade = chance.choice(("", UPGRADE))
        query = f"{BOTH}&stdin={chance.randrange(2)}&logs={chance.randrange(2)}"
        return _post(f"/containers/{name}/attach?{query}", upgrade)

    def _websocket(self, chance: random.Random) -> bytes:
        name = chance.choice(("loud", "ear", "never"))
        key = base64.b64encode(chance.randbytes(16)).decode()
        head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        return (
            f"GET /v1.45/containers/{name}/attach/ws?{BOTH}&stdin=1 HTTP/1.1\r\nHost: x\r\n{head}"
            f"Sec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()

    def _exec(self, chance: random.Random) -> bytes:
        script = chance.choice(("cat", "seq 20000", "true", "read -t 1 a", "no-such-program"))
        is_terminal = chance.random() < 0.3 and script != "cat"  # which would wait for ever, rightly
        body = {
            "Cmd": script.split() if script != "read -t 1 a" else ["sh", "-c", script], "Tty": is_terminal,
            "AttachStdin": chance.random() < 0.7 or script == "cat", "AttachStdout": True,
            "AttachStderr": chance.random() < 0.5,
        }  # fmt: skip
        answer = self._http("POST", "/containers/ear/exec", body)
        assert answer.status == 201, answer.body
        wanted = {"Tty": is_terminal, "Detach": chance.random() < 0.1 and script != "cat"}
        return _post(f"/exec/{answer.json['Id']}/start", chance.choice(("", UPGRADE)), wanted)

    def _resize(self, chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return _post("/containers/ear/resize?h=10&w=10")
        answer = self._http("POST", "/containers/ear/exec", {"Cmd": ["true"], "Tty": True})
        return _post(f"/exec/{answer.json['Id']}/resize?h=10&w=10")  # which waits for its start

    def _logs(self, chance: random.Random) -> bytes:
        query = f"stdout=1&stderr=1&follow={chance.randrange(2)}&tail={chance.choice(('all', '10'))}"
        return f"GET /containers/loud/logs?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    def _events(self, chance: random.Random) -> bytes:
        return f"GET /events?since={chance.choice(('0', '1h'))} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _post(path: str, headers: str = "", body: Any = None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    if data:
        headers += "Content-Type: application/json\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _break_off(story: Story, seeds: range) -> None:
    breaker = Breaker(story.layout.agent_socket)
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(breaker.break_off, seeds):
            pass


def _rested(story: Story, base: Counted | None) -> Counted:
    """Once nothing is more than at the base; with no base, once nothing changes any more."""
    deadline = time.monotonic() + REST_SECONDS
    found, last = _count(story), None
    while not (found == last if base is None else found.is_within(base)):
        assert time.monotonic() < deadline, f"{found} does not come back to {base}:\n{_shown(story)}"
        time.sleep(0.6)  # the page of metrics is kept so long
        last, found = found, _count(story)
    return found


def _quiet_memory(pid: int, most: float) -> int:
    """Once it is below; what it is when it stays above. The agent gives back what a storm left free when that
    has been over for a while (`agent.api.trimming`)."""
    deadline = time.monotonic() + 3 * QUIET_SECONDS
    while (found := _memory(pid)) >= most and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def test_f5_clients_that_break_off_leave_nothing(story: Story) -> None:
    _break_off(story, range(-WARM, 0))
    base = _rested(story, None)
    agent, supervisor = story.agent_pid(), _supervisor(story)
    before = (_memory(agent), _memory(supervisor))
    most = (before[0] * GROWTH + NAMES_BYTES, before[1] * GROWTH)
    _break_off(story, range(BREAKS))
    _rested(story, base)
    after = (_quiet_memory(agent, most[0]), _quiet_memory(supervisor, most[1]))
    print(f"\n{BREAKS} clients: agent and supervisor had {before} bytes, have {after}; {base} before")
    assert after[0] < most[0]
    assert after[1] < most[1]
    assert story.agent_pid() == agent
    log = (story.layout.data / "agent.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]


def test_f5_clients_that_listened_to_silence_leave_nothing(story: Story) -> None:
    """Nothing is ever written to them, by which it would be found that they are gone."""
    base = _rested(story, None)
    for number in range(30):
        with connected(story.layout.agent_socket) as connection:
            connection.sendall(_post(f"/containers/never/attach?{BOTH}", UPGRADE))
            assert connection.recv(1000).startswith(b"HTTP/1.1 101")
            if number % 2:
                connection.shutdown(socket.SHUT_WR)
    _rested(story, base)


def test_f5_a_client_that_does_not_read_holds_nobody_up(story: Story) -> None:
    """Fifty that follow a flood and read nothing: the agent answers, others get what they ask for, and
    memory stays as it is."""
    http = Http(story.layout.agent_socket)
    _create(http, "flood", "while :; do seq 100000; done")
    assert http("POST", "/containers/flood/start").status == 204
    before = _memory(story.agent_pid())
    with contextlib.ExitStack() as stack:
        for number in range(50):
            connection = stack.enter_context(connected(story.layout.agent_socket))
            path = "logs?stdout=1&follow=1" if number % 2 else "attach?stream=1&stdout=1"
            method = "GET" if number % 2 else "POST"
            connection.sendall(f"{method} /containers/flood/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(100):
            assert http("GET", "/_ping").status == 200
        stream, answer = http.stream("GET", "/containers/flood/logs?stdout=1&follow=1&tail=0")
        assert len(answer.read(1 << 20)) == 1 << 20
        stream.close()
        assert _memory(story.agent_pid()) < before + 50 * (1 << 20) + FLOOD_BYTES
    assert http("DELETE", "/containers/flood?force=1").status == 204
