"""The book: who has which address and port, and what a sandbox is to have. No kernel."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runtime.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from runtime.layout import Layout
from runtime.model import EndpointConfig, NetworkConfig, PortConfig, SandboxConfig
from runtime.network import records
from runtime.network.addresses import check_parts, subnet_of
from runtime.network.book import Book, SandboxRequest
from runtime.network.records import NetworkRecord

LAYOUT = Layout("test")


def book(*configs: NetworkConfig) -> Book:
    numbers = itertools.count(40000)
    made = Book(LAYOUT, lambda _sandbox, _port: next(numbers))
    for number, config in enumerate(configs or (NetworkConfig("web"),)):
        subnet = subnet_of(config.name, config.subnet or f"10.{number}.0.0/24", "")
        made.put_network(NetworkRecord(config, subnet, LAYOUT.link_name("br", config.name)))
    return made


def request(id: str, *networks: str, ports: tuple[PortConfig, ...] = (), **more: object) -> SandboxRequest:
    config = SandboxConfig("own", id, tuple(EndpointConfig(name) for name in networks), ports)
    return SandboxRequest(config, id, (f"shop-{id}",), **more)  # type: ignore[arg-type]


def test_planning_enters_nothing() -> None:
    made = book()
    assert made.plan(request("one", "web")) == made.plan(request("one", "web"))
    assert made.sandboxes == {}


def test_a_sandbox_keeps_what_it_has() -> None:
    made = book(NetworkConfig("web"), NetworkConfig("db"))
    first = made.plan(request("one", "web"))
    made.put(first)
    made.put(made.plan(request("two", "web")))
    second = made.plan(request("one", "db", "web"))
    assert {each.network: each.interface for each in second.endpoints} == {"db": "eth1", "web": "eth0"}
    assert second.endpoints[1] == first.endpoints[0]


@pytest.mark.parametrize(
    ("one", "two", "is_refused"),
    [
        (PortConfig(80, 8080), PortConfig(81, 8080), True),
        (PortConfig(80, 8080), PortConfig(80, 8080, host_ip="127.0.0.1"), True),
        (PortConfig(80, 8080, host_ip="127.0.0.1"), PortConfig(80, 8080, host_ip="0.0.0.0"), True),
        (PortConfig(80, 8080, host_ip="127.0.0.1"), PortConfig(80, 8080, host_ip="192.0.2.1"), False),
        (PortConfig(80, 8080), PortConfig(80, 8080, "udp"), False),
        (PortConfig(80, 8080), PortConfig(80, 8081), False),
    ],
)
def test_a_port_is_published_once(one: PortConfig, two: PortConfig, is_refused: bool) -> None:
    made = book()
    made.put(made.plan(request("one", "web", ports=(one,))))
    if is_refused:
        with pytest.raises(Conflict, match="is published by shop-one"):
            made.plan(request("two", "web", ports=(two,)))
    else:
        made.put(made.plan(request("two", "web", ports=(two,))))
    made.drop("one")
    made.put(made.plan(request("two", "web", ports=(two,))))


@pytest.mark.parametrize(
    ("port", "error"),
    [
        (PortConfig(80, 70000), Invalid),
        (PortConfig(0, 80), Invalid),
        (PortConfig(80, -1), Invalid),
        (PortConfig(80, 90, among=(80, 89)), Invalid),
        (PortConfig(80, 80, "icmp"), Invalid),  # type: ignore[arg-type]
        (PortConfig(80, 80, host_ip="nowhere"), Invalid),
        (PortConfig(80, 80, host_ip="::1"), Unsupported),
    ],
)
def test_ports_that_cannot_be(port: PortConfig, error: type[Exception]) -> None:
    with pytest.raises(error):
        book().plan(request("one", "web", ports=(port,)))


def test_addresses_come_of_the_part_that_is_named() -> None:
    some = NetworkConfig(
        "web", "10.7.0.0/24", ip_range="10.7.0.252/30", aux_addresses={"router": "10.7.0.253"}
    )
    made = book(some)
    for id, last in (("a", 252), ("b", 254)):
        made.put(made.plan(request(id, "web")))
        assert made.sandboxes[id].endpoints[0].ipv4 & 255 == last
    with pytest.raises(Conflict, match=r"all addresses of 10\.7\.0\.252/30 are in use"):
        made.plan(request("c", "web"))
    named = [EndpointConfig("web", ipv4=f"10.7.0.{last}") for last in (9, 253)]
    asked = [SandboxRequest(SandboxConfig("own", "c", (each,)), "c", ("c",)) for each in named]
    assert made.plan(asked[0]).endpoints[0].ipv4 & 255 == 9
    with pytest.raises(Conflict, match="in use"):
        made.plan(asked[1])
    stored = records.network_from(json.loads(json.dumps(records.network_json(made.networks["web"]))))
    assert stored == made.networks["web"]
    subnet = made.networks["web"].subnet
    for ip_range, reserved in (("10.8.0.0/30", ()), ("", ("10.8.0.1",))):
        with pytest.raises(Invalid, match="is not a"):
            check_parts("web", subnet, ip_range, reserved)
    check_parts("web", subnet, some.ip_range, some.aux_addresses.values())


def test_a_link_is_a_name_for_whoever_bears_another_and_in_one_hosts_file_alone() -> None:
    made = book(NetworkConfig("web"), NetworkConfig("db"))
    for id, network in (("a", "web"), ("b", "db"), ("c", "web")):
        made.put(made.plan(request(id, network)))
    endpoints = (EndpointConfig("web"),)
    links = (("shop-a", "first"), ("shop-b", "elsewhere"), ("shop-d", "later"), ("shop-me", "self"))
    asked = SandboxRequest(SandboxConfig("own", "me", endpoints, links=links), "me", ("shop-me",))
    made.put(made.plan(asked))

    def text(id: str) -> str:
        record = made.sandboxes[id]
        return made.hosts_text(
            record, {each.network: made.peer_lines(each.network) for each in record.endpoints}
        )

    assert "10.0.0.2\tfirst\n" in text("me") and "elsewhere" not in text("me") and "later" not in text("me")
    assert "self" not in text("me") and "first" not in text("a") + text("c")
    made.put(made.plan(request("d", "web")))
    made.drop("a")
    assert "10.0.0.5\tlater\n" in text("me") and "first" not in text("me")
    stored = records.sandbox_from(json.loads(json.dumps(records.sandbox_json(made.sandboxes["me"]))))
    assert stored == made.sandboxes["me"]


def test_one_port_for_two_targets() -> None:
    both = (PortConfig(80, 8080), PortConfig(81, 8080))
    with pytest.raises(Invalid, match="named twice"):
        book().plan(request("one", "web", ports=both))
    same = (PortConfig(80, 8080), PortConfig(80, 8080))
    assert len(book().plan(request("one", "web", ports=same)).ports) == 1


def test_chosen_ports_avoid_claims_and_stay() -> None:
    made = book()
    made.put(made.plan(request("one", "web", ports=(PortConfig(80, 40000),))))
    first = made.plan(request("two", "web", ports=(PortConfig(80, 0), PortConfig(81, 0))))
    assert [port.host_port for port in first.ports] == [40001, 40002]
    made.put(first)
    assert (
        made.plan(request("two", "web", ports=(PortConfig(81, 0), PortConfig(80, 0)))).ports
        == first.ports[::-1]
    )
    full = Book(LAYOUT, lambda _sandbox, _port: 40000)
    full.put_network(made.networks["web"])
    full.put(full.plan(request("one", "web", ports=(PortConfig(80, 40000),))))
    with pytest.raises(Temporary, match="no free tcp port"):
        full.plan(request("two", "web", ports=(PortConfig(80, 0),)))


def test_one_of_several_ports_is_a_free_one_and_stays() -> None:
    """40002 is a process's of the host."""

    def choose(sandbox: str, port: PortConfig) -> int:
        if port.host_port == 40002:
            raise Conflict("publish port", sandbox, "in use")
        return port.host_port

    made = Book(LAYOUT, choose)
    made.put_network(book().networks["web"])
    made.put(made.plan(request("one", "web", ports=(PortConfig(80, 40001),))))
    either = PortConfig(80, 40001, among=(40001, 40004))
    other = dataclasses.replace(either, container_port=81)
    second = made.plan(request("two", "web", ports=(either, other)))
    assert [port.host_port for port in second.ports] == [40003, 40004]
    made.put(second)
    made.drop("one")
    assert made.plan(request("two", "web", ports=(other, either))).ports == second.ports[::-1]
    assert records.sandbox_from(json.loads(json.dumps(records.sandbox_json(second)))).ports == second.ports
    last = made.plan(request("three", "web", ports=(dataclasses.replace(either, host_port=40004),)))
    assert [port.host_port for port in last.ports] == [40001]
    made.put(last)
    with pytest.raises(Conflict, match="none of the ports 40001-40004/tcp is free"):
        made.plan(request("four", "web", ports=(either,)))


def test_what_a_sandbox_may_not_ask_for() -> None:
    made = book(NetworkConfig("inner", internal=True))
    with pytest.raises(NotFound, match="there is no network 'nope'"):
        made.plan(request("one", "nope"))
    with pytest.raises(Invalid, match="named twice"):
        made.plan(request("one", "inner", "inner"))
    with pytest.raises(Invalid, match="way out"):
        made.plan(request("one", "inner", ports=(PortConfig(80, 80),)))
    with pytest.raises(Invalid, match="no IPv6"):
        made.plan(SandboxRequest(SandboxConfig("own", "one", (EndpointConfig("inner", ipv6="fd00::2"),))))
    with pytest.raises(Invalid, match="not a MAC address"):
        made.plan(SandboxRequest(SandboxConfig("own", "one", (EndpointConfig("inner", mac="x"),))))
    with pytest.raises(Invalid, match="not an address"):
        made.plan(request("one", "inner", extra_hosts=(("x", "y"),)))


def test_ports_lead_to_the_first_network_that_has_a_way_out() -> None:
    made = book(NetworkConfig("inner", internal=True), NetworkConfig("web"))
    record = made.plan(request("one", "inner", "web", ports=(PortConfig(80, 8080),)))
    assert [str(element) for element in made.port_elements(record)] == ["published4: 6 8080 -> 10.1.0.2:80"]
    assert made.gateway_of(record) == "10.1.0.1"
    assert made.has_way_out(record)
    assert not made.has_way_out(made.plan(request("two", "inner")))


def test_names_of_a_network_are_told_to_all_on_it() -> None:
    made = book(NetworkConfig("web"), NetworkConfig("db"))
    for id, networks in (("one", ("web",)), ("two", ("web", "db")), ("three", ("db",))):
        made.put(made.plan(request(id, *networks)))
    assert made.peer_lines("web") == "10.0.0.2\tshop-one\n10.0.0.3\tshop-two\n"
    made.drop("one")
    assert made.peer_lines("web") == "10.0.0.3\tshop-two\n"
    assert made.owner_of_link(made.sandboxes["two"].endpoints[0].link) == "two"
    assert made.owner_of_link("eth0") is None


def test_records_come_back_from_json_as_they_went() -> None:
    made = book(NetworkConfig("web", labels={"a": "b"}, mtu=1400))
    record = made.plan(
        request(
            "one", "web", ports=(PortConfig(80, 8080, "udp", "127.0.0.1"),), labels={"x": "y"},
            extra_hosts=(("box", "host-gateway"),), sysctls={"net.core.somaxconn": "9"},
        )
    )  # fmt: skip
    assert records.sandbox_from(json.loads(json.dumps(records.sandbox_json(record)))) == record
    network = made.networks["web"]
    assert records.network_from(json.loads(json.dumps(records.network_json(network)))) == network


class Sandboxes(RuleBasedStateMachine):
    """Any order of making, changing and dropping: no address and no port has two owners."""

    def __init__(self) -> None:
        super().__init__()
        self.book = book(NetworkConfig("a", subnet="10.7.0.0/29"), NetworkConfig("b", subnet="10.8.0.0/28"))

    @rule(
        id=st.sampled_from("pqrstuvw"),
        networks=st.lists(st.sampled_from("ab"), unique=True),
        ports=st.lists(st.integers(1, 4), max_size=3, unique=True),
        host_ip=st.sampled_from(["", "127.0.0.1", "192.0.2.1"]),
    )
    def ensure(self, id: str, networks: list[str], ports: list[int], host_ip: str) -> None:
        wanted = tuple(PortConfig(80, port, host_ip=host_ip) for port in ports)
        try:
            record = self.book.plan(request(id, *networks, ports=wanted))
        except (Conflict, Invalid):
            return
        self.book.put(record)
        assert self.book.plan(request(id, *networks, ports=wanted)) == record

    @rule(id=st.sampled_from("pqrstuvw"))
    def drop(self, id: str) -> None:
        self.book.drop(id)

    @invariant()
    def nothing_has_two_owners(self) -> None:
        everything = self.book.sandboxes.values()
        held = [(each.network, each.ipv4) for record in everything for each in record.endpoints]
        assert len(held) == len(set(held))
        for record in everything:
            interfaces = [each.interface for each in record.endpoints]
            assert len(interfaces) == len(set(interfaces))
        keys = [element.key for record in everything for element in self.book.port_elements(record)]
        assert len(keys) == len(set(keys))
        for network in "ab":
            on_it = {record.id for record in self.book.sandboxes_on(network)}
            assert on_it == {r.id for r in everything if any(e.network == network for e in r.endpoints)}
            assert self.book.peer_lines(network).count("\n") == len(on_it)


TestSandboxes = Sandboxes.TestCase
TestSandboxes.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
