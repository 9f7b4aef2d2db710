"""Fields that were once let go without a word, and what a client shows: the same as with dockerd."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A directory with another file system mounted in it."""
    below = tmp_path / "tree/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", below], check=True)
    (below / "file").touch()
    yield tmp_path / "tree"
    subprocess.run(["umount", below], check=True)


def mounted(host: Host, tree: Path, words: str) -> list[str]:
    """What a container sees of the tree: the file, and whether it can write beside it."""
    mount = f"type=bind,src={tree},dst=/m,ro,bind-propagation=rprivate{words}"
    look = "ls /m/below; touch /m/below/new 2>/dev/null && echo writable"
    done = host.docker(
        "run", "--rm", "--network", "none", "--mount", mount, "busybox", "sh", "-c", look, check=False
    )
    (tree / "below/new").unlink(missing_ok=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("", ["file"]),
        (",bind-recursive=disabled", []),
        (",bind-recursive=writable", ["file", "writable"]),
        (",bind-recursive=readonly", ["file"]),
    ],
)
def test_mounts_below_a_bind(either: Host, tree: Path, words: str, seen: list[str]) -> None:
    assert mounted(either, tree, words) == seen


def test_a_mount_gives_its_volume_labels(either: Host, name: str) -> None:
    either.docker("create", "--mount", f"type=volume,src={name},dst=/m,volume-label=a=b", "busybox")
    assert either.http("GET", f"/volumes/{name}").json["Labels"] == {"a": "b"}


def test_a_terminal_is_of_its_size_from_the_beginning(either: Host, name: str) -> None:
    body = {"Image": "busybox", "Cmd": ["stty", "size"], "Tty": True,
            "HostConfig": {"ConsoleSize": [31, 77], "NetworkMode": "none"}}  # fmt: skip
    assert either.http("POST", f"/containers/create?name={name}", body).status == 201
    either.docker("start", name)
    either.docker("wait", name)
    assert either.docker("logs", name).stdout.strip() == "31 77"


def test_an_exec_makes_no_directory(either: Host, name: str) -> None:
    either.docker("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    refused = either.docker("exec", "-w", "/nobody", name, "pwd", check=False)
    said = refused.stdout + refused.stderr
    assert refused.returncode in (126, 127) and "/nobody" in said
    assert "no such file or directory" in said and "openat2(" not in said
    assert either.docker("exec", name, "ls", "-d", "/nobody", check=False).returncode == 1


def test_a_hardware_address_on_the_default_network(host: Host) -> None:
    look = ("cat", "/sys/class/net/eth0/address")
    assert host.docker(
        "run", "--rm", "--mac-address", "02:42:0a:00:00:77", "busybox", *look
    ).stdout.strip() == ("02:42:0a:00:00:77")


def test_a_name_with_its_domain(host: Host) -> None:
    run = ("run", "--rm", "--hostname", "box", "--domainname", "lab.example", "busybox")
    assert host.docker(*run, "hostname", "-f").stdout == "box.lab.example\n"
    assert host.docker(*run, "hostname").stdout == "box\n"
    dotted = host.docker("run", "--rm", "-h", "box.lab.example", "busybox", "cat", "/etc/hosts").stdout
    assert any(line.split()[1:3] == ["box.lab.example", "box"] for line in dotted.splitlines())


def test_the_address_on_the_default_network_is_where_scripts_look_for_it(host: Host, name: str) -> None:
    host.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    form = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.NetworkSettings.MacAddress}}"
    address, gateway, mac = host.docker("inspect", "-f", form, name).stdout.split()
    endpoint = json.loads(host.docker("inspect", name).stdout)[0]["NetworkSettings"]["Networks"]["bridge"]
    assert (address, gateway, mac) == tuple(endpoint[each] for each in ("IPAddress", "Gateway", "MacAddress"))
    assert address in host.docker("exec", name, "ip", "address").stdout


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"HostConfig": {"CpuPeriod": 10_000_000}}, "CPU cfs period can not be less than 1ms"),
    ({"HostConfig": {"CpuQuota": 10}}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ({"HostConfig": {"CpusetCpus": "777"}}, "Requested CPUs are not available - requested 777, available: 0"),
    ({"HostConfig": {"OomScoreAdj": 5500}}, "Invalid value 5500, range for oom score adj is [-1000, 1000]"),
    ({"WorkingDir": "a/b"}, "the working directory 'a/b' is invalid, it needs to be an absolute path"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_no_kernel_would_take_is_said_before(either: Host, fields: dict[str, Any], words: str) -> None:
    answer = either.http("POST", "/containers/create", {"Image": "busybox", **fields})
    assert answer.status == 400 and words in answer.message


def test_what_is_shown_is_what_was_said(either: Host, name: str) -> None:
    words = ("--log-opt", "max-size=1m", "--health-interval", "5s", "--stop-timeout", "-1")
    either.docker("create", "--name", name, "--network", "none", *words, "busybox")
    shown = either.http("GET", f"/containers/{name}/json").json
    assert shown["HostConfig"]["LogConfig"]["Config"]["max-size"] == "1m"
    assert shown["HostConfig"]["ShmSize"] == 64 << 20
    assert shown["Config"]["Healthcheck"] == {"Interval": 5_000_000_000}
    assert shown["Config"]["StopTimeout"] == -1


def test_a_missing_image_is_named_whole(either: Host, name: str) -> None:
    answer = either.http("POST", "/containers/create", {"Image": name})
    assert (answer.status, answer.message) == (404, f"No such image: {name}:latest")


@pytest.mark.parametrize(
    ("pattern", "is_so"), [("^{}$", 1), ("^/{}$", 1), ("{}|nobody", 1), ("^n[0-9a-f]+$", 1), ("x{}", 0)]
)
def test_names_by_patterns(either: Host, name: str, pattern: str, is_so: int) -> None:
    """Of containers, networks and volumes; of the slash that is before a container's name, too."""
    either.docker("create", "--name", name, "--network", "none", "busybox")
    either.docker("volume", "create", name)
    wanted = f"name={pattern.format(name)}"
    assert len(either.docker("ps", "-aq", "-f", wanted).stdout.split()) == is_so
    if "/" not in pattern:
        assert len(either.docker("volume", "ls", "-q", "-f", wanted).stdout.split()) == is_so


def test_a_network_whose_containers_keep_their_addresses(either: Host, name: str) -> None:
    option = "com.docker.network.bridge.enable_ip_masquerade"
    either.docker("network", "create", "-o", f"{option}=false", name)
    assert either.http("GET", f"/networks/{name}").json["Options"] == {option: "false"}


def test_a_network_says_where_its_ports_are_published(host: Host, name: str) -> None:
    """Of those that name no address themselves: of all, a binding, and one that the engine picks."""
    option = "com.docker.network.bridge.host_binding_ipv4=127.0.0.2"
    host.docker("network", "create", "-o", option, name)
    publish = ("-p", "80", "-p", "127.0.0.3:0:81", "-P", "--expose", "82")
    host.docker("run", "-d", "--name", name, "--network", name, *publish, "busybox", "sleep", "1000")
    ports = host.http("GET", f"/containers/{name}/json").json["NetworkSettings"]["Ports"]
    found = {port: [each["HostIp"] for each in bindings] for port, bindings in ports.items()}
    assert found == {"80/tcp": ["127.0.0.2"], "81/tcp": ["127.0.0.3"], "82/tcp": ["127.0.0.2"]}
    bad = {"Name": f"{name}x", "Options": {option.partition("=")[0]: "nowhere"}}
    assert host.http("POST", "/networks/create", bad).status == 400
