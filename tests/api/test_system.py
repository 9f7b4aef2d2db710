"""Ping, version, info and df, as real clients ask for them."""

from __future__ import annotations

import json
import os
from typing import Any

import aiodocker
import pytest

from tests.api.host import Host
from tests.api.http_client import Http

PING = ("api-version", "builder-version", "cache-control", "docker-experimental", "ostype", "pragma", "swarm")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_says_what_clients_negotiate_by(either: Host, method: str) -> None:
    answer = either.http(method, "/_ping")
    assert answer.status == 200
    assert answer.body == (b"OK" if method == "GET" else b"")
    assert set(PING) <= answer.headers.keys()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["swarm"] == "inactive"
    assert answer.headers["cache-control"] == "no-cache, no-store, must-revalidate"


def test_a_version_that_is_not_served_is_refused_in_the_daemons_words(http: Http) -> None:
    newer = http("GET", "/v1.99/_ping")
    assert (newer.status, newer.message) == (
        400, "client version 1.99 is too new. Maximum supported API version is 1.52",
    )  # fmt: skip
    assert http("GET", "/v1.12/info").status == 400
    assert http("GET", "/v1.24/version").status == 200


def test_docker_version_shows_client_and_server(docker: Any) -> None:
    shown = json.loads(docker("version", "--format", "{{json .}}").stdout)
    assert shown["Server"]["Components"][0]["Name"] == "Engine"
    assert shown["Server"]["KernelVersion"] == os.uname().release
    assert "Server: Setpoint" in docker("version").stdout


def test_docker_py_and_aiodocker_negotiate(client: Any, host: Host) -> None:
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.52"


async def test_aiodocker_asks_for_the_version(host: Host) -> None:
    async with aiodocker.Docker(url=f"unix://{host.socket}") as docker:
        assert (await docker.version())["Os"] == "linux"
