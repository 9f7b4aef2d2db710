"""IPv6 where no kernel is asked: subnets, addresses, records, messages, elements, claims on ports."""

from __future__ import annotations

import json
from ipaddress import IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Conflict, Invalid
from runtime.layout import Layout
from runtime.model import EndpointConfig, Ipv6Config, NetworkConfig, PortConfig, SandboxConfig
from runtime.network import links, records, ula
from runtime.network.addresses import BITS6, link_local_of, subnet_of, text_of
from runtime.network.book import Book, SandboxRequest
from runtime.network.firewall import Element, Published, change, element_of, guarding6, listed_elements
from runtime.network.netlink import Answer
from runtime.network.records import NetworkRecord

LAYOUT = Layout("test")
WHOLE = ula.range_of("setpoint", "a-machine")


def test_the_range_is_the_instances_and_the_machines() -> None:
    assert WHOLE.prefixlen == 48 and WHOLE.subnet_of(IPv6Network("fd00::/8"))
    assert ula.range_of("setpoint", "a-machine") == WHOLE
    others = {ula.range_of("setpoint", "another"), ula.range_of("lab", "a-machine"), WHOLE}
    assert len(others) == 3


@given(st.text(min_size=1, max_size=20), st.lists(st.integers(0, 65535), max_size=20))
def test_a_name_has_its_subnet_or_the_next_free_one(name: str, numbers: list[int]) -> None:
    first = int(WHOLE.network_address)
    taken = [IPv6Network((first | number << 64, 64)) for number in numbers]
    found = ula.choose_subnet(name, WHOLE, taken)
    assert found.prefixlen == 64 and found.subnet_of(WHOLE) and found not in taken
    assert ula.choose_subnet(name, WHOLE, [*taken, IPv6Network("::/0"), IPv6Network("fe80::/64")]) == found
    assert ula.choose_subnet(name, WHOLE, [*taken, found]) != found


@pytest.mark.parametrize("taken", ["fc00::/7", str(WHOLE)])
def test_a_range_that_is_taken_as_a_whole_has_none(taken: str) -> None:
    with pytest.raises(Conflict, match="no free IPv6 subnet"):
        ula.choose_subnet("web", WHOLE, [IPv6Network(taken)])


def test_the_address_of_a_link() -> None:
    assert text_of(link_local_of("02:42:0a:c9:00:02")) == "fe80::42:aff:fec9:2"
    assert text_of(link_local_of("00:00:00:00:00:01")) == "fe80::200:ff:fe00:1"


def test_messages() -> None:
    request = links.add_address(7, "fd00:1::2", 64)
    assert links.read_address(Answer(request.kind, request.body)) == links.Address(7, "fd00:1::2", 64)
    request = links.add_default_route("fd00:1::1", 7)
    assert links.read_route(Answer(request.kind, request.body)) == links.Route("", 0, "fd00:1::1", 7, 254)


def test_elements_and_how_they_are_listed() -> None:
    port = Published("tcp", "::", 8080, "fd00::2", 80)
    assert element_of(port) == Element("published6", (6, 8080), ("fd00::2", 80))
    on_one = element_of(Published("udp", "2001:db8::1", 53, "fd00::2", 53))
    assert on_one == Element("published_on6", ("2001:db8::1", 17, 53), ("fd00::2", 53))
    (honest,) = guarding6("ve1", "02:42:0a:00:00:02", [0xFD << 120 | 2])
    assert str(honest) == "honest6: ve1 02:42:0a:00:00:02 fd00::2"
    assert change("t", [], [honest, on_one]) == (
        'add element bridge t honest6 { "ve1" . 0x2420a000002 . 0xfd000000000000000000000000000002 }\n'
        "add element inet t published_on6 { 2001:db8::1 . 17 . 53 : fd00::2 . 53 }\n"
    )
    parts = ["ve1", 0x02420A000002, "0xfd000000000000000000000000000002"]
    assert listed_elements([{"set": {"name": "honest6", "elem": [{"concat": parts}]}}]) == {honest}


def book() -> Book:
    made = Book(LAYOUT, lambda _sandbox, port: port.host_port or 40000)
    for number, (name, config) in enumerate(
        (
            ("six", NetworkConfig("six", ipv6=Ipv6Config("fd00:1::/64"))),
            ("four", NetworkConfig("four")),
            ("inner", NetworkConfig("inner", internal=True, ipv6=Ipv6Config("fd00:2::/64"))),
        )
    ):
        subnet6 = subnet_of(name, config.ipv6.subnet, "", BITS6) if config.ipv6 else None
        subnet = subnet_of(name, f"10.{number}.0.0/24", "")
        made.put_network(NetworkRecord(config, subnet, LAYOUT.link_name("br", name), 0.0, subnet6))
    return made


def request(id: str, *networks: str, ports: tuple[PortConfig, ...] = ()) -> SandboxRequest:
    config = SandboxConfig("own", id, tuple(EndpointConfig(name) for name in networks), ports)
    return SandboxRequest(config, id, (f"shop-{id}",))


def test_records_are_read_back() -> None:
    made = book()
    made.put(made.plan(request("one", "six", "four")))
    for network in made.networks.values():
        assert records.network_from(json.loads(json.dumps(records.network_json(network)))) == network
    record = made.sandboxes["one"]
    assert [each.ipv6 & 255 for each in record.endpoints] == [2, 0]
    assert records.sandbox_from(json.loads(json.dumps(records.sandbox_json(record)))) == record
    plain = records.network_json(made.networks["four"])
    assert "ipv6" not in plain["config"] and "subnet6" not in plain, "an older agent reads it"
    assert "ipv6" not in records.sandbox_json(record)["endpoints"][1]


@pytest.mark.parametrize(
    ("one", "two", "is_refused"),
    [
        ("", "", True),
        ("", "::", True),
        ("", "2001:db8::1", True),
        ("::", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("0.0.0.0", "::", False),
        ("127.0.0.1", "::", False),
    ],
)
def test_a_port_is_published_once_in_a_family(one: str, two: str, is_refused: bool) -> None:
    for first, second in ((one, two), (two, one)):
        made = book()
        made.put(made.plan(request("one", "six", ports=(PortConfig(80, 8080, host_ip=first),))))
        other = request("two", "six", ports=(PortConfig(80, 8080, host_ip=second),))
        if is_refused:
            with pytest.raises(Conflict, match="is published by shop-one"):
                made.plan(other)
        else:
            made.put(made.plan(other))
        made.drop("one")
        made.put(made.plan(other))


def test_where_a_port_leads() -> None:
    made = book()
    for networks, sets in (
        (("six",), {"published4", "published6"}),
        (("four",), {"published4"}),
        (("four", "inner"), {"published4"}),
        (("four", "six"), {"published4", "published6"}),
    ):
        record = made.plan(request("one", *networks, ports=(PortConfig(80, 8080),)))
        assert {each.set for each in made.port_elements(record)} == sets, networks
    for networks in (("four",), ("four", "inner")):
        with pytest.raises(Invalid, match="has IPv6 and a way out"):
            made.plan(request("one", *networks, ports=(PortConfig(80, 8080, host_ip="::"),)))


def test_a_port_that_is_free_in_one_family_alone_is_not_chosen() -> None:
    numbers = iter((40000, 40001))
    made = book()

    def choose(_sandbox: str, port: PortConfig) -> int:
        if ":" not in port.host_ip:
            return next(numbers)
        if port.host_port == 40000:
            raise Conflict("publish port", "", "in use")
        return port.host_port

    made._choose_port = choose
    record = made.plan(request("one", "six", ports=(PortConfig(80, 0),)))
    assert [port.host_port for port in record.ports] == [40001]
