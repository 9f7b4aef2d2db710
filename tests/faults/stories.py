"""The kinds of work that the walk interrupts. Each is one change of what is wanted, or one request, whose
end is the same whatever died on the way."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import SetpointError
from tests.faults.instance import Instance, until

LINES = 150
_COUNT = f"i=0; while [ $$i -lt {LINES} ]; do echo line $$i; i=$$((i+1)); done"
STILL = """\
services:
  clock:
    image: busybox:latest
    command: [sh, -c, 'i=0; while :; do echo tick $$i; i=$$((i+1)); sleep 0.02; done']
    stop_signal: SIGKILL
    restart: always
    logging: {options: {max-size: 50m}}
"""
SHOP = """\
x-base: &base
  image: busybox:latest
  stop_signal: SIGKILL
  restart: always
  networks: [front]
services:
  web:
    <<: *base
    command: [sh, -c, '%(count)s; echo %(word)s >/tmp/index.html; exec httpd -f -p 80 -h /tmp']
    ports: ["127.0.0.1:%(port)d:80"]
    volumes: ["data:/data", "%(bind)s:/bind"]
    environment: {WORD: %(word)s}
    pids_limit: %(pids)d
    healthcheck: {test: [CMD, "true"], interval: 1h, start_period: 1s}
  job:
    <<: *base
    command: [sh, -c, '%(count)s; exec sleep 100000']
    volumes: ["%(bind)s:/bind"]
networks: {front: {}}
volumes: {data: {}}
"""


def bound(instance: Instance) -> Path:
    """What the shop sees at /bind: its file `begun` has a line for each time that a program began."""
    bind = instance.manifests.parent.parent / "bind"
    bind.mkdir(exist_ok=True)
    return bind


def shop(instance: Instance, word: str = "one", pids: int = 100) -> str:
    bind = bound(instance)
    return SHOP % {
        "count": f"echo >>/bind/begun; {_COUNT}",
        "word": word,
        "port": instance.port,
        "bind": bind,
        "pids": pids,
    }


def _no_more(_instance: Instance) -> None:
    """Nothing happens before the work."""


@dataclass(frozen=True)
class Story:
    """name; back: to where it begins; forth: the work that is interrupted. word: what the page of `web` says
    at the end, "" when there is no shop. kept: containers of the shop that nobody may touch. is_wish: `forth`
    is a change of the manifests, which may be asked for again. first: what happens right before `forth`,
    where no kill is. may_restart: whose old version is brought back while the new one cannot start."""

    name: str
    back: Callable[[Instance], None]
    forth: Callable[[Instance], threading.Thread]
    word: str
    kept: tuple[str, ...] = ()
    is_wish: bool = True
    first: Callable[[Instance], None] = _no_more
    may_restart: tuple[str, ...] = ()


def _wants(**fields: object) -> Callable[[Instance], None]:
    def want(instance: Instance) -> None:
        files = {"still": STILL}
        if fields:
            files["shop"] = shop(instance, **fields)  # type: ignore[arg-type]
        instance.write(files)

    return want


def _asks(want: Callable[[Instance], None]) -> Callable[[Instance], threading.Thread]:
    def ask(instance: Instance) -> threading.Thread:
        want(instance)
        return instance.ask()

    return ask


def _run(work: Callable[[], object]) -> threading.Thread:
    """Have it done by somebody who does not mind that it fails."""

    def run() -> None:
        with contextlib.suppress(SetpointError, OSError, ValueError, AssertionError):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def execute(instance: Instance) -> threading.Thread:
    def run() -> None:
        session = instance.client.exec("shop/container/web", ["sh", "-c", "echo out; exec sleep 0.05"])
        with session:
            code, out, _ = session.run()
        if (code, out) != (0, b"out\n"):
            instance.complaints.append(f"exec told {code} and {out!r}")

    return _run(run)


def ask_supervisor(instance: Instance, **message: object) -> bytes:
    """One request to the supervisor, as a client of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(str(instance.layout.supervisor_socket))
        body = json.dumps({"id": 1, **message}).encode()
        sock.sendall(struct.pack("!I", len(body)) + body)
        return sock.recv(65536)


def upgrade(instance: Instance) -> threading.Thread:
    def run() -> None:
        ask_supervisor(instance, op="reexec")
        ask_supervisor(instance, op="ping")

    return _run(run)


def lose_supervisor(instance: Instance) -> threading.Thread:
    instance.kill(agent=False, supervisor=True)
    return _run(lambda: until(instance.has_supervisor, "another supervisor"))


def lose_agent(instance: Instance) -> None:
    instance.kill(agent=True, supervisor=False)


def lose_both(instance: Instance) -> None:
    instance.kill(agent=True, supervisor=True)


def start_agent(instance: Instance) -> threading.Thread:
    instance.start_agent()
    return _run(lambda: until(instance.answers, "another agent"))


_nothing, _one, _two, _limited = (
    _wants(), _wants(word="one"), _wants(word="two"), _wants(word="one", pids=50),
)  # fmt: skip

STORIES = (
    Story("create", _nothing, _asks(_one), "one"),
    Story("replace", _one, _asks(_two), "two", kept=("job",), may_restart=("web",)),
    Story("limit", _one, _asks(_limited), "one", kept=("web", "job")),
    Story("delete", _one, _asks(_nothing), ""),
    Story("exec", _one, execute, "one", kept=("web", "job"), is_wish=False),
    Story("upgrade", _one, upgrade, "one", kept=("web", "job"), is_wish=False),
    Story("adoption", _one, lose_supervisor, "one", kept=("web", "job"), is_wish=False),
    Story("agent-start", _one, start_agent, "one", ("web", "job"), is_wish=False, first=lose_agent),
    Story("both-start", _one, start_agent, "one", ("web", "job"), is_wish=False, first=lose_both),
)

# --- under load


def _crowd(instance: Instance) -> None:
    service = {
        "image": "busybox:latest",
        "command": ["sh", "-c", f"{_COUNT}; exec sleep 100000"],
        "stop_signal": "SIGKILL",
        "restart": "always",
    }
    services = {f"c{number}": service for number in range(CROWD_SIZE)}
    instance.write({"still": STILL, "crowd": json.dumps({"services": services})})


CROWD_SIZE = 20
CROWD = Story("crowd", _nothing, _asks(_crowd), "")
CROWD_AGAIN = Story("crowd-goes", _crowd, _asks(_nothing), "")
