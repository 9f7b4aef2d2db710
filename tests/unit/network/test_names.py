"""Hosts files and resolv.conf: what is in them, and what hostile words do not get in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Invalid
from runtime.network import names


def test_a_hosts_file_in_full() -> None:
    own = names.host_line("10.1.0.2", ["web", "shop-web-1"])
    peers = [own, names.host_line("10.1.0.3", ["shop-db-1", "db", "db"])]
    extra = names.extra_lines([("box", "host-gateway"), ("ns", "192.0.2.7"), ("six", "fd00::1")], "10.1.0.1")
    assert names.hosts_file(own, peers, extra).splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.1.0.2\tweb shop-web-1",
        "10.1.0.1\tbox",
        "192.0.2.7\tns",
        "fd00::1\tsix",
        "10.1.0.2\tweb shop-web-1",
        "10.1.0.3\tshop-db-1 db",
    ]


def test_localhost_is_no_address_that_a_kernel_without_ipv6_lacks() -> None:
    assert names.hosts_file("", [], "", has_ipv6=False) == "127.0.0.1\tlocalhost\n"


@given(st.lists(st.text(max_size=20), max_size=5))
def test_no_word_forges_a_line(words: list[str]) -> None:
    line = names.host_line("10.1.0.2", words)
    assert line == "" or (line.count("\n") == 1 and line.startswith("10.1.0.2\t"))
    assert "#" not in line
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    "entry", [("a b", "192.0.2.1"), ("a\n6.6.6.6 b", "192.0.2.1"), ("a", "nowhere"), ("", "192.0.2.1")]
)
def test_extra_hosts_that_cannot_be(entry: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        names.extra_lines([entry], "10.1.0.1")


def test_host_gateway_without_a_network_is_left_out() -> None:
    assert names.extra_lines([("box", "host-gateway")], "") == ""


KEPT = "nameserver 192.0.2.53\nsearch lan example.org\noptions edns0 trust-ad\n"
HOST = f"# made by something\nnameserver 127.0.0.53\n{KEPT}"


def test_resolv_conf_of_a_bridge_network_leaves_the_hosts_loopback_out() -> None:
    assert names.resolv_conf(HOST) == KEPT


def test_resolv_conf_of_the_hosts_network_is_the_hosts() -> None:
    assert "nameserver 127.0.0.53\n" in names.resolv_conf(HOST, own_network=False)


def test_resolv_conf_by_the_containers_own_words() -> None:
    text = names.resolv_conf(HOST, servers=["198.51.100.1"], search=["corp"], options=["ndots:2"])
    assert text == "nameserver 198.51.100.1\nsearch corp\noptions ndots:2\n"
    assert "search" not in names.resolv_conf(HOST, search=["."])


def test_resolv_conf_of_an_internal_network_asks_nobody() -> None:
    """CVE-2024-29018: the host's resolver would carry questions out."""
    text = names.resolv_conf(HOST, has_way_out=False)
    assert "nameserver" not in text
    assert text.startswith("# no server")


@given(
    st.lists(st.text(max_size=15), max_size=4),
    st.lists(st.text(max_size=15), max_size=4),
    st.text(max_size=200),
)
def test_resolv_conf_has_only_lines_of_its_own(servers: list[str], words: list[str], host: str) -> None:
    text = names.resolv_conf(host, servers=servers, search=words, options=words)
    for line in text.split("\n"):
        assert line == "" or line.split()[0] in ("nameserver", "search", "options", "#")


def test_servers_that_a_container_cannot_reach() -> None:
    text = (
        "nameserver ::1\nnameserver fe80::1%eth0\nnameserver 0.0.0.0\nnameserver junk\nnameserver 192.0.2.1\n"
    )
    assert names.servers_of(text) == ["192.0.2.1"]
