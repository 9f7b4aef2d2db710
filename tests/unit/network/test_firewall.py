"""The ruleset as a value: what a network and a port take, what a change sends, what a look tells."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.network import firewall
from runtime.network.firewall import Element, NetworkRule, Published, change, element_of, elements_of

GUARD = firewall.guarding("ve1", "02:42:0a:01:00:02", "10.1.0.2")
PORT = Published("tcp", "", 8080, "10.1.0.2", 80)


def test_what_a_network_takes() -> None:
    assert [str(element) for element in elements_of(NetworkRule("br1", "10.1.0.0/24"))] == [
        "bridges: br1",
        "subnets4: 10.1.0.0/24",
        "neighbours: br1 br1",
    ]
    closed = elements_of(NetworkRule("br2", "10.2.0.0/24", internal=True, isolated=True))
    assert [str(element) for element in closed] == ["bridges: br2", "subnets4: 10.2.0.0/24", "internal: br2"]


def test_what_a_network_takes_that_is_routed() -> None:
    rule = NetworkRule("br1", "10.1.0.0/24", isolated=True, subnet6="fd00::/64", routed=True)
    taken = {str(element) for element in elements_of(rule)}
    assert {"routed4: 10.1.0.0/24", "routed6: fd00::/64", "subnets4: 10.1.0.0/24"} <= taken


def test_what_a_port_takes() -> None:
    assert str(element_of(PORT)) == "published4: 6 8080 -> 10.1.0.2:80"
    assert element_of(Published("tcp", "0.0.0.0", 8080, "10.1.0.2", 80)) == element_of(PORT)
    on_one = element_of(Published("udp", "127.0.0.1", 53, "10.1.0.2", 53))
    assert str(on_one) == "published_on4: 127.0.0.1 17 53 -> 10.1.0.2:53"


def test_udp_ports_among_elements() -> None:
    ports = (
        Published("udp", "", 53, "10.1.0.2", 53),
        Published("udp", "127.0.0.1", 54, "10.1.0.2", 53),
        Published("tcp", "", 55, "10.1.0.2", 53),
    )
    others = elements_of(NetworkRule("br1", "10.1.0.0/24"))
    assert firewall.udp_ports([*map(element_of, ports), *others]) == {53, 54}


def test_a_change_is_elements_and_nothing_else() -> None:
    other = element_of(Published("tcp", "127.0.0.1", 8080, "10.1.0.3", 80))
    assert change("t", [element_of(PORT)], [other, *elements_of(NetworkRule("br1", "10.1.0.0/24"))]) == (
        "delete element inet t published4 { 6 . 8080 : 10.1.0.2 . 80 }\n"
        'add element inet t bridges { "br1" }\n'
        'add element inet t neighbours { "br1" . "br1" }\n'
        "add element inet t published_on4 { 127.0.0.1 . 6 . 8080 : 10.1.0.3 . 80 }\n"
        "add element inet t subnets4 { 10.1.0.0/24 }\n"
    )


def test_a_hundred_ports_are_one_command() -> None:
    elements = [element_of(Published("tcp", "", 1000 + n, "10.1.0.2", 80)) for n in range(100)]
    assert change("t", [], elements).count("element") == 1


@pytest.mark.parametrize("has_guard", [True, False])
def test_all_is_replaced_in_one_script(has_guard: bool) -> None:
    elements = (*elements_of(NetworkRule("br1", "10.1.0.0/24")), *GUARD)
    lines = firewall.replace_tables("t", elements, has_guard=has_guard).splitlines()
    tables = ["inet", "bridge"] if has_guard else ["inet"]
    for family in tables:
        at = lines.index(f"add table {family} t")
        assert lines[at : at + 3] == [
            f"add table {family} t", f"delete table {family} t", f"table {family} t {{",
        ]  # fmt: skip
    added = [line.split()[2:5] for line in lines if line.startswith("add element")]
    guarding = [["bridge", "t", "guarded"], ["bridge", "t", "honest4"]] if has_guard else []
    assert sorted(added) == sorted(
        [*(["inet", "t", name] for name in ("bridges", "neighbours", "subnets4")), *guarding]
    )


def test_a_guarded_port_is_two_elements_of_the_bridges_table() -> None:
    assert change(
        "t", GUARD, [element_of(PORT), *firewall.guarding("ve2", "aa:00:00:00:00:02", "10.1.0.3")]
    ) == (
        'delete element bridge t guarded { "ve1" }\n'
        'delete element bridge t honest4 { "ve1" . 02:42:0a:01:00:02 . 10.1.0.2 }\n'
        'add element bridge t guarded { "ve2" }\n'
        'add element bridge t honest4 { "ve2" . aa:00:00:00:00:02 . 10.1.0.3 }\n'
        "add element inet t published4 { 6 . 8080 : 10.1.0.2 . 80 }\n"
    )
    assert all(firewall.is_guarding(each) for each in GUARD)
    assert not firewall.is_guarding(element_of(PORT))


def test_a_table_of_the_two_that_is_missing_is_told() -> None:
    listed = _listing(set())
    bridge: list[dict[str, Any]] = [
        {"table": {"family": "bridge", "name": "t"}},
        {"chain": {"family": "bridge", "table": "t", "name": "honest"}},
    ]
    wanted = firewall.skeleton([*listed, *bridge])
    assert firewall.families_of([*listed, *bridge]) == ["inet", "bridge"]
    assert firewall.missing([*listed, *bridge], wanted) == []
    assert firewall.differences(listed, wanted, set()) == [
        "the table of family bridge is missing",
        "chains or rules are changed",
    ]
    assert firewall.missing(bridge, wanted) == ["inet"]
    assert firewall.missing(listed, firewall.skeleton(listed)) == []  # where the kernel has no such family


_elements = st.one_of(
    st.builds(
        element_of,
        st.builds(
            Published,
            st.sampled_from(["tcp", "udp", "sctp"]),
            st.sampled_from(["", "127.0.0.1", "192.0.2.7"]),
            st.integers(1, 65535),
            st.just("10.1.0.2"),
            st.integers(1, 65535),
        ),
    ),
    st.builds(lambda n: Element("subnets4", (f"10.{n}.0.0/16",)), st.integers(0, 255)),
    st.builds(lambda n: Element("neighbours", (f"br{n}", f"br{n}")), st.integers(0, 99)),
)


def _part(parts: tuple[str | int, ...]) -> Any:
    """A key or value as libnftables lists it."""
    if len(parts) > 1:
        return {"concat": list(parts)}
    address, slash, length = str(parts[0]).partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else parts[0]


def _listing(elements: set[Element]) -> list[dict[str, Any]]:
    """What libnftables lists of a table with these elements."""
    where = {"family": "inet", "table": "t", "handle": 7}
    listing: list[dict[str, Any]] = [
        {"metainfo": {}},
        {"table": {"family": "inet", "name": "t", "handle": 1}},
    ]
    for name in ("bridges", "internal", "neighbours", "subnets4", "published4", "published_on4"):
        mine = [element for element in elements if element.set == name]
        items = [[_part(e.key), _part(e.value)] if e.value else _part(e.key) for e in mine]
        kind = "map" if name.startswith("published") else "set"
        listing.append({kind: {"name": name, "type": "x", **where, **({"elem": items} if items else {})}})
    listing.append({"chain": {"name": "ours", "policy": "accept", **where}})
    return [*listing, {"rule": {"chain": "ours", "expr": [{"accept": None}], **where}}]


@settings(max_examples=40)
@given(st.sets(_elements, max_size=30), st.sets(_elements, max_size=5), st.data())
def test_a_look_tells_exactly_what_differs(
    wanted: set[Element], extra: set[Element], data: st.DataObject
) -> None:
    lost = set(data.draw(st.lists(st.sampled_from(sorted(wanted)), max_size=5))) if wanted else set()
    expected_skeleton = firewall.skeleton(_listing(set()))
    found = firewall.differences(_listing((wanted - lost) | extra), expected_skeleton, wanted)
    missing = {f"missing {element}" for element in lost - extra}
    unexpected = {f"unexpected {element}" for element in extra - wanted}
    assert set(found) == missing | unexpected


def test_a_look_tells_of_rules() -> None:
    listing = _listing(set())
    expected = firewall.skeleton(listing)
    assert firewall.differences(None, expected, set()) == ["the table is missing"]
    for damage in (
        lambda listed: listed.pop(),
        lambda listed: listed.append(listed[-1]),
        lambda listed: listed[-1]["rule"]["expr"].append({"counter": None}),
        lambda listed: next(each["chain"] for each in listed if "chain" in each).update(policy="drop"),
    ):
        changed = copy.deepcopy(listing)
        damage(changed)
        assert firewall.differences(changed, expected, set()) == ["chains or rules are changed"]
    renumbered = copy.deepcopy(listing)
    for listed in renumbered:
        for body in listed.values():
            body["handle"] = 99
    assert firewall.differences(renumbered, expected, set()) == []
