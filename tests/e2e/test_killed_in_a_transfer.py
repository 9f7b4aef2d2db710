"""The agent is killed in the middle of a pull, a load, an archive put or an exec that somebody listens to:
its client sees a broken connection, the next agent finds nothing half made, and the same call succeeds."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import bad_registry
from tests.api.http_client import Answer, Http
from tests.api.streams import frames, rest, upgraded
from tests.bad_registry import Answer as BadAnswer
from tests.bad_registry import BadRegistry, Handler
from tests.e2e.story import Story, eventually, is_alive
from tests.e2e.test_stop_with_images_under_way import workers
from tests.unit.images import craft

BIG = os.urandom(1 << 20) * 48
TAR = {"Content-Type": "application/x-tar"}
BROKEN = (OSError, http.client.HTTPException)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[BadRegistry]:
    with bad_registry.started() as registry:
        head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
        (tmp_path / "registries.yaml").write_text(f'{head}  "{registry.host}": {{insecure: true}}\n')
        yield registry


@pytest.fixture
def story(quiet_story: Story, tmp_path: Path, busybox_archive: Path) -> Story:
    quiet_story.start_agent("--registries", str(tmp_path / "registries.yaml"))
    quiet_story.setpoint("image", "load", busybox_archive)
    return quiet_story


def api(story: Story) -> Http:
    return Http(story.layout.agent_socket)


def done(story: Story, method: str, path: str, body: object = None, expected: int = 200) -> Answer:
    answer = api(story)(method, path, body, headers=TAR if isinstance(body, bytes) else {})
    assert answer.status == expected and b'"error"' not in answer.body, answer
    return answer


def running_box(story: Story) -> None:
    done(story, "POST", "/containers/create?name=box", {"Image": "busybox", "Cmd": ["sleep", "1000"]}, 201)
    done(story, "POST", "/containers/box/start", expected=204)


def kill_and_start(story: Story, tmp_path: Path) -> None:
    """What was under way has ended with the agent, and what the next one finds is whole."""
    before = story.agent_pid()
    story.kill(before)
    eventually(lambda: not is_alive(before), "the agent is gone")
    eventually(lambda: not workers(story), "its workers go with it")
    story.start_agent("--registries", str(tmp_path / "registries.yaml"))
    eventually(lambda: "nothing is lost" in story.setpoint("doctor", "--leaks", code=None), "nothing is left")
    ingest = story.layout.images / "ingest"
    assert not ingest.exists() or not list(ingest.iterdir())


def sent(story: Story, method: str, path: str, body: bytes, share: float) -> socket.socket:
    """So much of an archive; its client has more, or waits."""
    connection = api(story).connect()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
    part = body[: int(len(body) * share)]
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + part)
    return connection


def is_broken_off(connection: socket.socket) -> bool:
    """There was no answer, or one without an end (RFC 9112, 7.1: the last chunk is empty)."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        said = rest(connection)
    return not said or (b"chunked" in said and not said.endswith(b"0\r\n\r\n"))


def tar_of(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


# --- images -----------------------------------------------------------------------------------------


def test_a_pull_from_a_registry_that_stalls(story: Story, registry: BadRegistry, tmp_path: Path) -> None:
    image, is_over, is_stalled = (
        registry.put_image(content=BIG[: 1 << 22]),
        threading.Event(),
        threading.Event(),
    )

    def stall(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(image.layer))
        handler.wfile.write(image.layer[: len(image.layer) // 2])
        handler.wfile.flush()
        is_stalled.set()
        is_over.wait(60)

    registry.answer(image.layer_path, BadAnswer(raw=stall))
    path = f"/images/create?fromImage={image.name}"
    connection, answer = api(story).stream("POST", path)
    try:
        assert is_stalled.wait(60)
        ingest = story.layout.images / "ingest"
        eventually(lambda: any(path.stat().st_size for path in ingest.glob("*/blob-*")), "half of it is here")
        kill_and_start(story, tmp_path)
        with pytest.raises(BROKEN):
            assert b"Status:" not in answer.read()
    finally:
        is_over.set()
        connection.close()
    assert image.name not in story.setpoint("image", "ls")
    registry.answer(image.layer_path, BadAnswer(body=image.layer))
    assert b"Downloaded newer image" in done(story, "POST", path).body
    assert image.name.rpartition(":")[0] in story.setpoint("image", "ls")


def archive_of_an_image() -> bytes:
    layer = craft.tar(craft.entry("big", BIG))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in craft.docker_save(layer, tags=["big:1"]).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["sent in part", "at work"])
def test_a_load(story: Story, tmp_path: Path, share: float) -> None:
    body = archive_of_an_image()
    connection = sent(story, "POST", "/images/load", body, share)
    if share == 1.0:
        eventually(lambda: workers(story), "a worker is at it")
    kill_and_start(story, tmp_path)
    assert is_broken_off(connection)
    assert "big" not in story.setpoint("image", "ls")
    done(story, "POST", "/images/load", body)
    assert "big:1" in story.setpoint("image", "ls")


# --- files and processes ----------------------------------------------------------------------------


def test_an_archive_put(story: Story, tmp_path: Path) -> None:
    running_box(story)
    body, path = tar_of("big", BIG), "/containers/box/archive?path=/tmp"
    connection = sent(story, "PUT", path, body, 0.5)
    root = story.layout.containers
    eventually(
        lambda: any(each.stat().st_size for each in root.glob("*/upper/tmp/big")), "it is being written"
    )
    kill_and_start(story, tmp_path)
    assert is_broken_off(connection)
    done(story, "PUT", path, body)
    packed = done(story, "GET", "/containers/box/archive?path=/tmp").body
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["tmp", "tmp/big"]  # and no file that is half of one
        file = archive.extractfile("tmp/big")
        assert file is not None and file.read() == BIG


def test_an_exec_that_is_listened_to(story: Story, tmp_path: Path) -> None:
    running_box(story)
    wish = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True}

    def talk() -> socket.socket:
        id = done(story, "POST", "/containers/box/exec", wish, 201).json["Id"]
        connection, _ = upgraded(api(story), f"/exec/{id}/start", b"{}")
        connection.sendall(b"word\n")
        assert list(frames(connection.recv(100))) == [(1, b"word\n")]
        return connection

    def shown() -> Any:
        return done(story, "GET", "/containers/box/json").json["State"]

    def processes() -> int:
        return len(done(story, "GET", "/containers/box/top").json["Processes"])

    connection, before = talk(), shown()
    kill_and_start(story, tmp_path)
    assert rest(connection) == b""
    eventually(lambda: processes() == 1, "it ends, as nobody can say anything to it")
    again = talk()
    again.shutdown(socket.SHUT_WR)
    assert rest(again) == b""
    assert shown()["Pid"] == before["Pid"]
