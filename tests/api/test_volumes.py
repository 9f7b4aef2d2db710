"""Volumes by real clients, against the agent and against dockerd."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story

ANONYMOUS = "com.docker.volume.anonymous"


def names(host: Host, **filters: list[str]) -> set[str]:
    return {each["Name"] for each in host.http("GET", "/volumes", query={"filters": filters}).json["Volumes"]}


def prune(host: Host, version: str = "", **filters: list[str]) -> set[str]:
    answer = host.http("POST", f"{version}/volumes/prune", query={"filters": filters})
    assert answer.json["SpaceReclaimed"] >= 0
    return set(answer.json["VolumesDeleted"] or ())


def test_a_volume_comes_is_used_and_goes(either: Host, name: str) -> None:
    assert either.docker("volume", "create", "--label", "a=b", name).stdout.strip() == name
    [shown] = json.loads(either.docker("volume", "inspect", name).stdout)
    assert (shown["Name"], shown["Driver"], shown["Scope"], shown["Labels"]) == (
        name,
        "local",
        "local",
        {"a": "b"},
    )
    assert Path(shown["Mountpoint"]).is_dir() and shown["CreatedAt"][:2] == "20"
    again = either.http("POST", "/volumes/create", {"Name": name})
    assert again.status == 201 and again.json["Labels"] == {"a": "b"}
    one = either.docker(
        "run", "-d", "--name", name, "-v", f"{name}:/x", "busybox", "sleep", "1000"
    ).stdout.strip()
    either.docker("exec", name, "sh", "-c", "echo here > /x/file")
    assert Path(shown["Mountpoint"], "file").read_text() == "here\n"
    for force in ("0", "1"):
        used = either.http("DELETE", f"/volumes/{name}", query={"force": force})
        assert (used.status, used.message) == (409, f"remove {name}: volume is in use - [{one}]")
    either.docker("rm", "-f", name)
    assert Path(shown["Mountpoint"], "file").exists()
    either.docker("volume", "rm", name)
    assert not Path(shown["Mountpoint"]).exists()
    gone = either.http("GET", f"/volumes/{name}")
    assert (gone.status, gone.message) == (404, f"get {name}: no such volume")
    assert either.http("DELETE", f"/volumes/{name}").status == 404
    assert either.http("DELETE", f"/volumes/{name}", query={"force": "true"}).status == 204


def test_one_without_a_name(either: Host) -> None:
    made = either.http("POST", "/volumes/create", {"Labels": {"a": "b"}})
    assert made.status == 201 and len(made.json["Name"]) == 64
    assert made.json["Labels"] == {"a": "b", ANONYMOUS: ""}
    assert either.http("POST", "/volumes/create").status == 201


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"Name": "a b"}, 400, 'create a b: "a b" includes invalid characters for a local volume name'),
        ({"Name": "../x"}, 400, "includes invalid characters for a local volume name"),
        ({"Name": "a"}, 400, "create a: volume name is too short"),
        ({"Name": "ab", "Driver": "nosuch"}, 404, "error looking up volume plugin nosuch"),
        ({"Name": "ab", "DriverOpts": {"foo": "bar"}}, 400, 'create ab: invalid option: "foo"'),
        ({"Name": "ab", "ClusterVolumeSpec": {"Group": "x"}}, 503, "swarm"),
    ],
)
def test_what_cannot_be_made(either: Host, body: dict[str, Any], status: int, words: str) -> None:
    if "nosuch" in words and not either.is_ours:
        pytest.skip("dockerd waits 15 s for a plugin")
    answer = either.http("POST", "/volumes/create", body)
    assert (answer.status, words in answer.message) == (status, True), answer.message


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"type": "nfs", "o": "addr=192.0.2.1", "device": ":/x"}, "mount it on the host"),
        ({"type": "overlay", "o": "lowerdir=/etc", "device": "x"}, "none, tmpfs, ext2"),
        ({"type": "none", "o": "bind,rshared", "device": "/srv"}, "rslave"),
    ],
)
def test_options_are_refused_with_what_to_do(
    http: Http, name: str, options: dict[str, str], hint: str
) -> None:
    answer = http("POST", "/volumes/create", {"Name": name, "DriverOpts": options})
    assert answer.status == 501 and hint in answer.message
    assert http("GET", f"/volumes/{name}").status == 404


def opts(**options: str) -> list[str]:
    return [word for key, value in options.items() for word in ("--opt", f"{key}={value}")]


def test_a_directory_of_the_host_as_a_volume(either: Host, name: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "kept").write_text("kept\n")
    said = {"type": "none", "o": "bind", "device": str(shared)}
    either.docker("volume", "create", *opts(**said), name)
    assert either.http("GET", f"/volumes/{name}").json["Options"] == said
    script = "cat /x/kept; echo new > /x/new"
    done = either.docker("run", "--rm", "--name", name, "-v", f"{name}:/x", "busybox", "sh", "-c", script)
    assert done.stdout == "kept\n" and (shared / "new").read_text() == "new\n"
    either.docker("volume", "rm", name)
    assert sorted(path.name for path in shared.iterdir()) == ["kept", "new"]


def test_an_empty_directory_gets_what_the_image_has(either: Host, name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = {"type": "none", "o": "bind", "device": str(tmp_path / "empty")}
    either.docker("volume", "create", *opts(**said), name)
    either.docker("run", "--rm", "--name", name, "-v", f"{name}:/etc", "busybox", "true")
    assert (tmp_path / "empty/passwd").exists()


def test_memory_as_a_volume(either: Host, name: str) -> None:
    said = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=0700"}
    either.docker("volume", "create", *opts(**said), name)
    either.docker("run", "-d", "--name", name, "-v", f"{name}:/x", "busybox", "sleep", "600")
    shown = either.docker("exec", name, "sh", "-c", "stat -c '%u %a' /x; df -k /x | tail -1; echo x > /x/x")
    assert shown.stdout.splitlines()[0] == "1000 700" and " 1024 " in shown.stdout
    either.docker("run", "--rm", "--name", f"{name}b", "-v", f"{name}:/y", "busybox", "cat", "/y/x")
    either.docker("rm", "-f", name)
    done = either.docker("run", "--rm", "--name", name, "-v", f"{name}:/x", "busybox", "ls", "/x")
    assert done.stdout == "", "it is there as long as somebody uses it"


def test_options_in_a_mount(either: Host, name: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    words = (
        f"type=volume,src={name},dst=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={tmp_path}"
    )
    done = either.docker("run", "--rm", "--name", name, "--mount", words, "busybox", "cat", "/x/kept")
    assert done.stdout == "kept"
    assert either.http("GET", f"/volumes/{name}").json["Options"]["device"] == str(tmp_path)


def test_a_directory_that_is_not_there(either: Host, name: str, tmp_path: Path) -> None:
    said = {"type": "none", "o": "bind", "device": str(tmp_path / "nosuch")}
    either.docker("volume", "create", *opts(**said), name)
    done = either.docker("run", "--rm", "--name", name, "-v", f"{name}:/x", "busybox", "true", check=False)
    assert done.returncode and "failed to mount local volume" in done.stderr
    assert "no such file or directory" in done.stderr.lower()


def test_a_name_that_is_there_with_other_options(either: Host, name: str) -> None:
    either.docker("volume", "create", name)
    said = {"type": "tmpfs", "device": "tmpfs"}
    answer = either.http("POST", "/volumes/create", {"Name": name, "DriverOpts": said})
    either.agrees("a volume that is there, with other options", answer.status, 201)
    assert either.http("GET", f"/volumes/{name}").json["Options"] in (None, {})


def test_df_counts_nothing_that_is_elsewhere(either: Host, name: str, tmp_path: Path) -> None:
    (tmp_path / "much").write_bytes(bytes(1 << 20))
    either.docker("volume", "create", *opts(type="none", o="bind", device=str(tmp_path)), name)
    either.docker("run", "-d", "--name", name, "-v", f"{name}:/x", "busybox", "sleep", "600")
    items = either.http("GET", "/v1.44/system/df", query={"type": "volume"}).json["Volumes"] or ()
    assert name not in {item["Name"] for item in items}


def test_filters(either: Host, name: str) -> None:
    no_word = {"filters": {"dangling": ["x"]}}
    assert either.http("GET", "/volumes", query=no_word).status == 400  # where there are none, too
    either.docker("volume", "create", "--label", "x=1", f"{name}a")
    either.docker("volume", "create", "--label", "x=2", "--label", "y", f"{name}b")
    either.docker("create", "--name", name, "-v", f"{name}a:/x", "busybox")
    a, b = f"{name}a", f"{name}b"
    assert names(either, name=[name]) == {a, b} and names(either, name=[a]) == {a}
    assert names(either, label=["x"]) >= {a, b} and names(either, label=["x=2", "y"]) & {a, b} == {b}
    assert names(either, driver=["local"]) >= {a, b} and names(either, driver=["nosuch"]) == set()
    assert names(either, dangling=["true"]) & {a, b} == {b}
    assert names(either, dangling=["false"]) & {a, b} == {a}
    assert either.http("GET", "/volumes", query={"filters": {"dangling": ["x"]}}).status == 400
    assert either.http("GET", "/volumes", query={"filters": {"nonsense": ["x"]}}).status == 400


def test_prune_takes_what_nobody_has(either: Host, name: str) -> None:
    for each in "abc":
        either.docker("volume", "create", "--label", f"kind={name}{each}", name + each)
    bare = either.http("POST", "/volumes/create").json["Name"]
    either.docker("create", "--name", name, "-v", f"{name}a:/x", "-v", "/anonymous", "busybox")
    mounts = either.http("GET", f"/containers/{name}/json").json["Mounts"]
    [own] = [each["Name"] for each in mounts if each["Destination"] == "/anonymous"]
    assert prune(either, label=[f"kind={name}b"]) == set()
    assert prune(either) == {bare}
    either.docker("rm", name)
    assert {own} == prune(either)
    assert prune(either, all=["true"], label=[f"kind={name}b"]) == {f"{name}b"}
    assert prune(either, all=["1"], **{"label!": [f"kind={name}c"]}) == {f"{name}a"}
    assert prune(either, version="/v1.41") == {f"{name}c"}
    assert either.http("POST", "/volumes/prune", query={"filters": {"all": ["x"]}}).status == 400


def test_a_container_s_anonymous_volumes_go_with_it(either: Host, name: str) -> None:
    either.docker("run", "-d", "--name", name, "-v", "/data", "busybox", "sleep", "1000")
    [mount] = either.http("GET", f"/containers/{name}/json").json["Mounts"]
    shown = either.http("GET", f"/volumes/{mount['Name']}").json
    assert shown["Labels"] == {ANONYMOUS: ""} and len(mount["Name"]) == 64
    either.docker("rm", "-f", "-v", name)
    assert either.http("GET", f"/volumes/{mount['Name']}").status == 404
    either.docker("run", "-d", "--name", name, "-v", f"{mount['Name']}:/data", "busybox", "sleep", "1000")
    assert names(either, name=[mount["Name"]]) == {mount["Name"]}


def test_a_volume_that_got_a_name_goes_too(either: Host, name: str) -> None:
    """Another container had it by --volumes-from, and is gone."""
    either.docker("run", "--name", name, "-v", "/data", "busybox", "touch", "/data/f")
    either.docker("run", "--rm", "--volumes-from", name, "busybox", "ls", "/data/f")
    assert len(names(either)) == 1
    either.docker("rm", "-v", name)
    either.docker("run", "--rm", "busybox", "sleep", "0.5")  # time to make it anew
    assert names(either) == set()


def test_the_volumes_of_another_container(either: Host, name: str) -> None:
    """With a name and without one, of one that has ended and of one that runs."""
    data = ("-v", "/data", "-v", f"{name}:/named")
    either.docker("run", "--name", name, *data, "busybox", "sh", "-c", "echo 1 >/data/f; echo 2 >/named/f")
    show = ("busybox", "cat", "/data/f", "/named/f")
    assert either.docker("run", "--rm", "--volumes-from", f"{name}:ro", *show).stdout == "1\n2\n"
    second = ("run", "-d", "--name", f"{name}2", "--volumes-from", name, "busybox", "sleep", "1000")
    either.docker(*second)
    [own] = names(either) - {name}
    either.docker("rm", "-v", name)  # another one has it still
    assert either.docker("exec", f"{name}2", "cat", "/data/f").stdout == "1\n"
    either.docker("rm", "-f", "-v", f"{name}2")
    either.agrees("it stays with the last that had it by --volumes-from", own in names(either), False)
    assert prune(either) == ({own} if either.is_ours else set())


def test_a_name_that_went_can_come_again(either: Host, name: str) -> None:
    for _ in range(3):
        either.docker("run", "--rm", "-v", f"{name}:/x", "busybox", "sh", "-c", "ls /x; echo >/x/new")
        either.docker("volume", "rm", name)
        assert either.docker("volume", "create", name).stdout.strip() == name
        assert either.docker("run", "--rm", "-v", f"{name}:/x", "busybox", "ls", "/x").stdout == ""
        either.docker("volume", "rm", name)


def test_update_is_for_clusters(either: Host, name: str) -> None:
    either.docker("volume", "create", name)
    answer = either.http("PUT", f"/volumes/{name}", {"Spec": {}}, query={"version": "1"})
    assert answer.status == 503 and "only valid for cluster volumes" in answer.message


def test_docker_py(client: Any, name: str) -> None:
    volume = client.volumes.create(name, labels={"a": "b"})
    assert client.volumes.get(name) == volume and client.volumes.list(filters={"name": name}) == [volume]
    assert volume.attrs["Labels"] == {"a": "b"}
    out = client.containers.run("busybox", "ls /x", volumes={name: {"bind": "/x", "mode": "ro"}}, remove=True)
    assert out == b""
    volume.remove()
    assert client.volumes.list(filters={"name": name}) == []


MANIFEST = """\
services:
  web:
    image: busybox
    command: [sh, -c, 'trap exit TERM; sleep 1000 & wait']
    volumes: [data:/x]
volumes:
  data:
    name: {name}
"""


def test_what_a_manifest_owns_stays_until_it_does_not(agent_story: Story, host: Host, name: str) -> None:
    file = f"{name}/compose.yaml"
    agent_story.apply({file: MANIFEST.format(name=name)})
    owned = host.http("DELETE", f"/volumes/{name}")
    assert owned.status == 409 and f"{file}:7" in owned.message
    host.docker("run", "--rm", "-v", f"{name}:/x", "busybox", "touch", "/x/file")
    assert name not in prune(host, all=["true"])
    agent_story.apply({file: None})
    assert names(host, name=[name], dangling=["true"]) == {name}
    assert host.docker("run", "--rm", "-v", f"{name}:/x", "busybox", "ls", "/x").stdout == "file\n"
    assert not [each for each in agent_story.status()["objects"] if each["phase"] == "Stalled"]
    host.docker("volume", "rm", name)
    assert names(host, name=[name]) == set()
    agent_story.setpoint("sync", "--wait")
    assert names(host, name=[name]) == set()


def test_one_without_a_name_is_named_and_goes(host: Host, name: str) -> None:
    host.docker("run", "--name", name, "-v", "/data", "busybox", "touch", "/data/file")
    [mount] = host.http("GET", f"/containers/{name}/json").json["Mounts"]
    host.docker("rm", name)
    volume = mount["Name"]
    assert host.docker("run", "--rm", "-v", f"{volume}:/x", "busybox", "ls", "/x").stdout == "file\n"
    host.docker("volume", "rm", volume)
    assert names(host, name=[volume]) == set()
    assert host.docker("run", "--rm", "-v", f"{volume}:/x", "busybox", "ls", "/x").stdout == ""


def test_one_that_goes_while_a_container_comes(host: Host, name: str) -> None:
    """Who is first has it: a container never has a volume that was removed from under it."""
    body = {"Image": "busybox", "HostConfig": {"Binds": [f"{name}:/x"]}}
    for _ in range(10):
        assert host.http("POST", "/volumes/create", {"Name": name}).status == 201
        with ThreadPoolExecutor(2) as threads:
            made = threads.submit(host.http, "POST", "/containers/create", body, query={"name": name})
            gone = threads.submit(host.http, "DELETE", f"/volumes/{name}")
            created, removed = made.result(), gone.result()
        assert created.status == 201 and removed.status in (204, 409)
        assert names(host, name=[name]) == {name}
        assert host.http("DELETE", f"/containers/{name}").status == 204
        assert host.http("DELETE", f"/volumes/{name}").status == 204


COMPOSE = """\
services:
  web:
    image: busybox
    command: [sh, -c, "cp /data/kept /cache/kept; exec sleep 600"]
    init: true
    volumes: ["data:/data", "cache:/cache"]
volumes:
  data: {{driver: local, driver_opts: {{type: none, o: bind, device: {place}}}}}
  cache: {{driver_opts: {{type: tmpfs, device: tmpfs, o: "size=2m,nodev"}}}}
"""


def test_a_compose_file_with_volumes_of_the_host(either: Host, name: str, tmp_path: Path) -> None:
    folder, place = tmp_path / name, tmp_path / "place"
    folder.mkdir()
    place.mkdir()
    (place / "kept").write_text("kept")
    (folder / "compose.yaml").write_text(COMPOSE.format(place=place))
    either.compose(folder, "up", "-d", "--wait")
    shown = either.compose(folder, "exec", "-T", "web", "sh", "-c", "cat /data/kept; df -k /cache | tail -1")
    assert shown.stdout.startswith("kept") and " 2048 " in shown.stdout
    either.compose(folder, "down", "-v", "-t", "0")
    assert not names(either, name=[name]) and (place / "kept").read_text() == "kept"


@pytest.mark.parametrize(
    ("sub", "status", "why"),
    [
        ("not/there", 404, "no such file or directory"),
        ("out", 400, "no such file or directory"),
        ("file/x", 400, "not a directory"),
        ("loop", 400, "too many levels of symbolic links"),
    ],
)
def test_a_subpath_that_leads_nowhere_is_said_in_words(
    either: Host, name: str, sub: str, status: int, why: str
) -> None:
    make = "ln -s /etc /d/out; ln -s loop /d/loop; echo > /d/file"
    either.docker("run", "--rm", "-v", f"{name}:/d", "--network", "none", "busybox", "sh", "-c", make)
    mount = {"Type": "volume", "Source": name, "Target": "/d", "VolumeOptions": {"Subpath": sub}}
    body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none", "Mounts": [mount]}}
    assert either.http("POST", "/containers/create", body, query={"name": name}).status == 201
    refused = either.http("POST", f"/containers/{name}/start")
    either.agrees(f"start with a subpath that is {sub}", refused.status, status)
    state = either.http("GET", f"/containers/{name}/json").json["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 128)
    if either.is_ours:
        assert f"cannot access path {_path(either, name)}/{sub}: {why}" in refused.message
        assert state["Error"] and "hint: make it first" in refused.message
    elif status == 404:
        assert "cannot access path" in refused.message and why in refused.message


def test_a_subpath_that_is_made_later_is_found(either: Host, name: str) -> None:
    words = (
        "--name",
        name,
        "--network",
        "none",
        "--mount",
        f"type=volume,src={name},dst=/d,volume-subpath=a",
    )
    either.docker("create", *words, "busybox", "touch", "/d/here")
    assert either.http("POST", f"/containers/{name}/start").status == 404
    Path(_path(either, name), "a").mkdir()
    assert either.http("POST", f"/containers/{name}/start").status == 204
    assert either.http("POST", f"/containers/{name}/wait").json["StatusCode"] == 0
    assert Path(_path(either, name), "a", "here").exists()


def _path(host: Host, volume: str) -> str:
    found: str = host.http("GET", f"/volumes/{volume}").json["Mountpoint"]
    return found
