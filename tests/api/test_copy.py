"""`docker cp`, `diff` and `export` by real clients, beside dockerd's own answers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api.early_reader import MAX_BODY_BYTES
from tests.api.host import Host
from tests.e2e.story import eventually
from tests.threats.raw_http import connected

SCRIPT = """
mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s /d /link
ln -s sub/two /d/rel; ln -s gone /d/broken; mkfifo /d/pipe; echo v >/data/v
touch -d @1000000000 /d/one; chown 70:71 /d/one; chmod 4750 /d/one
touch /ready; exec sleep 1000
"""
ARCHIVE = "/containers/{}/archive"


def tar(*entries: tuple[str, bytes | None], **fields: Any) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content or b""), 0o644 if content is not None else 0o755
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            for key, value in fields.items():
                setattr(info, key, value)
            made.addfile(info, io.BytesIO(content or b""))
    return data.getvalue()


@pytest.fixture
def run(either: Host, name: str) -> str:
    """A container that runs and has files of all kinds."""
    options = ("--network", "none", "-v", "/data", "--tmpfs", "/scratch")
    either.docker("run", "-d", "--name", name, *options, "busybox", "sh", "-c", SCRIPT)
    until_there(either, name)
    return name


def until_there(host: Host, name: str) -> None:
    query = {"path": "/ready"}
    eventually(
        lambda: host.http("HEAD", ARCHIVE.format(name), query=query).status == 200, "its files are filled"
    )


@pytest.fixture(params=["running", "paused", "stopped"])
def container(either: Host, run: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The same, in each state."""
    if request.param == "paused":
        either.docker("pause", run)
    elif request.param == "stopped":
        either.docker("kill", run)
        either.docker("wait", run)
    yield run
    if request.param == "paused":
        either.docker("unpause", run)


def head(host: Host, name: str, path: str) -> tuple[int, dict[str, Any]]:
    answer = host.http("HEAD", ARCHIVE.format(name), query={"path": path})
    told = answer.headers.get("x-docker-container-path-stat", "")
    return answer.status, json.loads(base64.b64decode(told)) if told else {}


def got(host: Host, name: str, path: str) -> dict[str, tuple[bytes, int, int, int, str]]:
    """What an archive has: name -> type, mode, owner, group, target."""
    answer = host.http("GET", ARCHIVE.format(name), query={"path": path})
    assert answer.status == 200, answer.message
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as found:
        return {each.name: (each.type, each.mode, each.uid, each.gid, each.linkname) for each in found}


def test_stat(either: Host, container: str) -> None:
    one = head(either, container, "/d/one")[1]
    either.agrees("stat of a file", {**one, "mtime": one["mtime"][:19]}, {
        "name": "one", "size": 4, "mode": 0x800000 | 0o750, "mtime": "2001-09-09T01:46:40", "linkTarget": "",
    })  # fmt: skip
    for path, expected in (
        ("/d", ("d", 0x80000000 | 0o755, "")), ("/d/", ("d", 0x80000000 | 0o755, "")),
        ("/link", ("link", 0x8000000 | 0o777, "/d")), ("/link/", ("link", 0x80000000 | 0o755, "")),
        ("/d/rel", ("rel", 0x8000000 | 0o777, "/d/sub/two")),
        ("/link/rel", ("rel", 0x8000000 | 0o777, "/d/sub/two")),
        ("/d/broken", ("broken", 0x8000000 | 0o777, "/d/gone")), ("/d/.", (".", 0x80000000 | 0o755, "")),
        ("/", ("/", 0x80000000 | 0o755, "")), ("/d/pipe", ("pipe", 0x2000000 | 0o644, "")),
    ):  # fmt: skip
        found = head(either, container, path)[1]
        seen = (found["name"], found["mode"], found["linkTarget"])
        either.agrees(f"stat of {path}", seen, expected)


def test_out(either: Host, container: str) -> None:
    for path, expected in (
        ("/d/one", {"one"}), ("/link", {"link"}), ("/d/sub/.", {".", "./two"}), ("/data", {"data", "data/v"}),
        ("/d", {"d", "d/one", "d/rel", "d/broken", "d/pipe", "d/sub", "d/sub/two"}),
        ("/link/sub", {"sub", "sub/two"}), ("link/", {f"link{each}" for each in (
            "", "/one", "/rel", "/broken", "/pipe", "/sub", "/sub/two",
        )}),
    ):  # fmt: skip
        either.agrees(f"names in the archive of {path}", set(got(either, container, path)), expected)
    members = got(either, container, "/d")
    either.agrees("what a file is", members["d/one"], (tarfile.REGTYPE, 0o4750, 70, 71, ""))
    either.agrees("what a link is", members["d/rel"], (tarfile.SYMTYPE, 0o777, 0, 0, "sub/two"))
    either.agrees("what a fifo is", members["d/pipe"], (tarfile.FIFOTYPE, 0o644, 0, 0, ""))


def test_in(either: Host, container: str) -> None:
    data = tar(("new", None), ("new/file", b"x"), ("one", b"other"), ("deep/er/file", b"y"), uid=5, gid=6)
    answer = either.http("PUT", ARCHIVE.format(container), data, query={"path": "/link"})
    either.agrees("put", answer.status, 200)
    members = got(either, container, "/d")
    either.agrees("owner of what is put", members["d/new/file"], (tarfile.REGTYPE, 0o644, 5, 6, ""))
    either.agrees("owner of what was implied", members["d/deep/er"][1:4], (0o755, 0, 0))
    either.http("PUT", ARCHIVE.format(container), tar(("data/w", b"w")), query={"path": "/"})
    assert set(got(either, container, "/data")) == {"data", "data/v", "data/w"}


def test_refusals(either: Host, run: str) -> None:
    where = ARCHIVE.format(run)
    for path in ("/none", "/d/none/x", "/link/none"):
        answer = either.http("GET", where, query={"path": path})
        seen = (answer.status, answer.message)
        either.agrees(f"get {path}", seen, (404, f"Could not find the file {path} in container {run}"))
        either.agrees(f"head {path}", head(either, run, path)[0], 404)
    for query, data, expected in (
        ({"path": "/none"}, tar(("x", b"")), 404),
        ({"path": "/d/one"}, tar(("x", b"")), 400),
        ({}, tar(("x", b"")), 400),
    ):
        answer = either.http("PUT", where, data, query=query)
        either.agrees(f"put into {query.get('path')}", answer.status, expected)
    for data, path in ((tar(("sub", b"")), "/d"), (tar(("one", None)), "/d")):
        answer = either.http("PUT", where, data, query={"path": path, "noOverwriteDirNonDir": "1"})
        assert answer.status in (400, 500)
        assert "cannot overwrite" in answer.message
    answer = either.http("GET", ARCHIVE.format("no-such-one"), query={"path": "/"})
    either.agrees(
        "get of no container", (answer.status, answer.message), (404, "No such container: no-such-one")
    )
    either.agrees("get of no path", either.http("GET", where).status, 400)


def test_read_only(either: Host, name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    options = ("--network", "none", "--read-only", "-v", f"{tmp_path}:/mnt:ro", "-v", "/data")
    either.docker("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
    for path, expected in (("/etc", 400), ("/mnt", 400), ("/data", 200)):
        answer = either.http("PUT", ARCHIVE.format(name), tar(("x", b"")), query={"path": path})
        either.agrees(f"put into {path} of a read-only root", answer.status, expected)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(either: Host, container: str, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("file")
    (tmp_path / "tree/link").symlink_to("sub/file")
    for source, target in (
        ("tree", f"{container}:/new"), ("tree/.", f"{container}:/d"),
        ("tree/sub/file", f"{container}:/d/named"),
        (f"{container}:/d", "out"), (f"{container}:/d/.", "tree"), (f"{container}:/link/sub/two", "two"),
    ):  # fmt: skip
        either.docker("cp", source, target, cwd=tmp_path)
    either.docker("cp", "-L", f"{container}:/link", "followed", cwd=tmp_path)
    assert (tmp_path / "out/named").read_text() == "file"
    assert (tmp_path / "out/sub/two").read_text() == (tmp_path / "two").read_text() == "two\n"
    assert (tmp_path / "followed/one").read_text() == "one\n"
    assert (tmp_path / "tree/link").readlink() == Path("sub/file")
    either.docker("cp", f"{container}:/new/sub/file", "again", cwd=tmp_path)
    assert (tmp_path / "again").read_text() == "file"
    either.docker("cp", "-a", "two", f"{container}:/d/archived", cwd=tmp_path)
    wrong = either.docker("cp", f"{container}:/none", "x", check=False, cwd=tmp_path)
    either.agrees(
        "cp of what is not there", (wrong.returncode, "Could not find the file" in wrong.stderr), (1, True)
    )


def test_before_the_first_start(either: Host, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside")
    either.docker(
        "create", "--network", "none", "--name", name, "-v", "/data", "busybox", "cat", "/etc/f", "/data/f"
    )
    either.docker("cp", tmp_path / "file", f"{name}:/etc/f")
    either.docker("cp", tmp_path / "file", f"{name}:/data/f")
    assert either.docker("start", "-a", name).stdout == "from outside" * 2


def test_diff_and_export(either: Host, run: str, tmp_path: Path) -> None:
    seen = set(either.docker("diff", run).stdout.splitlines())
    mine = {"A /d", "A /d/one", "A /d/sub/two", "A /link", "A /ready"}
    assert mine <= seen
    assert not [line for line in seen if "/data/" in line]
    either.docker("export", "-o", tmp_path / "root.tar", run)
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = set(archive.getnames())
        assert archive.getmember("d/one").mode == 0o4750
    assert {"bin/sh", "d/sub/two", "link"} <= names
    assert "data/v" not in names


def test_docker_py(host: Host, client: Any, name: str) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], name=name, detach=True)
    assert container.put_archive("/etc", tar(("mine", b"content")))
    pieces, told = container.get_archive("/etc/mine")
    assert (told["name"], told["size"]) == ("mine", 7)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as found:
        file = found.extractfile("mine")
        assert file is not None
        assert file.read() == b"content"
    assert {"Path": "/etc/mine", "Kind": 1} in container.diff()


def test_large_files(host: Host, name: str, tmp_path: Path) -> None:
    host.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    data = os.urandom(1 << 20) * 64
    (tmp_path / "large").write_bytes(data)
    host.docker("cp", tmp_path / "large", f"{name}:/large")
    host.docker("cp", f"{name}:/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


# --- requests as bytes ----------------------------------------------------------------------------


def asks(name: str, path: str, *headers: str) -> bytes:
    lines = (f"PUT /containers/{name}/archive?path={path} HTTP/1.1", "Host: docker", *headers, "", "")
    return "\r\n".join(lines).encode()


def answer_of(connection: socket.socket, method: str = "PUT") -> tuple[int, dict[str, str], bytes]:
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("framing", ["length", "chunks", "tiny chunks", "asks before it sends"])
@pytest.mark.parametrize("parts", ["with the head", "in pieces"])
def test_a_body_in_whatever_way(either: Host, run: str, framing: str, parts: str) -> None:
    content = os.urandom(200_000)
    data = tar(("sent", content), ("small", b"x"))
    if framing in ("length", "asks before it sends"):
        head, body = asks(run, "/d", f"Content-Length: {len(data)}"), data
    else:
        head = asks(run, "/d", "Transfer-Encoding: chunked")
        size = 50 if framing == "tiny chunks" else 32768
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces_of(data, size))
        body += b"0\r\n\r\n"
    with connected(either.direct) as connection:
        if framing == "asks before it sends":
            connection.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            head = b""
        for piece in [head + body] if parts == "with the head" else pieces_of(head + body, 7001):
            connection.sendall(piece)
        assert answer_of(connection)[0] == 200
    assert got(either, run, "/d/sent")["sent"][1:] == (0o644, 0, 0, "")
    with tarfile.open(
        fileobj=io.BytesIO(either.http("GET", ARCHIVE.format(run), query={"path": "/d/sent"}).body)
    ) as found:
        file = found.extractfile("sent")
        assert file is not None
        assert file.read() == content


@pytest.mark.parametrize("path", ["/gone", "/d/one"])
def test_a_body_that_is_refused(either: Host, run: str, path: str) -> None:
    """Its sender, who goes on sending, reads why."""
    data = tar(("sent", bytes(8 << 20)))
    with connected(either.direct) as connection:
        head = asks(run, path, f"Content-Length: {len(data)}")
        sender = threading.Thread(target=sent_as_far_as_taken, args=(connection, head + data))
        sender.start()
        status, _, body = answer_of(connection)
        assert status >= 400 and b"message" in body
        connection.shutdown(socket.SHUT_RDWR)
        sender.join()


def sent_as_far_as_taken(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def test_who_is_not_there_is_told_and_may_ask_again(either: Host, run: str) -> None:
    """Nobody has lent the connection then: it is HTTP's as before."""
    data = tar(("sent", b"x" * 100_000))
    with connected(either.direct) as connection:
        connection.sendall(asks("nobody", "/", f"Content-Length: {len(data)}") + data)
        assert answer_of(connection)[0] == 404
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert answer_of(connection, "GET")[0] == 200


def test_the_connection_ends_with_an_archive(either: Host, run: str) -> None:
    """And what is said after it is no request."""
    data = tar(("sent", b"x" * MAX_BODY_BYTES))
    with connected(either.direct) as connection:
        after = b"DELETE /containers/" + run.encode() + b"?force=1 HTTP/1.1\r\nHost: docker\r\n\r\n"
        # dockerd reads on, and would remove it
        connection.sendall(asks(run, "/d", f"Content-Length: {len(data)}") + data + after * either.is_ours)
        status, headers, _ = answer_of(connection)
        assert status == 200
        if not either.is_ours:
            return
        assert headers["connection"] == "close"
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert "sent" in got(either, run, "/d/sent")


@pytest.mark.parametrize("cut", [0, 700, 10240])
def test_the_connection_stays_after_a_small_one(either: Host, container: str, cut: int) -> None:
    """Its body comes with the head, or behind it."""
    data = tar(("little", b"x"))
    with connected(either.direct) as connection:
        for path in ("/", "/d"):
            connection.sendall(asks(container, path, f"Content-Length: {len(data)}") + data[:cut])
            if cut < len(data):
                time.sleep(0.01)
                connection.sendall(data[cut:])
            assert answer_of(connection)[0] == 200
        connection.sendall(asks(container, "/none", f"Content-Length: {len(data)}") + data)
        assert answer_of(connection)[0] == 404
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert answer_of(connection, "GET")[0] == 200
    assert "little" in got(either, container, "/d/little")


def test_archives_behind_each_other(either: Host, run: str) -> None:
    """A request that comes before the answer to the one before it: its body is read here."""
    data = tar(("second", b"2"))
    with connected(either.direct) as connection:
        first = b"GET /containers/json?all=1&size=1 HTTP/1.1\r\nHost: docker\r\n\r\n"
        connection.sendall(first + asks(run, "/d", f"Content-Length: {len(data)}") + data)
        assert answer_of(connection, "GET")[0] == 200
        assert answer_of(connection)[0] == 200
    assert "second" in got(either, run, "/d/second")


def test_clients_that_break_off_leave_nothing(either: Host, run: str) -> None:
    """More than may copy at once; of a body that is cut off nothing passes for whole."""
    data = tar(("broken", bytes(1 << 20)))
    for cut in (0, 1, 700, len(data) // 2, len(data) - 1) * 3:
        with connected(either.direct) as connection:
            connection.sendall(asks(run, "/d", f"Content-Length: {len(data)}") + data[:cut])
    either.http("PUT", ARCHIVE.format(run), query={"path": "/d"}, body=tar(("after", b"x")))
    assert "after" in got(either, run, "/d/after")
