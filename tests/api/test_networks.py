"""Networks by real clients, against the agent and against dockerd."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story

SLEEP = ("busybox", "sleep", "1000")
BUILT_IN = ("host", "none")


def run(host: Host, name: str, *options: str) -> str:
    return host.docker("run", "-d", "--name", name, *options, *SLEEP).stdout.strip()


def addresses(host: Host, container: str) -> dict[str, str]:
    """Network -> address, of a container."""
    networks = host.http("GET", f"/containers/{container}/json").json["NetworkSettings"]["Networks"]
    return {name: each["IPAddress"] for name, each in networks.items()}


def inside(host: Host, container: str, *words: str) -> str:
    return host.docker("exec", container, *words).stdout


def test_a_network_comes_is_shown_and_goes(either: Host, name: str) -> None:
    created = either.docker(
        "network", "create", "--subnet", "10.191.7.0/24", "--gateway", "10.191.7.9", "--label", "a=b",
        "--opt", "com.docker.network.driver.mtu=1400", "--internal", name,
    ).stdout.strip()  # fmt: skip
    assert len(created) == 64 and set(created) <= set("0123456789abcdef")
    [shown] = json.loads(either.docker("network", "inspect", created[:12]).stdout)
    assert shown == json.loads(either.docker("network", "inspect", name).stdout)[0]
    assert (shown["Name"], shown["Id"], shown["Driver"], shown["Scope"]) == (name, created, "bridge", "local")
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.191.7.0/24", "Gateway": "10.191.7.9"}]
    assert shown["Options"] == {"com.docker.network.driver.mtu": "1400"} and shown["Labels"] == {"a": "b"}
    assert (shown["Internal"], shown["Attachable"], shown["Containers"]) == (True, False, {})
    assert shown["Created"][:2] == "20"
    assert either.http("GET", f"/networks/{name}", query={"scope": "swarm"}).status == 404
    assert either.http("GET", f"/networks/{name}", query={"verbose": "maybe"}).status == 400
    assert either.docker("network", "rm", name).stdout.strip() == name
    gone = either.http("GET", f"/networks/{name}")
    assert (gone.status, gone.message) == (404, f"network {name} not found")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"Name": ""}, 400, "invalid name: "),
        ({"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network"),
        ({"Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Driver": "nosuch"}, 404, 'plugin "nosuch" not found'),
        ({"Driver": "overlay"}, 403, "This node is not a swarm manager."),
        ({"Scope": "swarm"}, 403, "cannot create a swarm scoped network when swarm is not active"),
        ({"Ingress": True}, 403, "Ingress network can only be global scope network"),
        ({"IPAM": {"Driver": "nosuch"}}, 404, 'plugin "nosuch" not found'),
        ({"IPAM": {"Config": [{"Subnet": "x"}]}}, 400, "invalid subnet x: invalid CIDR block notation"),
        ({"IPAM": {"Config": [{"Gateway": "10.1.1.1"}]}}, 400, "invalid subnet : invalid CIDR"),
        ({"IPAM": {"Config": [{"Subnet": "10.191.0.5/24"}]}}, 400, "it should be 10.191.0.0/24"),
        (
            {"IPAM": {"Config": [{"Subnet": "10.191.0.0/24", "Gateway": "10.192.0.1"}]}},
            400,
            "invalid gateway 10.192.0.1: parent subnet 10.191.0.0/24 doesn't contain this address",
        ),
        ({"Options": {"com.docker.network.driver.mtu": "x"}}, 400, "failed to parse"),
        ({"Options": {"com.docker.network.bridge.enable_icc": "x"}}, 400, "failed to parse"),
    ],
)
def test_what_cannot_be_made(either: Host, name: str, body: dict[str, Any], status: int, words: str) -> None:
    if "nosuch" in words and not either.is_ours:
        pytest.skip("dockerd waits 15 s for a plugin")
    answer = either.http("POST", "/networks/create", {"Name": name, **body})
    assert (answer.status, words in answer.message) == (status, True), answer.message
    assert either.http("GET", f"/networks/{name}").status == 404


def links(host: Host) -> str:
    """Of the host, where both daemons have theirs."""
    return subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout


def test_the_bridge_has_the_name_that_is_asked_for(either: Host, name: str) -> None:
    link, option = f"t{name[-8:]}", "com.docker.network.bridge.name"
    either.docker("network", "create", "--opt", f"{option}={link}", name)
    try:
        assert json.loads(either.docker("network", "inspect", name).stdout)[0]["Options"] == {option: link}
        assert f"{link} " in links(either)
        run(either, name, "--network", name)
        [gateway] = [
            each["Gateway"] for each in either.http("GET", f"/networks/{name}").json["IPAM"]["Config"]
        ]
        assert inside(either, name, "ping", "-c", "1", "-W", "5", gateway)
        done = either.docker("network", "create", "--opt", f"{option}={link}", f"{name}b", check=False)
        assert done.returncode and link in done.stderr
    finally:
        either.docker("rm", "-f", name, check=False)
        either.docker("network", "rm", name)
    assert f"{link} " not in links(either)


@pytest.mark.parametrize(
    "body",
    [
        {"EnableIPv4": False},
        {"ConfigOnly": True},
        {"Driver": "macvlan"},
        {"Options": {"whatever": "x"}},
        {"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "fd00:77::/64"}, {"Subnet": "fd00:78::/64"}]}},
    ],
)
def test_what_we_have_not_is_refused(http: Http, name: str, body: dict[str, Any]) -> None:
    answer = http("POST", "/networks/create", {"Name": name, **body})
    assert answer.status == 501 and answer.message


def test_addresses_come_of_a_range_and_some_are_kept_free(either: Host, name: str) -> None:
    config = {
        "Subnet": "10.191.0.0/24", "Gateway": "10.191.0.1", "IPRange": "10.191.0.128/29",
        "AuxiliaryAddresses": {"router": "10.191.0.129"},
    }  # fmt: skip
    made = either.http("POST", "/networks/create", {"Name": name, "IPAM": {"Config": [config]}})
    assert made.status == 201
    assert either.http("GET", f"/networks/{name}").json["IPAM"]["Config"] == [config]
    for each in ("a", "b"):
        either.docker("run", "-d", "--name", f"{name}{each}", "--network", name, "busybox", "sleep", "1000")
    found = {addresses(either, f"{name}{each}")[name] for each in ("a", "b")}
    assert len(found) == 2 and "10.191.0.129" not in found
    assert all(128 <= int(address.rpartition(".")[2]) < 136 for address in found)
    taken = ("--network", name, "--ip", "10.191.0.129", "busybox", "true")
    assert either.docker("run", "--rm", *taken, check=False).returncode == 125
    either.docker("run", "--rm", "--network", name, "--ip", "10.191.0.9", "busybox", "true")


def test_a_name_and_a_subnet_are_one_network_s(either: Host, name: str) -> None:
    subnet = {"Config": [{"Subnet": "10.191.8.0/24"}]}
    assert either.http("POST", "/networks/create", {"Name": name, "IPAM": subnet}).status == 201
    again = either.http("POST", "/networks/create", {"Name": name, "CheckDuplicate": False})
    assert (again.status, again.message) == (409, f"network with name {name} already exists")
    other = either.http("POST", "/networks/create", {"Name": f"{name}2", "IPAM": subnet})
    assert other.status == 403 and other.message.startswith(
        "Pool overlaps with other one on this address space"
    )
    assert either.http("GET", f"/networks/{name}2").status == 404


def test_of_many_that_ask_for_one_name_one_gets_it(host: Host, name: str) -> None:
    def ask(_number: int) -> int:
        return host.http("POST", "/networks/create", {"Name": name}).status

    with ThreadPoolExecutor(20) as threads:
        found = sorted(threads.map(ask, range(20)))
    assert found == [201] + [409] * 19


def test_the_three_that_are_always_there(host: Host, http: Http) -> None:
    listed = {each["Name"]: each for each in http("GET", "/networks").json}
    assert {name: listed[name]["Driver"] for name in ("bridge", "host", "none")} == {
        "bridge": "bridge", "host": "host", "none": "null",
    }  # fmt: skip
    options = listed["bridge"]["Options"]
    assert options["com.docker.network.bridge.default_bridge"] == "true"
    for name in ("bridge", "host", "none"):
        answer = http("DELETE", f"/networks/{name}")
        assert (answer.status, answer.message) == (
            403, f"{name} is a pre-defined network and cannot be removed",
        )  # fmt: skip


def test_filters(either: Host, name: str) -> None:
    first = either.http("POST", "/networks/create", {"Name": f"{name}a", "Labels": {"x": "1"}}).json["Id"]
    either.http("POST", "/networks/create", {"Name": f"{name}b", "Labels": {"x": "2", "y": ""}})

    def found(**filters: list[str]) -> set[str]:
        answer = either.http("GET", "/networks", query={"filters": filters})
        return {each["Name"].removeprefix(name) for each in answer.json if each["Name"].startswith(name)}

    assert found(name=[name]) == {"a", "b"}
    assert found(name=[f"^{name}a$"]) == {"a"} and found(name=[f"^{name}$"]) == set()
    assert found(id=[first[:10]]) == {"a"}
    assert (
        found(label=["x"]) == {"a", "b"}
        and found(label=["x=2"]) == {"b"}
        and found(label=["x", "y"]) == {"b"}
    )
    assert found(driver=["bridge"]) == {"a", "b"} and found(driver=["null"]) == set()
    assert found(scope=["local"]) == {"a", "b"} and found(scope=["swarm"]) == set()
    assert found(type=["custom"]) == {"a", "b"} and found(type=["builtin"]) == set()
    assert found(dangling=["true"]) == {"a", "b"} and found(dangling=["false"]) == set()
    run(either, f"{name}c", "--network", f"{name}a")
    dangling = [sorted(found(dangling=[word])) for word in ("true", "false")]
    either.agrees("which networks are dangling", dangling, [["b"], ["a"]])
    names = {
        each["Name"]
        for each in either.http("GET", "/networks", query={"filters": {"type": ["builtin"]}}).json
    }
    assert names >= set(BUILT_IN) and not any(each.startswith(name) for each in names)
    assert either.http("GET", "/networks", query={"filters": {"nonsense": ["x"]}}).status == 400
    status = either.http("GET", "/networks", query={"filters": {"type": ["x"]}}).status
    either.agrees("networks by a type that there is not", status, 400)
    assert either.http("GET", "/networks", query={"filters": {"dangling": ["x"]}}).status == 400


def test_containers_reach_each_other_by_name(host: Host, name: str) -> None:
    host.docker("network", "create", name)
    one = run(host, f"{name}1", "--network", name, "--network-alias", f"{name}x")
    run(host, f"{name}2", "--network", name)
    for peer in (f"{name}1", f"{name}x", one[:12]):
        assert "1 packets received" in inside(host, f"{name}2", "ping", "-c1", "-W2", peer)
    shown = host.http("GET", f"/networks/{name}").json["Containers"]
    assert {each["Name"] for each in shown.values()} == {f"{name}1", f"{name}2"}
    mine = shown[one]
    assert mine["IPv4Address"] == f"{addresses(host, one)[name]}/24" and len(mine["EndpointID"]) == 64
    assert mine["MacAddress"] in inside(host, one, "ip", "link")


def test_a_running_container_comes_to_a_network_and_leaves_it(either: Host, name: str) -> None:
    for each in "ab":
        either.docker("network", "create", name + each)
    one = run(either, f"{name}1", "--network", f"{name}a")
    either.docker("network", "connect", "--alias", "there", f"{name}b", f"{name}1")
    seen = addresses(either, one)
    assert seen.keys() == {f"{name}a", f"{name}b"} and all(seen.values())
    assert f"inet {seen[name + 'b']}/" in inside(either, one, "ip", "address", "show", "eth1")
    again = either.http("POST", f"/networks/{name}b/connect", {"Container": one})
    assert (again.status, again.message) == (
        403,
        f"endpoint with name {name}1 already exists in network {name}b",
    )
    in_use = either.http("DELETE", f"/networks/{name}b")
    assert in_use.status == 403
    assert in_use.message.startswith(f"error while removing network: network {name}b id ")
    assert "has active endpoints" in in_use.message
    either.docker("network", "disconnect", f"{name}a", f"{name}1")
    assert addresses(either, one) == {f"{name}b": seen[f"{name}b"]}
    assert "eth0" not in inside(either, one, "ip", "link")
    either.docker("network", "rm", f"{name}a")
    off = either.http("POST", f"/networks/{name}b/disconnect", {"Container": one, "Force": True})
    assert off.status == 200 and addresses(either, one) == {}
    more = either.http("POST", f"/networks/{name}b/disconnect", {"Container": one})
    assert f"container {one} is not connected to" in more.message
    either.agrees("leave a network that it is not on", more.status, 409)
    assert either.docker("inspect", "-f", "{{.State.Running}}", one).stdout.strip() == "true"


def test_names_follow_who_comes(host: Host, name: str) -> None:
    host.docker("network", "create", name)
    run(host, f"{name}1")
    run(host, f"{name}2", "--network", name)
    host.docker("network", "connect", "--alias", f"{name}x", name, f"{name}1")
    for peer in (f"{name}1", f"{name}x"):
        assert "1 packets received" in inside(host, f"{name}2", "ping", "-c1", "-W2", peer)
    host.docker("rename", f"{name}1", f"{name}3")
    assert "1 packets received" in inside(host, f"{name}2", "ping", "-c1", "-W2", f"{name}3")
    assert host.docker("exec", f"{name}2", "ping", "-c1", f"{name}1", check=False).returncode != 0
    host.docker("network", "disconnect", name, f"{name}3")
    assert host.docker("exec", f"{name}2", "ping", "-c1", f"{name}x", check=False).returncode != 0


def test_a_published_port_stays_while_networks_change(host: Host, name: str) -> None:
    for each in ("0", "1"):
        host.docker("network", "create", name + each)
    host.docker(
        "run", "-d", "--name", name, "-p", "127.0.0.1::80", "--network", f"{name}1", "busybox",
        "sh", "-c", "mkdir /w; echo here > /w/index.html; exec httpd -f -p 80 -h /w",
    )  # fmt: skip
    address = host.docker("port", name, "80").stdout.strip()

    def page() -> bytes:
        return urllib.request.urlopen(f"http://{address}/", timeout=5).read()

    def is_served() -> bool:
        return host.docker("exec", name, "wget", "-qO-", "http://127.0.0.1/", check=False).returncode == 0

    while not is_served():
        pass
    assert page() == b"here\n"
    host.docker("network", "connect", f"{name}0", name)
    assert page() == b"here\n"
    host.docker("network", "disconnect", f"{name}1", name)
    assert page() == b"here\n"
    assert host.docker("port", name, "80").stdout.strip() == address


def test_a_stopped_container_s_networks_count_when_it_starts(either: Host, name: str) -> None:
    for each in "ab":
        either.docker("network", "create", name + each)
    either.docker("create", "--name", name, "--network", f"{name}a", *SLEEP)
    either.docker("network", "connect", f"{name}b", name)
    either.docker("network", "disconnect", f"{name}a", name)
    assert addresses(either, name) == {f"{name}b": ""}
    either.docker("start", name)
    assert addresses(either, name).keys() == {f"{name}b"} and addresses(either, name)[f"{name}b"]
    either.docker("stop", "-t", "0", name)
    off = either.http("DELETE", f"/networks/{name}b")
    either.agrees("remove the network of a stopped container", off.status, 403)


def test_addresses_that_are_asked_for(either: Host, name: str) -> None:
    either.docker("network", "create", "--subnet", "10.191.9.0/24", name)
    run(either, f"{name}1", "--network", name, "--ip", "10.191.9.77")
    assert addresses(either, f"{name}1") == {name: "10.191.9.77"}
    either.docker("network", "create", f"{name}b")
    run(either, f"{name}2", "--network", f"{name}b")

    def connect(address: str, **more: Any) -> tuple[int, str]:
        settings = {"IPAMConfig": {"IPv4Address": address}, **more}
        answer = either.http(
            "POST", f"/networks/{name}/connect", {"Container": f"{name}2", "EndpointConfig": settings}
        )
        return answer.status, answer.message if answer.status != 200 else ""

    assert connect("10.191.9.77") == (403, "Address already in use")
    status, message = connect("10.192.0.1")
    assert status == 400 and "no configured subnet or ip-range contain the IP address 10.192.0.1" in message
    assert connect("x")[0] == 400
    assert connect("10.191.9.80", MacAddress="zz") == (400, "invalid MAC address zz")
    assert connect("10.191.9.80", MacAddress="02:42:0a:00:00:99") == (200, "")
    assert addresses(either, f"{name}2")[name] == "10.191.9.80"
    is_so = "02:42:0a:00:00:99" in inside(either, f"{name}2", "ip", "link", "show", "eth1")
    either.agrees("a hardware address that a connect asks for", is_so, True)


def test_who_has_no_network_of_its_own_joins_none(either: Host, name: str) -> None:
    either.docker("network", "create", name)
    run(either, f"{name}h", "--network", "host")
    run(either, f"{name}n", "--network", "none")
    run(either, f"{name}o", "--network", name)
    run(either, f"{name}j", "--network", f"container:{name}o")

    def connect(network: str, container: str) -> tuple[int, str]:
        answer = either.http("POST", f"/networks/{network}/connect", {"Container": container})
        return answer.status, answer.message

    shared = (
        "container sharing network namespace with another container or host cannot be connected to any other "
        "network"
    )
    private = (
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )
    hosted = "container cannot be disconnected from host network or connected to host network"
    assert connect(name, f"{name}h") == (400, shared) and connect(name, f"{name}j") == (400, shared)
    assert connect(name, f"{name}n") == (400, private) and connect("none", f"{name}o") == (400, private)
    assert connect("host", f"{name}o") == (400, hosted)
    assert connect("nosuch", f"{name}o") == (404, "network nosuch not found")
    assert connect(name, "nosuch") == (404, "No such container: nosuch")
    left = either.http("POST", "/networks/host/disconnect", {"Container": f"{name}h"})
    assert (left.status, left.message) == (400, hosted)
    for network, container in (("host", f"{name}h"), ("none", f"{name}n"), (name, f"{name}o")):
        shown = either.http("GET", f"/networks/{network}").json["Containers"]
        assert [each["Name"] for each in shown.values() if each["Name"].startswith(name)] == [container]


def test_prune_takes_what_nobody_uses(either: Host, name: str) -> None:
    for each in "abc":
        either.http("POST", "/networks/create", {"Name": name + each, "Labels": {"kind": each}})
    run(either, f"{name}1", "--network", f"{name}a")

    def prune(**filters: list[str]) -> set[str]:
        answer = either.http("POST", "/networks/prune", query={"filters": filters})
        return set(answer.json["NetworksDeleted"] or ())

    assert prune(until=["2h"]) == set()
    assert prune(**{"label!": ["kind"]}) == set()
    assert prune(label=["kind=b"]) == {f"{name}b"}
    assert either.docker("network", "prune", "-f").stdout.split()[2:] == [f"{name}c"]
    assert either.http("POST", "/networks/prune", query={"filters": {"nonsense": ["x"]}}).status == 400
    assert either.http("GET", f"/networks/{name}a").status == 200


def test_docker_py(client: Any, name: str) -> None:
    network = client.networks.create(name, labels={"a": "b"}, check_duplicate=True)
    assert client.networks.get(name).id == network.id and client.networks.list(names=[name]) == [network]
    container = client.containers.run("busybox", "sleep 1000", detach=True, name=f"{name}1")
    network.connect(container, aliases=["x"])
    network.reload()
    assert network.containers == [container]
    network.disconnect(container)
    network.reload()
    assert network.containers == []
    network.remove()
    assert client.networks.list(names=[name]) == []


MANIFEST = """\
services:
  web:
    image: busybox
    command: [sh, -c, 'trap exit TERM; sleep 1000 & wait']
networks:
  back:
    name: {name}
"""


def test_what_a_manifest_owns_is_shown_and_stays(agent_story: Story, host: Host, name: str) -> None:
    file = f"{name}/compose.yaml"
    agent_story.apply({file: MANIFEST.format(name=name)})
    try:
        owned = host.http("DELETE", f"/networks/{name}")
        assert owned.status == 409 and f"{file}:6" in owned.message
        assert host.http("GET", f"/networks/{name}").json["Name"] == name
        joined = host.http("POST", f"/networks/{name}/connect", {"Container": f"{name}-web-1"})
        assert joined.status == 409 and f"{file}:2" in joined.message
        run(host, f"{name}1", "--network", name)
        shown = host.http("GET", f"/networks/{name}").json["Containers"]
        assert [each["Name"] for each in shown.values()] == [f"{name}1"]
        host.docker("network", "connect", f"{name}_default", f"{name}1")
        assert addresses(host, f"{name}1").keys() == {name, f"{name}_default"}
        assert "1 packets received" in inside(host, f"{name}1", "ping", "-c1", "-W2", "web")
        host.docker("rm", "-f", f"{name}1")
    finally:
        agent_story.apply({file: None})


def test_many_come_and_go_at_once(host: Host, name: str) -> None:
    """Side by side over ten networks: each answer is the truth, and the last word counts."""
    names = [f"{name}{number}" for number in range(10)]
    for each in names:
        assert host.http("POST", "/networks/create", {"Name": each}).status == 201
    box = run(host, name)
    pid = host.docker("inspect", "-f", "{{.State.Pid}}", name).stdout

    def ask(word: str, network: str) -> int:
        return host.http("POST", f"/networks/{network}/{word}", {"Container": box}).status

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(lambda each: ask("connect", each), names)) == {200}
        assert addresses(host, box).keys() == {"bridge", *names} and all(addresses(host, box).values())
        twice = list(threads.map(lambda each: ask("disconnect", each), [*names, *names]))
    assert set(twice) <= {200, 409} and twice.count(200) >= 10
    assert addresses(host, box).keys() == {"bridge"}
    assert host.docker("inspect", "-f", "{{.State.Pid}}", name).stdout == pid
    for each in names:
        assert host.http("DELETE", f"/networks/{each}").status == 204


def test_names_may_be_long_and_have_dots_and_capitals(host: Host, name: str) -> None:
    for each in (f"Web.Front_{name}-1", f"{name}{'x' * 180}"):
        host.docker("network", "create", each)
        box = run(host, f"{name}{len(each)}", "--network", each)
        assert addresses(host, box).keys() == {each}
        host.docker("network", "connect", f"{each}", run(host, f"{name}{len(each)}b"))
        assert {
            n["Name"] for n in host.http("GET", "/networks", query={"filters": {"name": [each]}}).json
        } == {each}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/networks/create", {"Name": ["x"]}),
        ("/networks/create", {"Name": "x", "Labels": {"a": 1}}),
        ("/networks/create", {"Name": "x", "IPAM": []}),
        ("/networks/create", {"Name": "x", "IPAM": {"Config": {}}}),
        ("/networks/create", {"Name": "x", "Internal": "yes"}),
        ("/networks/create", {"Name": "x", "Options": {"a": None}}),
        ("/networks/create", {"Name": "x\0y"}),
        ("/networks/create", [1]),
        ("/networks/bridge/connect", {"Container": 7}),
        ("/networks/bridge/connect", {"Container": {"Id": "x"}}),
        ("/networks/bridge/connect", {"Container": "x", "EndpointConfig": 7}),
        ("/networks/bridge/disconnect", {"Container": "x", "Force": "yes"}),
        ("/volumes/create", {"Name": 7}),
        ("/volumes/create", {"Name": "xy", "Labels": 7}),
        ("/volumes/create", {"Name": "xy", "DriverOpts": [1]}),
    ],
)
def test_what_is_no_request_is_refused(http: Http, path: str, body: Any) -> None:
    answer = http("POST", path, body)
    assert answer.status in (400, 404) and answer.message


def test_one_that_goes_while_others_come(host: Host, name: str) -> None:
    """Who is first has it: the network goes and nobody is on it, or it stays and nothing was removed."""
    for _ in range(10):
        assert host.http("POST", "/networks/create", {"Name": name}).status == 201
        body = {"Image": "busybox", "Cmd": ["sleep", "9"], "HostConfig": {"NetworkMode": name}}
        with ThreadPoolExecutor(2) as threads:
            made = threads.submit(host.http, "POST", "/containers/create", body, query={"name": name})
            gone = threads.submit(host.http, "DELETE", f"/networks/{name}")
            created, removed = made.result(), gone.result()
        assert (created.status, removed.status) in ((201, 403), (400, 204), (404, 204)), (
            created.body,
            removed.body,
        )
        if created.status == 201:
            assert host.http("DELETE", f"/containers/{name}").status == 204
            assert host.http("DELETE", f"/networks/{name}").status == 204
