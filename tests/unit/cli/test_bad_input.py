"""Every verb, given what is wrong, as a process: one sentence on stderr, a hint, exit code 1, and never a
traceback. Usage errors are 1 like all others: there is nothing that a script could do differently."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli import main

ROOT = Path(__file__).resolve().parents[3]
NAME = f"t{secrets.token_hex(4)}"  # no such instance
TALKS_TO_THE_AGENT = (
    ("get",), ("describe", "shop/web"), ("why", "shop/web"), ("events",), ("logs", "shop/web"), ("stats",),
    ("top", "shop/web"), ("plan",), ("sync",), ("wait", "--timeout", "1s"), ("restart", "shop/web"),
    ("suspend", "shop/web"), ("resume", "shop/web"), ("prune",), ("exec", "shop/web", "true"),
    ("image", "ls"), ("image", "rm", "x"), ("network", "ls"), ("volume", "ls"), ("volume", "rm", "x"),
    ("agent", "stop"), ("system", "df"), ("system", "prune"), ("image", "update"), ("image", "leases"),
    ("image", "hold", "x"), ("image", "release", "x"),
)  # fmt: skip
WRONG_WORDS = (
    ("",),
    ("-",),
    ("--",),
    ("--no-such",),
    ("\udcff",),
    ("a" * 5000,),
    ("status", "\x1b[31m"),
    ("get", "--output"),
    ("get", "-o", "nonsense"),
    ("events", "--tail", "-1"),
    ("logs", "--tail", "many", "x"),
    ("wait", "--timeout", "-1"),
    ("wait", "--timeout", "1e400s"),
    ("exec",),
    ("explain", "no.such.field"),
    ("completion", "tcsh"),
    ("image", "nope"),
    ("agent", "nope"),
    ("schema", "--no-such"),
    ("--instance",),
    ("--instance", "../x", "status"),
    ("--instance", "", "status"),
    ("agent", "--metrics", "nonsense"),
    ("agent", "--watch", "/a", "--git", "/b"),
    ("agent", "--watch", "/dev/null"),
    ("agent", "--image-marks", "80:85", "--watch", "/"),
    ("agent", "--image-marks", "much", "--watch", "/"),
    ("system",),
    ("system", "prune", "--filter", "label=x"),
    ("system", "prune", "-o", "json"),
    ("image", "lock", "--offline"),
    ("image", "lock", "/dev/null"),
    ("image", "hold", "x", "--for", "long"),
)


def setpoint(*words: str, instance: str = NAME) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SETPOINT_INSTANCE": instance, "LC_ALL": "C.UTF-8"}
    environment.pop("SETPOINT_DEBUG", None)
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *words], cwd=ROOT, env=environment, capture_output=True,
        text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[str]) -> str:
    """One error, in at most a hint's line more; said nowhere else, and by nobody's traceback."""
    shown = f"{done.args[3:]}: exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 1, shown
    assert "Traceback" not in done.stderr + done.stdout, shown
    assert "a bug in Setpoint" not in done.stderr, shown
    lines = done.stderr.splitlines()
    assert lines and lines[0].startswith("error: "), shown
    assert len(lines) <= 2 and all(line.startswith("hint: ") for line in lines[1:]), shown
    assert "\x1b" not in done.stderr, shown
    return done.stderr


def all_at_once(calls: list[tuple[str, ...]], instance: str = NAME) -> list[subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda words: setpoint(*words, instance=instance), calls))


def test_wrong_words() -> None:
    for done in all_at_once([words for words in WRONG_WORDS if not any("\0" in word for word in words)]):
        check(done)


def test_every_verb_refuses_an_option_that_it_has_not() -> None:
    for done in all_at_once([(verb, "--no-such-option") for verb in main.VERBS if verb != "oci"]):
        assert "hint: " in check(done)


def test_without_an_agent_the_hint_says_how_to_start_one() -> None:
    for done in all_at_once(list(TALKS_TO_THE_AGENT)):
        if done.returncode == 0:  # what can be known without one
            assert done.args[3] in ("agent", "image", "volume", "network", "events", "get"), done
            continue
        assert "hint: " in check(done)


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    def made(name: str, content: bytes) -> str:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "compose.yaml").write_bytes(content)
        return str(directory)

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    deep = b"a: " + b"[" * 5000
    places = [
        "/no/such",
        "/dev/null",
        "/proc/self/mem",
        str(loop),
        "x" * 5000,
        "",
        made("binary", bytes(range(256)) * 50),
        made("utf16", "services: {}".encode("utf-16")),
        made("huge", b"#" * (5 << 20)),
        made("deep", deep),
        made("nul", b"services:\0{}"),
        made("list", b"- a\n"),
        made("scalar", b"5\n"),
        made("types", b"services: {a: {image: [1], scale: {}}}\n"),
        made("bomb", b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nservices: *c\n"),
    ]
    for done in all_at_once([("validate", place) for place in places]):
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr + done.stdout and "a bug in" not in done.stderr, done
        assert done.stderr.strip() or done.stdout.strip(), done


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A socket where the agent's should be, of a program that says something else."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def run_directory() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may put a socket into /run")
    directory = Path("/run", NAME)
    directory.mkdir()
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]",
        b"\xff" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["nothing", "ssh", "html", "500", "binary", "list", "null", "cut", "length", "empty"],
)
def test_the_socket_of_another_program(run_directory: Path, answer: bytes) -> None:
    with answering(run_directory / "setpoint.sock", answer):
        for done in all_at_once(
            [("get",), ("logs", "shop/web"), ("plan",), ("exec", "shop/web", "true"), ("stats",)]
        ):
            check(done)


def test_what_is_no_socket_and_what_nobody_listens_on(run_directory: Path) -> None:
    path = run_directory / "setpoint.sock"
    path.write_text("x")
    check(setpoint("get"))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    check(setpoint("get"))


def test_no_permission(run_directory: Path) -> None:
    """As somebody who is not root and in no group of the agent's."""
    for words in (["get"], ["exec", "shop/web", "true"]):  # what they import need not be readable for nobody
        assert main.main(["--instance", NAME, *words]) == 1
    with answering(run_directory / "setpoint.sock", b""):
        (run_directory / "setpoint.sock").chmod(0o600)
        for words in (["get"], ["exec", "shop/web", "true"]):
            code, errors = as_nobody(["--instance", NAME, *words])
            assert code == 1 and errors.startswith("error: ") and "\nhint: " in errors, errors
            assert "root" in errors or "permi" in errors.lower(), errors


def as_nobody(words: list[str]) -> tuple[int, str]:
    """A verb in a forked process without rights: its exit code and what it says."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        code = 99
        try:
            code = main.main(words)
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        errors = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors


def test_a_reader_that_goes_away() -> None:
    for verb in ("schema", "explain", "--help", "completion bash", "doctor"):
        line = f"set -o pipefail; {sys.executable} -m agent.cli {verb} | head -c 1"
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stderr == "", (verb, done)
        assert done.returncode in (0, 1), (verb, done)


def test_a_full_disk_behind_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli", "schema"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: ")
        and "No space left" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_an_interrupt(run_directory: Path) -> None:
    """Ctrl-C while a verb waits: 130, and silence."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_directory / "setpoint.sock"))
        listener.listen()
        # Ignored where the tests run in the background, and what is started inherits that (signal(7)).
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "--instance", NAME, "get"],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        listener.settimeout(30)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)  # it waits for the answer now
            time.sleep(0)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
