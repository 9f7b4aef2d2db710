"""What tools beyond Docker's own do at the socket, in their ways; some of them, where the host has them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from tests.api.host import Host

SECONDS = 60
DOCKERFILE = b"FROM busybox\nLABEL of=aiodocker\n"


def tool(host: Host, *words: str | Path) -> str:
    """A program that knows where the socket is."""
    done = subprocess.run(
        [*map(str, words)], env=host.environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_a_volume_is_filled_through_an_image_of_nothing(either: Host, name: str, tmp_path: Path) -> None:
    """As pytest-docker-tools does it: a container that never runs, of an image without layers."""
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCMD ["/none"]\n')
    either.docker("build", "-q", "-t", name, tmp_path, env={"DOCKER_BUILDKIT": "0"})
    either.docker("create", "--name", name, "-v", f"{name}:/data", name)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        member = tarfile.TarInfo("file")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"hi"))
    query = {"path": "/data"}
    answer = either.http("PUT", f"/containers/{name}/archive", data.getvalue(), query=query)
    assert answer.status == 200
    either.docker("rm", "-f", name)
    shown = either.docker("run", "--rm", "-v", f"{name}:/data", "busybox", "cat", "/data/file").stdout
    either.docker("rmi", name)
    assert shown == "hi"


async def test_aiodocker_says_how_a_context_is_packed(either: Host, name: str) -> None:
    """By Content-Encoding, as docker-py does with an encoding of its own."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w:gz") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(DOCKERFILE)
        tar.addfile(member, io.BytesIO(DOCKERFILE))
    context.seek(0)
    async with aiodocker.Docker(url=f"unix://{either.socket}") as client:
        said = await client.images.build(fileobj=context, encoding="gzip", tag=name)
        await client.images.delete(name, force=True)
    assert any("Successfully built" in line.get("stream", "") for line in said)


async def said_by(stream: Any) -> AsyncIterator[tuple[int, bytes]]:
    """To its end."""
    while (message := await stream.read_out()) is not None:
        yield message.stream, message.data


async def test_aiodocker_lives_with_a_container(either: Host, name: str) -> None:
    """From its making to its removal: its streams, files, processes, limits and networks."""
    async with aiodocker.Docker(url=f"unix://{either.socket}") as client:
        network = await client.networks.create({"Name": name, "Driver": "bridge"})
        config = {
            "Image": "busybox", "Cmd": ["sh", "-c", "echo begun; read word; echo got-$word; exit 5"],
            "OpenStdin": True, "HostConfig": {"NetworkMode": "none"},
        }  # fmt: skip
        container = await client.containers.create_or_replace(name, config)
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            member = tarfile.TarInfo("file")
            member.size = 2
            tar.addfile(member, io.BytesIO(b"hi"))
        await container.put_archive("/tmp", data.getvalue())
        await container.start()
        run = await container.exec(["cat", "/tmp/file"])
        async with run.start(detach=False) as stream:
            messages = [message async for message in said_by(stream)]
        assert messages == [(1, b"hi")]
        assert (await run.inspect())["ExitCode"] == 0
        [seen] = await container.stats(stream=False)
        assert seen["pids_stats"]["current"] >= 1
        await container.pause()
        await container.unpause()
        async with container.attach(stdin=True) as stream:
            await stream.write_in(b"word\n")
        assert (await container.wait())["StatusCode"] == 5
        assert "".join(await container.log(stdout=True)) == "begun\ngot-word\n"
        archive = await container.get_archive("/tmp/file")
        assert archive.getnames() == ["file"]
        listed = await client.containers.list(all=True, filters={"name": [name]})
        assert [each.id for each in listed] == [container.id]
        again = await client.containers.create_or_replace(name, config)
        assert again.id == container.id or (await again.show())["State"]["Status"] == "created"
        await again.delete(force=True)
        assert await network.delete()
        with pytest.raises(aiodocker.DockerError) as gone:
            await client.containers.get(name)
        assert gone.value.status == 404


def test_one_is_made_again_as_it_is_shown(either: Host, name: str) -> None:
    """As watchtower and others make a container of a newer image: with all that inspect says."""
    mounts = ("-v", f"{name}a:/a", "--mount", f"type=volume,src={name}b,dst=/b", "--tmpfs", "/t:size=1m")
    more = ("--mount", "type=bind,src=/tmp,dst=/h,readonly", "--mount", "type=tmpfs,dst=/u")
    either.docker("run", "-d", "--name", name, *mounts, *more, "busybox", "sleep", "1000")
    shown = either.http("GET", f"/containers/{name}/json").json
    assert sorted(each["Destination"] for each in shown["Mounts"]) == ["/a", "/b", "/h", "/u"]
    assert shown["HostConfig"]["Binds"] == [f"{name}a:/a"] and list(shown["HostConfig"]["Tmpfs"]) == ["/t"]
    body = {**shown["Config"], "HostConfig": shown["HostConfig"]}
    made = either.http("POST", "/containers/create", body, query={"name": f"{name}2"})
    assert made.status == 201, made.message
    either.docker("start", f"{name}2")
    again = either.http("GET", f"/containers/{name}2/json").json
    assert again["HostConfig"] == shown["HostConfig"]
    assert "tmpfs" in either.docker("exec", f"{name}2", "grep", " /t ", "/proc/mounts").stdout


@pytest.mark.parametrize("url", ["http:/v1.40/_ping", "http://docker.sock/_ping", "http://x/v1.40/_ping"])
def test_curl_names_no_host(either: Host, url: str) -> None:
    """The first and second name one that there is not: rsyslog's imdocker and .NET's clients do so, too."""
    assert tool(either, "curl", "-sf", "--unix-socket", either.socket, url) == "OK"


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: ops/test --with-peers")
def test_prometheus_finds_what_runs(host: Host, name: str, tmp_path: Path) -> None:
    """By its docker_sd_configs, which look at containers, networks and ports."""
    host.docker("run", "-d", "--name", name, "-p", "127.0.0.1::80", "-l", "of=me", "busybox", "sleep", "1000")
    discovery = [{"host": f"unix://{host.socket}", "filters": [{"name": "name", "values": [name]}]}]
    config = {"scrape_configs": [{"job_name": "here", "docker_sd_configs": discovery}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    # promtool asks once, and prints what it found.
    words = ("promtool", "check", "service-discovery", "--timeout", "5s", tmp_path / "prometheus.yml", "here")
    found = json.loads(tool(host, *words))[0]["discoveredLabels"]
    assert found["__meta_docker_container_name"] == f"/{name}"
    assert found["__meta_docker_container_label_of"] == "me"
    assert found["__meta_docker_network_name"] == "bridge" and found["__meta_docker_port_private"] == "80"
