"""F7: while images are pulled and pushed with a password, it is in no argument, environment, log, event,
status or file of ours."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually
from tests.registry import Registry, started

CANARY = b"s3cret-canary-f7"


class Watcher(threading.Thread):
    """Reads what everybody on the host can see of processes, as fast as it can. seen: where the canary was;
    workers: of those that fetch and send."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.seen: set[str] = set()
        self.workers: set[str] = set()

    def run(self) -> None:
        while not self.over.is_set():
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    self._look(pid, name)

    def _look(self, pid: str, name: str) -> None:
        try:
            data = Path("/proc", pid, name).read_bytes()
        except OSError:
            return
        if b"runtime.images.worker" in data:
            self.workers.add(pid)
        if CANARY in data:
            self.seen.add(f"{pid} {name}")


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry", tls=True, login=("me", CANARY.decode())) as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


@pytest.fixture
def watcher(registry: Registry) -> Iterator[Watcher]:
    watcher = Watcher()
    watcher.start()
    yield watcher
    watcher.over.set()
    watcher.join()


def test_f7_a_password_is_nowhere_to_be_seen(
    quiet_story: Story, registry: Registry, watcher: Watcher, tmp_path: Path
) -> None:
    story = quiet_story
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    story.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    story.start_agent("--registries", str(settings))
    words = ("login", registry.host, "-u", "me", "--password-stdin", "--registries", settings)
    story.setpoint(*words, stdin=f"{CANARY.decode()}\n")

    name, said = f"{registry.host}/lab/busybox:1", []
    said.append(story.setpoint("image", "pull", name))
    said.append(story.setpoint("image", "tag", name, f"{registry.host}/lab/mine:1"))
    said.append(story.setpoint("image", "push", f"{registry.host}/lab/mine:1"))
    said.append(story.setpoint("image", "search", f"{registry.host}/"))
    said.append(story.setpoint("image", "inspect", "--remote", name))
    story.setpoint("image", "pull", f"{registry.host}/lab/none:1", code=1)
    said.append(story.said)
    text = shop(f"{registry.host}/lab/mine:1") + "    pull_policy: always\n"
    story.apply({"shop/compose.yaml": text})
    said += [story.setpoint("events"), story.setpoint("why", "shop/container/web"), story.setpoint("status")]

    assert watcher.workers, "the processes that fetch were looked at"
    assert watcher.seen == set()
    assert not any(CANARY.decode() in each for each in said)
    log = story.layout.data / "agent.log"
    assert log.exists() and CANARY not in log.read_bytes()
    for root in (story.layout.data, story.layout.run):
        assert _files_with(root) == []


def shop(image: str) -> str:
    return f"services:\n  web:\n    image: {image}\n    command: [sleep, '1001']\n    stop_signal: SIGKILL\n"


def _files_with(root: Path) -> list[str]:
    words = ["grep", "-rlaF", "--devices=skip", "-s", CANARY.decode(), str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.splitlines()


def test_each_project_has_its_own_login(quiet_story: Story, registry: Registry, tmp_path: Path) -> None:
    """One may pull what it names, by its own file; the other may not."""
    story = quiet_story
    own = tmp_path / "shop.json"
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings() + f"projects:\n  shop: {{logins: {own}}}\n")
    story.environment["DOCKER_CONFIG"] = str(own.parent)
    login = ("login", registry.host, "-u", "me", "--password-stdin", "--registries", settings)
    story.setpoint(*login, stdin=f"{CANARY.decode()}\n")
    (tmp_path / "config.json").rename(own)
    story.environment["DOCKER_CONFIG"] = str(tmp_path / "nobody")
    story.start_agent("--registries", str(settings))

    text = shop(f"{registry.host}/lab/busybox:1")
    story.commit({"other/compose.yaml": text})

    def message() -> str:
        found = story.object("other/container/web")
        return str(found["message"]) if found else ""

    eventually(lambda: "does not let us in" in message(), "nobody has a login for it")
    story.commit({"other/compose.yaml": None, "shop/compose.yaml": text})
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    assert story.pid("shop/container/web")
