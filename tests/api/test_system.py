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


def test_every_version_that_is_served_does_the_work(http: Http, name: str) -> None:
    """A container's life by each, and by none: clients that old have not gone."""
    before = http("GET", "/version").json
    assert (before["MinAPIVersion"], before["ApiVersion"]) == ("1.24", "1.52")
    for version in ("", *(f"/v1.{minor}" for minor in range(24, 53))):
        body = {"Image": "busybox", "Cmd": ["echo", "said"], "HostConfig": {"NetworkMode": "none"}}
        made = http("POST", f"{version}/containers/create?name={name}", body)
        assert made.status == 201, (version, made)
        assert http("POST", f"{version}/containers/{name}/start").status == 204, version
        assert http("POST", f"{version}/containers/{name}/wait").json["StatusCode"] == 0, version
        logs = http("GET", f"{version}/containers/{name}/logs?stdout=1")
        assert logs.body[8:] == b"said\n", (version, logs)
        shown = http("GET", f"{version}/containers/{name}/json").json
        assert shown["Id"] == made.json["Id"] and shown["State"]["Status"] == "exited", version
        listed = http("GET", f"{version}/containers/json?all=1").json
        assert [each["Names"] for each in listed] == [[f"/{name}"]], version
        for noun in ("images/json", "networks", "volumes", "info"):
            assert http("GET", f"{version}/{noun}").status == 200, (version, noun)
        assert http("DELETE", f"{version}/containers/{name}").status == 204, version


@pytest.mark.parametrize("version", ["1.24", "1.30", "1.40", "1.44"])
def test_the_docker_cli_held_to_an_older_version(host: Host, version: str, name: str) -> None:
    env = {"DOCKER_API_VERSION": version}
    assert host.docker("run", "--name", name, "busybox", "echo", "said", env=env).stdout == "said\n"
    assert host.docker("ps", "-a", "--format", "{{.Names}}", env=env).stdout == f"{name}\n"
    assert host.docker("logs", name, env=env).stdout == "said\n"
    assert host.docker("version", "--format", "{{.Client.APIVersion}}", env=env).stdout == f"{version}\n"
    host.docker("rm", name, env=env)


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


def test_info_is_what_is_so(docker: Any, http: Http, name: str) -> None:
    docker("create", "--name", name, "busybox", "true")
    info = http("GET", "/info").json
    assert (info["Containers"], info["ContainersStopped"], info["ContainersRunning"]) == (1, 1, 0)
    assert info["Images"] == len(http("GET", "/images/json").json)
    assert info["NCPU"] == len(os.sched_getaffinity(0))
    assert info["KernelVersion"] == os.uname().release
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["DefaultRuntime"] in info["Runtimes"]
    assert info["ID"] == http("GET", "/v1.24/info").json["ID"]
    shown = docker("info").stdout
    assert "Server Version:" in shown and "Swarm: inactive" in shown


def test_info_has_the_fields_of_the_daemon(host: Host, dockerd: Host) -> None:
    ours, theirs = host.http("GET", "/v1.45/info").json, dockerd.http("GET", "/v1.45/info").json
    missing = sorted(theirs.keys() - ours.keys())
    host.agrees("fields of info that dockerd has and we have not", missing, [])
    same = ("NCPU", "MemTotal", "KernelVersion", "Architecture", "OSType", "Name", "CgroupVersion")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}


def test_df_counts_what_is_there(docker: Any, http: Http, name: str) -> None:
    docker("run", "--name", name, "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=2")
    docker("volume", "create", name)
    now = http("GET", "/v1.52/system/df?verbose=1").json
    assert now["ImageUsage"]["TotalCount"] == len(http("GET", "/images/json").json)
    assert now["ImageUsage"]["ActiveCount"] == 1
    [container] = now["ContainerUsage"]["Items"]
    assert 2 * 2**20 <= container["SizeRw"] == now["ContainerUsage"]["Reclaimable"]
    assert [volume["Name"] for volume in now["VolumeUsage"]["Items"]] == [name]
    assert "Items" not in http("GET", "/v1.52/system/df").json["ImageUsage"]
    only = http("GET", "/v1.52/system/df?verbose=1&type=volume&type=image").json
    assert sorted(only) == ["ImageUsage", "VolumeUsage"]
    assert http("GET", "/system/df?type=nothing").status == 400
    assert "Local Volumes" in docker("system", "df").stdout
    assert name in docker("system", "df", "-v").stdout


def test_docker_py_asks_for_df(client: Any) -> None:
    found = client.df()
    assert found["LayersSize"] == found["ImageUsage"]["TotalSize"] > 0
    assert ["busybox:latest"] in [image["RepoTags"] for image in found["Images"]]
    assert client.info()["OSType"] == "linux"


def test_system_prune_takes_what_nobody_needs(either: Host, name: str) -> None:
    either.docker("run", "-d", "--name", name, "-v", f"{name}:/v", "busybox", "sleep", "1000")
    either.docker("run", "--name", f"{name}b", "-v", "/v", "busybox", "true")
    for each in (name, f"{name}b"):
        either.docker("network", "create", each)
    either.docker("network", "connect", name, name)
    said = either.docker("system", "prune", "-f", "--volumes").stdout
    assert "Deleted Containers:" in said and "Deleted Networks:" in said and "Deleted Volumes:" in said
    assert "Total reclaimed space:" in said
    left = either.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert left == [name]
    networks = either.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    assert name in networks and f"{name}b" not in networks
    assert either.docker("volume", "ls", "-q").stdout.split() == [name]
    assert "busybox" in either.docker("images", "--format", "{{.Repository}}").stdout
