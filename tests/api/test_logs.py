"""Logs: by the CLI, docker-py and the very answers."""

from __future__ import annotations

import re
import subprocess
import time
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.api.streams import frames, upgraded
from tests.e2e.story import eventually

BOTH = {"stdout": 1, "stderr": 1}
STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
LINES = "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo out$i; echo err$i >&2; sleep 0.02; done"


def _run(host: Host, name: str, script: str, *words: str) -> None:
    """To its end, unless it has none."""
    host.docker("run", "-d", "--network", "none", *words, "--name", name, "busybox", "sh", "-c", script)


def _ended(host: Host, name: str) -> None:
    eventually(
        lambda: not host.http("GET", f"/containers/{name}/json").json["State"]["Running"], "it has ended"
    )


def _logs(host: Host, name: str, **query: Any) -> list[tuple[int, bytes]]:
    answer = host.http("GET", f"/containers/{name}/logs", query={**BOTH, **query})
    assert answer.status == 200, answer.body
    return list(frames(answer.body))


def test_a_frame_is_a_line(either: Host, name: str) -> None:
    _run(either, name, LINES)
    _ended(either, name)
    found = _logs(either, name)
    assert [text for stream, text in found if stream == 1] == [b"out%d\n" % i for i in range(1, 6)]
    assert [text for stream, text in found if stream == 2] == [b"err%d\n" % i for i in range(1, 6)]
    assert [text for _, text in _logs(either, name, stderr=0)] == [b"out%d\n" % i for i in range(1, 6)]


@pytest.mark.parametrize(
    ("tail", "count"), [("all", 10), ("", 10), ("0", 0), ("3", 3), ("1000", 10), ("-1", 10)]
)
def test_tail(either: Host, name: str, tail: str, count: int) -> None:
    _run(either, name, LINES)
    _ended(either, name)
    assert _logs(either, name, tail=tail) == _logs(either, name)[10 - count :]


def test_moments(either: Host, name: str) -> None:
    _run(either, name, LINES)
    _ended(either, name)
    lines = _logs(either, name, timestamps=1)
    stamps = []
    for _stream, text in lines:
        found = STAMP.match(text)
        assert found is not None, text
        stamps.append(found[0].decode().strip())
    assert [(stream, STAMP.sub(b"", text)) for stream, text in lines] == _logs(either, name)
    middle = stamps[4]
    exact = (
        f"{int(time.mktime(time.strptime(middle[:19], '%Y-%m-%dT%H:%M:%S'))) - time.timezone}.{middle[20:29]}"
    )
    # By its moment: which of two streams is written first is nobody's promise.
    moments = list(zip(stamps, lines, strict=True))
    since, until = (
        _logs(either, name, since=exact, timestamps=1), _logs(either, name, until=exact, timestamps=1)
    )  # fmt: skip
    assert since == [line for stamp, line in moments if stamp >= middle]
    assert until == [line for stamp, line in moments if stamp <= middle]
    assert _logs(either, name, since="0", until="0") == _logs(either, name)
    assert _logs(either, name, until="1") == []
    if either.is_ours:  # dockerd leaves that to its command line
        assert len(_logs(either, name, since=middle[:19] + "Z")) >= 6


def test_by_the_cli(either: Host, name: str) -> None:
    _run(either, name, LINES)
    _ended(either, name)
    done = either.docker("logs", name)
    assert (done.stdout.split(), done.stderr.split()) == (
        [f"out{i}" for i in range(1, 6)], [f"err{i}" for i in range(1, 6)],
    )  # fmt: skip
    assert either.docker("logs", "--since", "10m", "-n", "2", name).stdout.split() == ["out5"]
    assert either.docker("logs", "--until", "10m", name).stdout == ""
    assert either.docker("logs", "--details", name).stdout.startswith(" out1\n")


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [("1.41", False, "raw"), ("1.42", False, "multiplexed"), ("1.45", True, "raw")],
)
def test_the_type(either: Host, name: str, version: str, tty: bool, kind: str) -> None:
    _run(either, name, "echo a; echo b", *(["-t"] if tty else []))
    _ended(either, name)
    answer = either.http("GET", f"/v{version}/containers/{name}/logs", query=BOTH)
    assert answer.headers["content-type"] == f"application/vnd.docker.{kind}-stream"
    assert answer.body == b"a\r\nb\r\n" if tty else list(frames(answer.body)) == [(1, b"a\n"), (1, b"b\n")]


def test_long_lines_and_odd_bytes(either: Host, name: str) -> None:
    script = r"head -c 100000 /dev/zero | tr '\0' x; echo; printf 'a\r\0\n\n'; printf unfinished"
    _run(either, name, script)
    _ended(either, name)
    found = b"".join(text for _, text in _logs(either, name))
    assert found == b"x" * 100_000 + b"\na\r\0\n\nunfinished" + (b"\n" if either.is_ours else b"")


def test_bytes_that_are_no_text(either: Host, name: str) -> None:
    _run(either, name, r"printf '\377\n'")
    _ended(either, name)
    [(_stream, text)] = _logs(either, name)
    either.agrees("a byte that is no text in a log", text, b"\xff\n")


def test_follow_to_the_end(either: Host, name: str) -> None:
    _run(either, name, "echo first; sleep 1000")
    with subprocess.Popen(
        ["docker", "logs", "-f", name], env=either.environment, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "first\n"
        either.docker("kill", name)
        assert following.stdout.read() == ""
        assert following.wait(20) == 0


def test_what_comes_is_seen_at_once_and_in_order(host: Host, http: Http, name: str) -> None:
    _run(host, name, "i=0; while read a; do i=$((i+1)); echo $i-$a; done", "-t", "-i")
    connection, answer = http.stream("GET", f"/containers/{name}/logs", query={**BOTH, "follow": 1})
    attached, _head = upgraded(http, f"/containers/{name}/attach?stream=1&stdin=1")
    for number in range(1, 20):
        attached.sendall(b"word\n")
        assert answer.readline() == b"word\r\n"
        assert answer.readline() == b"%d-word\r\n" % number
    attached.close()
    connection.close()


def test_a_log_that_is_rotated_is_followed(host: Host, http: Http, name: str) -> None:
    """No line twice, and none is missing."""
    options = ("--log-opt", "max-size=100k", "--log-opt", "max-file=5")
    _run(host, name, "sleep 0.3; i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo $i; done", *options)
    connection, answer = http.stream("GET", f"/containers/{name}/logs", query={**BOTH, "follow": 1})
    assert [int(text) for _, text in frames(answer.read())] == list(range(1, 4001))
    connection.close()


@pytest.mark.parametrize("query", ["", "stdout=0", "stdout=1&since=yesterday", "stdout=1&until=x"])
def test_what_is_refused(either: Host, name: str, query: str) -> None:
    _run(either, name, "true")
    answer = either.http("GET", f"/containers/{name}/logs?{query}")
    either.agrees(f"logs with {query}" if "=" in query else "logs", answer.status, 400)
    assert either.http("GET", "/containers/no-such-one/logs?stdout=1").status == 404


@pytest.mark.parametrize("word", ["tail=few", "since=inf", "since=nan", "since=1e300", "until=-1"])
def test_what_means_nothing_is_refused(host: Host, http: Http, name: str, word: str) -> None:
    _run(host, name, "true")
    assert http("GET", f"/containers/{name}/logs?stdout=1&{word}").status == 400


def test_docker_py(client: Any, name: str) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo one; echo two >&2; echo three"], name=name, network_mode="none",
        detach=True,
    )  # fmt: skip
    assert list(container.logs(stream=True, follow=True, stderr=False)) == [b"one\n", b"three\n"]
    assert container.logs(stdout=False) == b"two\n"


def test_attributes_of_lines(either: Host, name: str) -> None:
    """As the log options ask for them; a value is escaped, so that none looks like another."""
    words = ("--label", "a=b c", "--label", "not=asked", "-e", "E=f,g=h", "--log-opt", "labels=a,none")
    tag = ("--log-opt", "env=E", "--log-opt", "tag={{.Name}}/{{.ID}}")
    either.docker("run", "--name", name, "--network", "none", *words, *tag, "busybox", "echo", "hi")
    id = either.http("GET", f"/containers/{name}/json").json["Id"]
    shown = f"E=f%2Cg%3Dh,a=b+c,tag={name}%2F{id[:12]} hi\n"
    assert either.docker("logs", "--details", name).stdout == shown
    assert either.docker("logs", name).stdout == "hi\n"
