"""Which subnet and which address: whatever is taken, nothing overlaps and nothing is lost."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Conflict, Invalid
from runtime.network import addresses
from runtime.network.addresses import Subnet, choose_address, choose_subnet, subnet_of

_networks = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
_near = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(int(IPv4Address("10.201.0.0")), int(IPv4Address("10.201.255.255"))),
    st.integers(18, 32),
)


@given(st.lists(_networks | _near, max_size=40), st.sampled_from([20, 24, 28]))
def test_chosen_subnet_overlaps_nothing_that_is_taken(taken: list[IPv4Network], prefix: int) -> None:
    pools = ("10.201.0.0/16", "172.28.0.0/14")
    try:
        chosen = choose_subnet("web", taken, pools, prefix)
    except Conflict:
        # Then every candidate is really taken.
        candidates = [each for pool in pools for each in IPv4Network(pool).subnets(new_prefix=prefix)]
        blocking = [network for network in taken if network.prefixlen > 0]
        assert all(any(each.overlaps(network) for network in blocking) for each in candidates[::64])
        return
    assert chosen.prefixlen == prefix
    assert any(chosen.subnet_of(IPv4Network(pool)) for pool in pools)
    assert not any(chosen.overlaps(network) for network in taken if network.prefixlen > 0)


def test_a_default_route_takes_nothing() -> None:
    assert choose_subnet("web", [IPv4Network("0.0.0.0/0")]) == IPv4Network("10.201.0.0/24")


def test_the_next_pool_follows_a_full_one() -> None:
    taken = [IPv4Network("10.201.0.0/16"), IPv4Network("172.28.0.0/24")]
    assert choose_subnet("web", taken) == IPv4Network("172.28.1.0/24")


def test_all_subnets_are_given_out_once_and_then_it_says_so() -> None:
    taken: list[IPv4Network] = []
    for _ in range(4):
        taken.append(choose_subnet("web", taken, ("10.0.0.0/22",)))
    assert len(set(taken)) == 4
    with pytest.raises(Conflict, match="no free subnet is left in the pools"):
        choose_subnet("web", taken, ("10.0.0.0/22",))


@given(st.data())
def test_addresses_are_given_once_until_there_are_none(data: st.DataObject) -> None:
    prefix = data.draw(st.integers(26, 29))
    first = int(IPv4Address("10.1.0.0"))
    gateway = first + data.draw(st.integers(1, 2 ** (32 - prefix) - 2))
    subnet = Subnet(first, prefix, gateway)
    used: set[int] = set()
    last = 0
    for _ in range(2 ** (32 - prefix) - 3):
        last = choose_address("web", subnet, used, last)
        assert first < last < subnet.last
        assert last != gateway
        assert last not in used
        used.add(last)
    with pytest.raises(Conflict, match="are in use"):
        choose_address("web", subnet, used, last)
    freed = data.draw(st.sampled_from(sorted(used)))
    assert choose_address("web", subnet, used - {freed}, last) == freed


@given(st.integers(0, 2**32 - 1), st.sets(st.integers(1, 254), max_size=200))
def test_any_last_address_leads_to_a_free_one(after: int, hosts: set[int]) -> None:
    subnet = subnet_of("web", "10.1.2.0/24", "")
    used = {subnet.first + host for host in hosts}
    assert choose_address("web", subnet, used, after) not in used


def test_a_freed_address_is_not_given_at_once() -> None:
    subnet = subnet_of("web", "10.1.2.0/24", "")
    first = choose_address("web", subnet, set())
    assert addresses.text_of(first) == "10.1.2.2"
    assert addresses.text_of(choose_address("web", subnet, set(), first)) == "10.1.2.3"


@pytest.mark.parametrize(
    ("subnet", "gateway", "reason"),
    [
        ("10.0.0.1/24", "", "host bits"),
        ("10.0.0.0", "", "too small"),
        ("10.0.0.0/30", "", "too small"),
        ("fd00::/64", "", "not an IPv4 subnet"),
        ("127.0.0.0/24", "", "not for hosts"),
        ("224.0.0.0/24", "", "not for hosts"),
        ("169.254.0.0/24", "", "not for hosts"),
        ("10.0.0.0/24", "10.0.1.1", "not a host address"),
        ("10.0.0.0/24", "10.0.0.255", "not a host address"),
        ("10.0.0.0/24", "10.0.0.0", "not a host address"),
        ("10.0.0.0/24", "nonsense", "not an IPv4 address"),
        ("nonsense", "", "not an IPv4 subnet"),
    ],
)
def test_subnets_that_cannot_be(subnet: str, gateway: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        subnet_of("web", subnet, gateway)


def test_static_addresses() -> None:
    subnet = subnet_of("web", "10.1.2.0/24", "10.1.2.254")
    assert addresses.check_static("web", subnet, set(), "10.1.2.9") == subnet.first + 9
    for wanted, error, reason in (
        ("10.1.3.9", Invalid, "not a host address"),
        ("10.1.2.255", Invalid, "not a host address"),
        ("10.1.2.254", Invalid, "gateway"),
        ("10.1.2.7", Conflict, "in use"),
        ("x", Invalid, "not an IPv4 address"),
    ):
        with pytest.raises(error, match=reason):
            addresses.check_static("web", subnet, {subnet.first + 7}, wanted)


def test_overlap_is_told_with_its_owner() -> None:
    taken = [(IPv4Network("0.0.0.0/0"), "a route"), (IPv4Network("10.1.0.0/16"), "network shop")]
    addresses.check_overlap("web", IPv4Network("10.2.0.0/24"), taken)
    with pytest.raises(Conflict, match=r"overlaps network shop \(10.1.0.0/16\)"):
        addresses.check_overlap("web", IPv4Network("10.1.2.0/24"), taken)


@pytest.mark.parametrize(
    "mac", ["02:42", "01:00:00:00:00:01", "00:00:00:00:00:00", "zz:42:0a:00:00:02", "1:2:3:4:5:6"]
)
def test_macs_that_cannot_be(mac: str) -> None:
    with pytest.raises(Invalid, match="not a MAC address"):
        addresses.check_mac("web", mac)


def test_macs() -> None:
    assert addresses.check_mac("web", "02:42:0A:00:00:02") == "02:42:0a:00:00:02"
    assert addresses.check_mac("web", "02-42-0A-00-00-02") == "02:42:0a:00:00:02"  # as a manifest may say it
    assert addresses.mac_of(int(IPv4Address("10.201.0.2"))) == "02:42:0a:c9:00:02"
    first, second = addresses.host_mac_of("ve1"), addresses.host_mac_of("ve2")
    assert first != second
    assert int(first[:2], 16) & 3 == 2  # of one interface, locally administered
