"""The framing of netlink messages and the meaning of links, without a kernel."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from runtime.network import links, netlink
from runtime.network.netlink import Answer


@given(st.dictionaries(st.integers(1, 200), st.binary(max_size=60), max_size=10))
def test_attributes_come_back_as_they_went(values: dict[int, bytes]) -> None:
    body = b"".join(netlink.attribute(kind, value) for kind, value in values.items())
    assert len(body) % 4 == 0
    assert netlink.attributes(body) == values


@given(st.binary(max_size=200))
def test_rubbish_is_read_without_an_error(data: bytes) -> None:
    netlink.attributes(data)
    list(netlink.messages(data))


@given(st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=40)), max_size=8))
def test_messages_of_one_datagram(parts: list[tuple[int, bytes]]) -> None:
    data = b""
    for kind, body in parts:
        data += struct.pack("=IHHII", 16 + len(body), kind, 0, 7, 9) + body + b"\0" * (-len(body) % 4)
    found = list(netlink.messages(data))
    assert [(kind, port, body) for kind, _flags, _sequence, port, body in found] == [
        (k, 9, b) for k, b in parts
    ]


def test_a_link_is_read_as_it_was_asked_for() -> None:
    request = links.add_bridge("br0", "02:42:0a:00:00:01", 1400)
    link = links.read_link(Answer(request.kind, request.body))
    assert (link.name, link.mac, link.mtu, link.kind, link.is_up) == (
        "br0",
        "02:42:0a:00:00:01",
        1400,
        "bridge",
        True,
    )
    assert links.name_of(request.body) == "br0"
    assert links.name_of(links.set_link(1, mtu=1400).body + netlink.text(3, "late")) == "late"
    port = links.set_port("ve0", "name for people", isolated=True, hairpin=True)
    link = links.read_link(Answer(port.kind, port.body))
    assert (link.name, link.alias, link.is_isolated, link.is_hairpin) == (
        "ve0",
        "name for people",
        True,
        True,
    )


def test_addresses_and_routes_are_read_as_they_were_asked_for() -> None:
    request = links.add_address(7, "10.1.0.2", 24)
    assert links.read_address(Answer(request.kind, request.body)) == links.Address(7, "10.1.0.2", 24)
    request = links.add_default_route("10.1.0.1", 7)
    assert links.read_route(Answer(request.kind, request.body)) == links.Route("", 0, "10.1.0.1", 7, 254)


def test_long_aliases_fit_the_kernel() -> None:
    request = links.set_alias("br0", "ü" * 500)
    assert len(links.read_link(Answer(request.kind, request.body)).alias.encode()) <= 258


def test_batches_are_cut_to_what_a_socket_takes() -> None:
    requests = [netlink.Request(1, bytes(1000), "x") for _ in range(200)]
    portions = list(netlink._portions(requests))
    assert portions[0][0] == 0
    assert portions[-1][1] == 200
    assert all(last == first for (_, last), (first, _) in itertools.pairwise(portions))
    assert all((last - first) * 1016 <= 65536 for first, last in portions)
    small = list(netlink._portions([netlink.Request(1, b"", "x")] * 200))
    assert [last - first for first, last in small] == [64, 64, 64, 8]
    assert list(netlink._portions([])) == []
    assert list(netlink._portions([netlink.Request(1, bytes(70000), "x")])) == [(0, 1)]


def test_an_error_says_what_was_asked() -> None:
    error = netlink.NetlinkError(17, "add link ve0", "already there", 3)
    assert str(error) == "[Errno 17] add link ve0: File exists (already there)"
    assert error.index == 3
