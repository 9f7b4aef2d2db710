"""Our own messages for elements of the firewall's sets mean what libnftables means by the same elements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from runtime.layout import Layout
from runtime.network import firewall, set_elements, table
from runtime.network.firewall import Element, Published, element_of, guarding, guarding6
from runtime.network.libnftables import Nftables
from runtime.network.netlink import Netlink, NetlinkError
from runtime.network.table import Table

LINK, MAC = "ve0123456789ab", "02:42:0a:00:00:05"
EACH = (
    *guarding(LINK, MAC, "10.0.0.5"),
    *guarding6(LINK, MAC, [0xFD00 << 112 | 5, 0xFE80 << 112 | 1]),
    element_of(Published("tcp", "", 8080, "10.0.0.5", 80)),
    element_of(Published("udp", "127.0.0.1", 53, "10.0.0.5", 5353)),
    element_of(Published("sctp", "", 65535, "fd00::5", 1)),
    element_of(Published("tcp", "2001:db8::1", 443, "fd00::5", 8443)),
)
RANGE = Element("subnets4", ("10.7.0.0/24",))


@pytest.fixture
def tables(instance: Layout) -> Iterator[Table]:
    made = Table(instance.nft_table)
    made.sync()
    yield made
    made.delete()
    made.close()


@pytest.fixture
def library() -> Iterator[Nftables]:
    with contextlib.closing(Nftables()) as made:
        yield made


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    with Netlink(set_elements.NETFILTER) as made:
        yield made


def change(netlink: Netlink, name: str, removed: tuple[Element, ...], added: tuple[Element, ...]) -> None:
    requests = set_elements.requests(name, removed, added)
    assert requests
    netlink.transact(set_elements.BEGIN, requests, set_elements.END)


def listed(library: Nftables, name: str) -> set[Element]:
    return firewall.listed_elements(table.read(library, name) or [])


def test_every_set_that_changes_with_a_container_has_a_form() -> None:
    assert {element.set for element in EACH} == set(set_elements._FORMS)


@pytest.mark.parametrize("element", EACH, ids=str)
def test_what_one_puts_in_the_other_takes_out(
    tables: Table, library: Nftables, netlink: Netlink, element: Element
) -> None:
    name = tables.name
    change(netlink, name, (), (element,))
    assert listed(library, name) == {element}
    library.run(firewall.change(name, [element], []), name)
    assert listed(library, name) == set()
    library.run(firewall.change(name, [], [element]), name)
    change(netlink, name, (element,), ())
    assert listed(library, name) == set()


def test_all_of_a_transaction_or_nothing(tables: Table, library: Nftables, netlink: Netlink) -> None:
    name, (first, second, *others) = tables.name, EACH
    change(netlink, name, (), (first,))
    with pytest.raises(NetlinkError) as refused:
        change(netlink, name, (second, first), tuple(others))
    assert refused.value.what == str(second) and listed(library, name) == {first}
    change(netlink, name, (first,), tuple(others))  # the socket is in step still
    assert listed(library, name) == set(others)


def test_another_tables_name_is_refused(netlink: Netlink) -> None:
    with pytest.raises(NetlinkError, match="No such file"):
        change(netlink, "there-is-none", (), EACH[:1])


def test_a_table_takes_its_own_way_and_the_librarys(tables: Table, library: Nftables) -> None:
    tables.change(added=(*EACH, RANGE))
    tables.flush()
    assert listed(library, tables.name) == {*EACH, RANGE} == tables.wanted
    tables.change(removed=EACH)
    tables.flush()
    assert listed(library, tables.name) == {RANGE} and not tables.differences()


def test_what_somebody_took_away_is_written_anew(tables: Table, library: Nftables) -> None:
    tables.change(added=EACH)
    tables.flush()
    library.run(firewall.change(tables.name, EACH[:1], []), tables.name)
    tables.change(removed=EACH[:2])
    tables.flush()
    assert listed(library, tables.name) == set(EACH[2:])


def test_a_transaction_that_is_too_long_is_the_librarys() -> None:
    many = [element for n in range(600) for element in guarding(f"ve{n}", MAC, "10.0.0.5")]
    assert set_elements.requests("x", [], many[:200]) is not None
    assert set_elements.requests("x", [], many) is None
    assert set_elements.requests("x", [RANGE], []) is None
