"""The agent is stopped while a worker is blocked: in a load from a pipe that nobody fills, in a pull from a
registry that takes calls and never answers. It ends at once, and what was half made is not there after."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.story import PROGRAM, Story, eventually

AT_ONCE_SECONDS = 20.0  # of the 30 that `agent stop` waits; one is the API's, for its clients


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener


def workers(story: Story) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"runtime.images.worker" in words and story.layout.instance.encode() in words:
                found.append(int(path.parent.name))
    return found


def stop_quickly(story: Story, *words: str | Path, is_under_way: Callable[[], object]) -> None:
    client = subprocess.Popen(
        [PROGRAM, *map(str, words)], env=story.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        eventually(is_under_way, "the worker is blocked")
        began = time.monotonic()
        story.setpoint("agent", "stop")
        assert time.monotonic() - began < AT_ONCE_SECONDS
        assert not workers(story)
        assert client.wait(AT_ONCE_SECONDS) == 1
    finally:
        client.kill()
        assert client.stderr is not None
        client.stderr.close()
        client.wait()


def assert_nothing_half_made(story: Story, archive: Path) -> None:
    story.start_agent()
    story.setpoint("image", "load", archive)
    assert "busybox:latest" in story.setpoint("image", "ls")
    assert not list((story.layout.images / "ingest").iterdir())


def test_a_load_that_is_blocked(quiet_story: Story, tmp_path: Path, busybox_archive: Path) -> None:
    quiet_story.start_agent()
    pipe = tmp_path / "archive.tar"
    os.mkfifo(pipe)
    stop_quickly(quiet_story, "image", "load", pipe, is_under_way=lambda: workers(quiet_story))
    assert_nothing_half_made(quiet_story, busybox_archive)


def test_a_pull_that_is_blocked(
    quiet_story: Story, silent: socket.socket, tmp_path: Path, busybox_archive: Path
) -> None:
    host = f"127.0.0.1:{silent.getsockname()[1]}"
    settings = tmp_path / "registries.yaml"
    settings.write_text(
        f'apiVersion: setpoint/v1\nkind: Registries\nregistries:\n  "{host}": {{insecure: true}}\n'
    )
    quiet_story.start_agent("--registries", str(settings))
    accepted: list[socket.socket] = []

    def is_called() -> bool:
        silent.settimeout(0.01)
        try:
            accepted.append(silent.accept()[0])
        except TimeoutError:
            return False
        return True

    try:
        stop_quickly(quiet_story, "image", "pull", f"{host}/lab/app:1", is_under_way=is_called)
    finally:
        for connection in accepted:
            connection.close()
    assert_nothing_half_made(quiet_story, busybox_archive)
