"""The small parts around the agent's process: settings, log, sd_notify, the lock, and the client's HTTP."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote as standard_quote

import pytest

from agent import daemon, log, systemd
from agent.client import Client
from agent.settings import VERSION, Settings
from agent.wire import AgentDown, quote
from runtime.errors import Conflict, Invalid
from runtime.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[3]

# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("127.0.0.1:9469", ("127.0.0.1", 9469)), ("[::1]:80", ("::1", 80)), ("", None), ("h:0", ("h", 0))],
)
def test_a_metrics_address(address: str, endpoint: object) -> None:
    assert Settings(metrics_address=address).metrics_endpoint() == endpoint


@pytest.mark.parametrize("address", ["9469", ":9469", "h:", "h:x", "h:70000", "h:-1"])
def test_what_is_no_metrics_address(address: str) -> None:
    with pytest.raises(Invalid, match="not an address"):
        Settings(metrics_address=address)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(Invalid, match="give --watch or --git"):
        Settings(watch=Path("/x"), git_url="https://example.org/x.git")
    with pytest.raises(Invalid, match="one of debug, info, warning, error"):
        Settings(log_level="loud")
    with pytest.raises(Invalid, match="not a time above zero"):
        Settings(full_pass_seconds=0)


def test_the_version_is_that_of_the_package() -> None:
    assert f'\nversion = "{VERSION}"\n' in (REPOSITORY / "pyproject.toml").read_text()


# --- log ------------------------------------------------------------------------------------------


def test_a_log_entry_is_one_line_of_ascii_json() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "bad %s", ("\x1b[31m\n\udcff",), None)
    line = log.JsonFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["message"] == "bad \x1b[31m\n\udcff"


def test_a_traceback_stays_in_its_entry() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "m", (), sys.exc_info())
    assert json.loads(log.JsonFormatter().format(record))["traceback"].endswith("ValueError: x")


def test_the_agents_log_is_bounded(tmp_path: Path) -> None:
    code = """
import logging, sys
from pathlib import Path
from agent import log
log.MAX_BYTES = 20_000
log.set_up("info", "auto", Path(sys.argv[1]))
for number in range(1000):
    logging.info("entry %d %s", number, "x" * 100)
print("on stdout", flush=True)
"""
    path = tmp_path / "agent.log"
    with path.open("ab") as file:
        command = [sys.executable, "-c", code, str(path)]
        subprocess.run(command, stdout=file, stderr=file, check=True, cwd=REPOSITORY)
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 20_100
    lines = path.read_text().splitlines()
    assert lines[-1] == "on stdout"
    assert json.loads(lines[-2])["message"].startswith("entry 999 ")


# --- systemd --------------------------------------------------------------------------------------


def test_notify_reaches_a_path_and_an_abstract_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    abstract = f"setpoint-test-{os.getpid()}"
    for address, name in ((str(tmp_path / "n"), str(tmp_path / "n")), (f"\0{abstract}", f"@{abstract}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            systemd.notify("READY=1")
            assert manager.recv(100) == b"READY=1"


def test_notify_does_nothing_where_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", "relative", str(tmp_path / "nobody"), "/dev/null"):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        systemd.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify("READY=1")


def test_the_watchdogs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert systemd.watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.watchdog_seconds() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "x")
    assert systemd.watchdog_seconds() is None


# --- the lock -------------------------------------------------------------------------------------


def test_the_lock_is_one_processs_and_ends_with_it(tmp_path: Path) -> None:
    layout = Layout("t", tmp_path / "lib", tmp_path / "run")
    daemon.prepare(layout)
    with (
        daemon.instance_lock(layout),
        pytest.raises(Conflict, match=f"pid {os.getpid()}"),
        daemon.instance_lock(layout),
    ):
        raise AssertionError("two hold it")
    with daemon.instance_lock(layout):
        pass


# --- the client's HTTP ----------------------------------------------------------------------------


def test_quoting_is_the_standards() -> None:
    for text in ("shop/web", "a b&c=d?e#f", "ä€", "%2f", "~-._", "\x00\n"):
        assert quote(text, "/") == standard_quote(text)
        assert quote(text) == standard_quote(text, safe="")


def answering(tmp_path: Path, answer: bytes) -> Client:
    """A client of something that says `answer` to whatever comes, and closes."""
    path = str(tmp_path / "s")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        connection.recv(65536)
        connection.sendall(answer)
        connection.close()
        server.close()

    threading.Thread(target=serve, daemon=True).start()
    return Client(path, timeout_seconds=5)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "went away"),
        (HEAD + b"Content-Length: 4\r\n\r\nnope", "does not speak JSON"),
        (b"hello\r\n\r\n", "does not speak HTTP"),
        (HEAD + b"Content-Length: 50\r\n\r\n{}", "went away"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "went away"),
        (HEAD + b"X: y\r\n" * 20_000 + b"\r\n", "broke the protocol"),
        (HEAD + b"X: " + b"y" * 200_000, "broke the protocol"),
    ],
)
def test_a_broken_answer_is_said(tmp_path: Path, answer: bytes, reason: str) -> None:
    with pytest.raises(AgentDown, match=reason):
        answering(tmp_path, answer).status()


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b'Content-Length: 12\r\n\r\n{"ready": 1}',
        HEAD + b'\r\n{"ready": 1}',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"re\r\n8;x=y\r\nady": 1}\r\n0\r\nT: r\r\n\r\n',
    ],
)
def test_every_form_of_a_body_is_read(tmp_path: Path, answer: bytes) -> None:
    assert answering(tmp_path, answer).get("/status") == {"ready": 1}


def test_the_client_imports_nothing_heavy() -> None:
    code = """
import sys, agent.client
heavy = ("http.client", "email", "asyncio", "urllib.parse", "typing", "pathlib", "dataclasses")
print([name for name in heavy if name in sys.modules])
"""
    found = []
    for text in (code, code.replace(", agent.client", "")):
        run = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True)
        found.append(run.stdout)
    assert found[0] == found[1] != "", "the client's own imports brought one of them"
