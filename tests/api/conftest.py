"""Real clients against a real agent; see README.md in this folder."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.api.host import Host, remove_containers
from tests.api.http_client import Http
from tests.api.proxy import Proxy, checking
from tests.e2e.own_story import own_story
from tests.e2e.story import Story


@pytest.fixture(scope="session")
def agent_story(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The agent of this folder: an instance of its own that follows an empty work tree and has busybox. It
    reads a registries file beside the tree, which tests may write. At its end nothing may be left."""
    with own_story(tmp_path_factory.mktemp("api")) as story:
        story.git("commit", "-q", "--allow-empty", "-m", "Begin")
        story.start_agent("--registries", str(story.tree.parent / "registries.yaml"))
        story.setpoint("image", "load", busybox_archive)
        yield story


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """For sockets, whose paths must be short (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def proxy(agent_story: Story, short_folder: Path) -> Iterator[Proxy]:
    with checking(agent_story.layout.agent_socket, short_folder / "docker.sock") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def host(agent_story: Story, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The agent as a Docker host."""
    return Host(True, proxy.path, agent_story.layout.agent_socket, tmp_path_factory.mktemp("docker-config"))


@pytest.fixture(scope="session")
def dockerd(agent_story: Story, short_folder: Path) -> Iterator[Host]:
    """Docker's own daemon, with the same image; it has no default bridge and no firewall rules."""
    if not engines.HAS_DOCKER:
        pytest.skip("no dockerd here: ops/test --with-peers")
    folder = short_folder / "d"
    archive = short_folder / "busybox.tar"
    agent_story.setpoint("image", "save", "busybox", "-o", archive)  # in a form that dockerd loads
    with engines.dockerd(folder) as run:
        run("load", "-i", archive)
        yield Host(False, folder / "sock", folder / "sock", folder)


@pytest.fixture(scope="session", params=["ours", "dockerd"])
def either(request: pytest.FixtureRequest) -> Host:
    """A scenario with this runs against both daemons; see `Host.agrees`."""
    found: Host = request.getfixturevalue("host" if request.param == "ours" else "dockerd")
    return found


@pytest.fixture(autouse=True)
def _answers_fit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that was given an answer which is not what the definition says, and removes what the
    test has left in the daemon that it used."""
    names = [name for name in ("host", "dockerd", "either") if name in request.fixturenames]
    hosts: list[Host] = [request.getfixturevalue(name) for name in names]
    ours = next((host for host in hosts if host.is_ours), None)
    proxy: Proxy | None = request.getfixturevalue("proxy") if ours else None
    if proxy is not None:
        proxy.faults.clear()
    yield
    faults = list(proxy.faults) if proxy is not None else []
    for host in hosts:
        remove_containers(host)
    if faults:
        pytest.fail("answers that the definition does not have:\n" + "\n".join(faults))


# --- clients of the agent -------------------------------------------------------------------------


@pytest.fixture
def docker(host: Host) -> object:
    """docker("ps", "-a").stdout: the CLI; see `Host.docker`."""
    return host.docker


@pytest.fixture
def compose(host: Host) -> object:
    """compose(folder, "up", "-d"); see `Host.compose`."""
    return host.compose


@pytest.fixture
def client(host: Host) -> Iterator[Any]:
    """docker-py."""
    client = host.client()
    yield client
    client.close()


@pytest.fixture
def http(host: Host) -> Http:
    """http("GET", "/info").json: the very answer; see `Http`."""
    return host.http


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"n{secrets.token_hex(5)}"
