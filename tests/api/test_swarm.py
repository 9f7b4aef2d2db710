"""What only a swarm or a plugin has, asked of an engine with neither: word for word as dockerd answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
    "to swarm and try again."
)
ASKED = [
    ("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/services"), ("GET", "/tasks"), ("GET", "/secrets"),
    ("GET", "/configs"), ("GET", "/nodes/x"), ("GET", "/services/x"), ("GET", "/tasks/x"),
    ("GET", "/secrets/x"), ("GET", "/configs/x"), ("DELETE", "/services/x"), ("DELETE", "/nodes/x"),
    ("DELETE", "/secrets/x"), ("DELETE", "/configs/x"), ("GET", "/services/x/logs?stdout=1"),
    ("GET", "/tasks/x/logs?stdout=1"), ("GET", "/swarm/unlockkey"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_who_is_no_manager_says_so(either: Host, method: str, path: str) -> None:
    answer = either.http(method, path)
    assert (answer.status, answer.message) == (503, NO_MANAGER)


@pytest.mark.parametrize("path", ["/services/create", "/secrets/create", "/configs/create"])
def test_nothing_of_a_swarm_is_made(either: Host, path: str) -> None:
    answer = either.http("POST", path, {"Name": "x"})
    assert (answer.status, answer.message) == (503, NO_MANAGER)


def test_a_swarm_is_not_left(either: Host) -> None:
    answer = either.http("POST", "/swarm/leave")
    assert (answer.status, answer.message) == (503, "This node is not part of a swarm")


def test_a_swarm_is_neither_made_nor_joined(docker: Any) -> None:
    assert "this engine makes no swarms" in docker("swarm", "init", check=False).stderr
    joined = docker("swarm", "join", "--token", "x", "127.0.0.1:1", check=False)
    assert "this engine joins no swarm" in joined.stderr


def test_there_are_no_plugins(either: Host, name: str) -> None:
    assert either.http("GET", "/plugins").json == []
    asked = [("GET", "/json"), ("DELETE", ""), ("POST", "/enable?timeout=0")]
    for method, path in [(method, f"/plugins/{name}{path}") for method, path in asked]:
        answer = either.http(method, path)
        assert (answer.status, answer.message) == (404, f'plugin "{name}" not found')


def test_plugins_are_refused_with_what_to_do(docker: Any, http: Http) -> None:
    said = docker("plugin", "install", "--grant-all-permissions", "vieux/sshfs", check=False).stderr
    assert "this engine takes no plugins" in said
    assert http("POST", "/plugins/pull?remote=x").status == 501
    assert http("POST", "/plugins/create?name=x", b"").status == 501


def test_docker_py_hears_of_no_swarm(client: Any) -> None:
    from docker.errors import APIError

    with pytest.raises(APIError, match="not a swarm manager"):
        client.services.list()
    assert client.plugins.list() == []
