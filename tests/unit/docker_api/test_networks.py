"""Networks of the Docker Engine API: what is asked for, and how they are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.api.docker import endpoint_view, network_view
from agent.api.docker.answers import Forbidden
from agent.api.docker.network_body import spec_of
from agent.api.docker.network_ids import endpoint_id, network_id
from agent.api.docker.network_view import Seen, fits, inspect, mac_address, summary
from agent.manifest.spec import Asked, AskedNetwork, ContainerSpec, Ipv6, NetworkSpec
from agent.reconcile.world import DEFAULT_BRIDGE
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.model import ContainerState, EndpointConfig, NetworkState
from store.records import Key, ObjectRecord

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
MTU = "com.docker.network.driver.mtu"
IPV6 = "com.docker.network.enable_ipv6"
BRIDGE_NAME = "com.docker.network.bridge.name"


def test_a_name_alone() -> None:
    assert spec_of({"Name": "web"}) == NetworkSpec(name="web", asked=AskedNetwork())


def test_all_that_can_be_said() -> None:
    options = {
        MTU: "1400", ICC: "false", BRIDGE_NAME: "shop0",
        "com.docker.network.bridge.enable_ip_masquerade": "1",
    }  # fmt: skip
    body = {
        "Name": "Web.x_1-2", "CheckDuplicate": True, "Driver": "bridge", "Scope": "local", "Internal": True,
        "Attachable": True, "Ingress": False, "ConfigOnly": False, "ConfigFrom": None, "EnableIPv4": True,
        "EnableIPv6": True, "Options": options, "Labels": {"a": "b"},
        "IPAM": {
            "Driver": "default", "Options": {},
            "Config": [{
                "Subnet": "10.9.0.0/24", "Gateway": "10.9.0.7", "IPRange": "10.9.0.128/25",
                "AuxiliaryAddresses": {"router": "10.9.0.9"},
            }, {
                "Subnet": "FD00:9:0::/64", "Gateway": "fd00:9::7", "IPRange": "fd00:9::/112",
                "AuxiliaryAddresses": {"router": "fd00:9::0009"},
            }],
        },
    }  # fmt: skip
    assert spec_of(body) == NetworkSpec(
        name="Web.x_1-2", internal=True, labels={"a": "b"}, mtu=1400, isolated=True, subnet="10.9.0.0/24",
        bridge="shop0",
        gateway="10.9.0.7", ip_range="10.9.0.128/25", aux_addresses={"router": "10.9.0.9"},
        ipv6=Ipv6(
            subnet="fd00:9::/64", gateway="fd00:9::7", ip_range="fd00:9::/112",
            aux_addresses={"router": "fd00:9::9"},
        ),
        asked=AskedNetwork(options=options, attachable=True),
    )  # fmt: skip


def test_what_says_nothing_is_not_set() -> None:
    """Hashes are over what is set, and an empty list is as none."""
    options = {MTU: "0", ICC: "true", BRIDGE_NAME: ""}
    found = spec_of({"Name": "web", "Options": options, "Labels": {}, "IPAM": {"Config": None}})
    assert found.model_fields_set == {"name", "asked"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"Name": "a/b"}, Invalid),
        ({"Name": "-a"}, Invalid),
        ({"Name": ".."}, Invalid),
        ({"Name": "a" * 201}, Invalid),
        ({"Name": "a\nb"}, Invalid),
        ({"Name": 7}, Invalid),
        ({}, Invalid),
        ({"Name": "none"}, Forbidden),
        ({"Name": "default"}, Forbidden),
        ({"Name": "x", "Bogus": 1}, Invalid),
        ({"Name": "x", "Labels": {"setpoint.key": "shop/network/x"}}, Invalid),
        ({"Name": "x", "Labels": {"a": "b" * 200_000}}, Invalid),
        ({"Name": "x", "Labels": ["a"]}, Invalid),
        ({"Name": "x", "Driver": "macvlan"}, Unsupported),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "IPRange": "x"}]}}, Invalid),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "IPRange": "10.1.0.9/25"}]}}, Invalid),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "IPRange": "10.2.0.0/25"}]}}, Invalid),
        (
            {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "AuxiliaryAddresses": {"a": "b"}}]}},
            Invalid,
        ),
        ({"Name": "x", "Driver": "weave"}, NotFound),
        ({"Name": "x", "Scope": "global"}, Forbidden),
        ({"Name": "x", "EnableIPv4": False}, Unsupported),
        ({"Name": "x", "ConfigFrom": {"Network": "y"}}, Unsupported),
        ({"Name": "x", "Options": {MTU: "67"}}, Invalid),
        ({"Name": "x", "Options": {BRIDGE_NAME: "a.b"}}, Invalid),
        ({"Name": "x", "Options": {BRIDGE_NAME: "a" * 16}}, Invalid),
        ({"Name": "x", "Options": {BRIDGE_NAME: "all"}}, Invalid),
        ({"Name": "x", "Options": {MTU: "-1"}}, Invalid),
        ({"Name": "x", "Options": {MTU: "999999"}}, Invalid),
        ({"Name": "x", "Options": {"com.docker.network.bridge.default_bridge": "true"}}, Unsupported),
        ({"Name": "x", "Options": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0"}}, Invalid),
        ({"Name": "x", "Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}}, Unsupported),
        ({"Name": "x", "IPAM": {"Options": {"a": "b"}}}, Unsupported),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}, Invalid),
        ({"Name": "x", "Options": {IPV6: "perhaps"}}, Invalid),
        *(
            ({"Name": "x", "EnableIPv6": True, "IPAM": {"Config": configs}}, kind)
            for configs, kind in (
                ([{"Subnet": "fd00::/64"}, {"Subnet": "fd01::/64"}], Unsupported),
                ([{"Subnet": "fd00::1/64"}], Invalid),
                ([{"Subnet": "fd00::/64", "Gateway": "fd01::1"}], Invalid),
                ([{"Subnet": "fd00::/64", "Gateway": "10.0.0.1"}], Invalid),
                ([{"Subnet": "fd00::/64", "IPRange": "fd01::/96"}], Invalid),
                ([{"Subnet": "fd00::/64", "AuxiliaryAddresses": {"a": "fd01::1"}}], Invalid),
            )
        ),
        ({"Name": "x", "IPAM": {"Config": ["10.0.0.0/24"]}}, Invalid),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}, {}]}}, Unsupported),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0"}]}}, Invalid),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "x"}]}}, Invalid),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "fd00::1"}]}}, Invalid),
    ],
)  # fmt: skip
def test_what_is_refused(body: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        spec_of(body)


# --- shown ------------------------------------------------------------------------------------------

STATE = NetworkState(
    "web", {"setpoint.key": "@api/network/web", "a": "b"}, "10.9.0.0/24", "10.9.0.1", "br1", True, 9.0
)


def seen(**fields: Any) -> Seen:
    return Seen(**{"name": "web", "instance": "lab", "created_at": 9.0, "state": STATE, **fields})


def record(spec: dict[str, Any]) -> ObjectRecord:
    return ObjectRecord(Key("@api", "network", "web"), "api", spec, "h", 1, 1, "", 0, "")


def box(**fields: Any) -> ContainerState:
    base: dict[str, Any] = {
        "id": "c" * 64, "name": "box", "labels": {}, "phase": "running", "sandbox": "s",
        "addresses": {"web": "10.9.0.2"}, "endpoints": (EndpointConfig("web", ("c" * 12, "box", "alias")),),
    }  # fmt: skip
    return ContainerState(**{**base, **fields})


def test_ids_follow_from_names() -> None:
    assert network_id("lab", "web") == network_id("lab", "web") and len(network_id("lab", "web")) == 64
    others = {
        network_id("lab", "db"),
        network_id("two", "web"),
        endpoint_id("lab", "web", "c"),
        network_id("labw", "eb"),
    }
    assert len(others) == 4 and network_id("lab", "web") not in others


def test_a_network_as_it_is_shown() -> None:
    shown = inspect(seen(record=record({"asked": {"options": {"x": "y"}, "attachable": True}})), [box()])
    assert shown["Containers"] == {
        "c" * 64: {
            "Name": "box", "EndpointID": endpoint_id("lab", "web", "c" * 64),
            "MacAddress": "02:42:0a:09:00:02", "IPv4Address": "10.9.0.2/24", "IPv6Address": "",
        }
    }  # fmt: skip
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"}]
    assert shown["Labels"] == {"a": "b"} and shown["Options"] == {"x": "y"}
    assert (shown["Internal"], shown["Attachable"], shown["Created"]) == (True, True, "1970-01-01T00:00:09Z")
    assert "Containers" not in summary(seen())


def test_ipv6_by_a_word_alone() -> None:
    for body in ({"EnableIPv6": True}, {"Options": {IPV6: "true"}}):
        assert spec_of({"Name": "web", **body}).ipv6 == Ipv6()
    assert spec_of({"Name": "web", "Options": {IPV6: "false"}}).ipv6 is None


def test_a_network_with_ipv6_as_it_is_shown() -> None:
    six = replace(STATE, subnet6="fd00:9::/64", gateway6="fd00:9::1")
    said = {"ipv6": {"ip_range": "fd00:9::/112", "aux_addresses": {"router": "fd00:9::9"}}}
    shown = inspect(seen(state=six, record=record(said)), [box(addresses6={"web": "fd00:9::2"})])
    assert shown["EnableIPv6"] is True
    assert shown["IPAM"]["Config"][1] == {
        "Subnet": "fd00:9::/64", "Gateway": "fd00:9::1", "IPRange": "fd00:9::/112",
        "AuxiliaryAddresses": {"router": "fd00:9::9"},
    }  # fmt: skip
    assert shown["Containers"]["c" * 64]["IPv6Address"] == "fd00:9::2/64"
    assert summary(seen())["EnableIPv6"] is False


def test_what_a_manifest_says_is_shown_as_options() -> None:
    assert summary(seen(record=record({"mtu": 1400, "isolated": True, "routed": True})))["Options"] == {
        MTU: "1400",
        ICC: "false",
        MASQUERADE: "false",
    }
    assert summary(seen())["Options"] == {}


def test_the_three() -> None:
    drivers = {}
    for name in ("bridge", "host", "none"):
        shown = summary(seen(name=name, state=None, is_built_in=True))
        drivers[name] = shown["Driver"]
        assert shown["IPAM"]["Config"] == [] and shown["Labels"] == {}
    assert drivers == {"bridge": "bridge", "host": "host", "none": "null"}
    assert summary(seen(name="host"))["Driver"] == "bridge"  # somebody's own of that name


def test_hardware_addresses() -> None:
    assert mac_address(box(), "web") == "02:42:0a:09:00:02" and mac_address(box(), "db") == ""
    asked = EndpointConfig("web", mac="02:00:00:00:00:01")
    assert mac_address(box(endpoints=(asked,)), "web") == "02:00:00:00:00:01"
    assert mac_address(box(addresses={}, endpoints=(asked,)), "web") == ""


def test_filters() -> None:
    own, built_in = seen(), seen(name="host", state=None, is_built_in=True)
    assert fits(own, {"dangling": ("true",)}, is_used=False)
    assert not fits(own, {"dangling": ("true",)}, is_used=True)
    assert fits(own, {"dangling": ("false",)}, is_used=True)
    assert fits(built_in, {"dangling": ("false",)}, is_used=False)
    assert fits(own, {"label": ("a=b",), "driver": ("null", "bridge")}, is_used=False)
    assert not fits(own, {"label": ("a=c",)}, is_used=False)
    assert not fits(built_in, {"type": ("custom",)}, is_used=False)
    with pytest.raises(Invalid):
        fits(own, {"type": ("x",)}, is_used=False)


# --- a container's interfaces -------------------------------------------------------------------------


def test_an_endpoint_with_ipv6() -> None:
    six = replace(STATE, subnet6="fd00:9::/64", gateway6="fd00:9::1")
    asked = EndpointConfig("web", ("box",), ipv6="fd00:9::2")
    state = box(endpoints=(asked,), addresses6={"web": "fd00:9::2"})
    shown = endpoint_view.endpoints("lab", state, None, {"web": six})["web"]
    assert (shown["GlobalIPv6Address"], shown["GlobalIPv6PrefixLen"]) == ("fd00:9::2", 64)
    assert shown["IPv6Gateway"] == "fd00:9::1"
    assert shown["IPAMConfig"] == {"IPv6Address": "fd00:9::2"}
    down = replace(state, phase="stopped", addresses={}, addresses6={})
    shown = endpoint_view.endpoints("lab", down, None, {"web": six})["web"]
    assert (shown["GlobalIPv6Address"], shown["GlobalIPv6PrefixLen"], shown["IPv6Gateway"]) == ("", 0, "")


def endpoints(state: ContainerState, spec: ContainerSpec | None = None) -> dict[str, dict[str, Any]]:
    return endpoint_view.endpoints("lab", state, spec, {"web": STATE})


def test_of_one_that_runs_and_of_one_that_does_not() -> None:
    shown = endpoints(box(endpoints=(EndpointConfig("web", ("c" * 12, "box", "alias"), "10.9.0.2"),)))["web"]
    assert (shown["IPAddress"], shown["IPPrefixLen"], shown["Gateway"]) == ("10.9.0.2", 24, "10.9.0.1")
    assert shown["IPAMConfig"] == {"IPv4Address": "10.9.0.2"} and shown["Aliases"] == ["alias"]
    assert shown["DNSNames"] == ["box", "c" * 12, "alias"]
    assert shown["EndpointID"] == endpoint_id("lab", "web", "c" * 64)
    down = endpoints(box(phase="stopped", addresses={}))["web"]
    assert (down["IPAddress"], down["IPPrefixLen"], down["EndpointID"], down["MacAddress"]) == ("", 0, "", "")
    assert down["NetworkID"] == network_id("lab", "web")


def test_of_those_without_a_network_of_their_own() -> None:
    def spec(mode: str) -> ContainerSpec:
        return ContainerSpec(image="x", network_mode=mode, asked=Asked())

    host = endpoints(box(addresses={}, endpoints=()), spec("host"))
    assert host.keys() == {"host"} and host["host"]["EndpointID"]
    assert endpoints(box(endpoints=()), spec("container:x")) == {}
    assert endpoints(box(addresses={}, endpoints=())) == {}
    bridge = endpoints(box(endpoints=(EndpointConfig("bridge", ("box",)),)), spec("bridge"))
    assert bridge["bridge"]["DNSNames"] == [] and DEFAULT_BRIDGE.name == "bridge"


def test_forbidden_has_one_line() -> None:
    assert Forbidden("a\nb").reason == "a b"
    assert network_view.DRIVERS == {"host": "host", "none": "null"}
