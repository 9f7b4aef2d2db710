"""Ctrl-C at a pull or a push: it ends when nobody else waits for it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_registry import Answer, BadImage, BadRegistry, Handler, started
from tests.e2e.story import PROGRAM, Story, eventually


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Until it is set, layers stop in their middle."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def image(registry: BadRegistry, gate: threading.Event) -> BadImage:
    image = registry.put_image(content=b"x" * 500_000)

    def slowly(handler: Handler) -> None:
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(image.layer)))
        handler.end_headers()
        handler.wfile.write(image.layer[:200_000])
        gate.wait(120)
        handler.wfile.write(image.layer[200_000:])

    registry.answer(image.layer_path, Answer(raw=slowly))
    return image


@pytest.fixture
def story(quiet_story: Story, registry: BadRegistry, tmp_path: Path) -> Story:
    settings = tmp_path / "registries.yaml"
    head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
    settings.write_text(f'{head}  "{registry.host}": {{insecure: true}}\n')
    quiet_story.start_agent("--registries", str(settings))
    return quiet_story


def begin(story: Story, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, *words], env=story.environment, cwd="/", text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def workers(story: Story) -> list[int]:
    """Processes that fetch or send for this instance."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"runtime.images.worker" in words and story.layout.instance.encode() in words:
            found.append(int(entry))
    return found


def staged(story: Story) -> list[str]:
    folder = story.layout.images / "ingest"
    return [path.name for path in folder.glob("*")] if folder.exists() else []


def test_ctrl_c_gives_a_pull_up(story: Story, registry: BadRegistry, image: BadImage) -> None:
    pull = begin(story, "image", "pull", image.name)
    eventually(lambda: image.layer_path in registry.paths(), "the layer is asked for")
    assert workers(story)
    pull.send_signal(signal.SIGINT)
    pull.communicate(timeout=60)
    assert pull.returncode == 130
    eventually(lambda: not workers(story), "nobody fetches any more")
    eventually(lambda: not staged(story), "nothing is left of it")
    assert image.name not in story.setpoint("image", "ls")


def test_another_who_waits_gets_it(
    story: Story, registry: BadRegistry, image: BadImage, gate: threading.Event
) -> None:
    pulls = [begin(story, "image", "pull", image.name)]
    eventually(lambda: image.layer_path in registry.paths(), "the layer is asked for")
    pulls.append(begin(story, "image", "pull", image.name))
    eventually(lambda: len(connections(story)) >= 2, "both wait")
    for _ in range(3):  # the agent answers in order: it has seen the second one's question, too
        story.setpoint("status")
    pulls[0].send_signal(signal.SIGINT)
    pulls[0].communicate(timeout=60)
    assert pulls[0].returncode == 130
    eventually(lambda: len(connections(story)) == 1, "the agent has seen that")
    gate.set()
    out, error = pulls[1].communicate(timeout=60)
    assert (pulls[1].returncode, out) == (0, f"pulled {image.name}\n"), error
    assert registry.paths().count(image.layer_path) == 1, "one download for both"


def connections(story: Story) -> list[str]:
    """Of the agent's socket, as the kernel lists them: state 03 is connected (net/unix/af_unix.c)."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    path = str(story.layout.agent_socket)
    return [line for line in lines if line.endswith(path) and line.split()[5] == "03"]


def test_a_new_asker_after_that_begins_anew(
    story: Story, registry: BadRegistry, image: BadImage, gate: threading.Event
) -> None:
    pull = begin(story, "image", "pull", image.name)
    eventually(lambda: image.layer_path in registry.paths(), "the layer is asked for")
    pull.send_signal(signal.SIGINT)
    pull.communicate(timeout=60)
    gate.set()
    assert story.setpoint("image", "pull", image.name) == f"pulled {image.name}\n"


def test_ctrl_c_gives_a_push_up(
    story: Story, registry: BadRegistry, image: BadImage, gate: threading.Event
) -> None:
    gate.set()
    story.setpoint("image", "pull", image.name)
    gate.clear()
    name = f"{registry.host}/lab/pushed:1"
    story.setpoint("image", "tag", image.name, name)
    registry.answer("/v2/lab/pushed/blobs/uploads/", Answer(raw=lambda _: bool(gate.wait(120))))
    push = begin(story, "image", "push", name)
    eventually(lambda: "/v2/lab/pushed/blobs/uploads/" in registry.paths(), "the upload is asked for")
    push.send_signal(signal.SIGINT)
    push.communicate(timeout=60)
    assert push.returncode == 130
    eventually(lambda: not workers(story), "nobody sends any more")
