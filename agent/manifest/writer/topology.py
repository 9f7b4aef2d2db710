"""Networks, volumes and kept images as compose's fields and our own: the inverse of `agent.manifest.topology`
and `parse_image`. Pure."""

from __future__ import annotations

from typing import Any

from agent.manifest.network_options import BRIDGE_NAME, ICC, MASQUERADE, MTU
from agent.manifest.spec import ImageSpec, NetworkSpec, VolumeSpec
from agent.manifest.writer.service import update
from agent.manifest.writer.yaml_text import Quoted

Fields = dict[str, Any]
_NETWORK = ("name", "external", "driver", "internal", "labels", "ensure", "suspend")
_ADDRESSES = ("subnet", "gateway", "ip_range", "aux_addresses")
_NETWORK_OWN = (*_ADDRESSES, "mtu", "isolated", "routed", "bridge", "ipv6")
_VOLUME = ("name", "external", "driver", "driver_opts", "keep", "labels", "ensure", "suspend")
_IMAGE = ("image", "pull_policy", "labels", "ensure", "suspend")


def network(spec: NetworkSpec) -> Fields:
    found = _said(spec, _NETWORK)
    address = {name: getattr(spec, name) for name in _ADDRESSES if getattr(spec, name)}
    configs = [address] if address else []
    if spec.ipv6 is not None:
        found["enable_ipv6"] = True
        six = {name: getattr(spec.ipv6, name) for name in _ADDRESSES if getattr(spec.ipv6, name)}
        configs += [six] if six else []
    if configs:
        found["ipam"] = {"config": configs}
    options = {MTU: Quoted(spec.mtu)} if spec.mtu is not None else {}
    options |= {ICC: Quoted("false")} if spec.isolated else {}
    options |= {MASQUERADE: Quoted("false")} if spec.routed else {}
    options |= {BRIDGE_NAME: Quoted(spec.bridge)} if spec.bridge else {}
    return found | ({"driver_opts": options} if options else {})


def volume(spec: VolumeSpec) -> Fields:
    return _said(spec, _VOLUME)


def image(spec: ImageSpec) -> Fields:
    return _said(spec, _IMAGE) | (update("update", spec.update) if spec.update else {})


def unwritten(spec: NetworkSpec | VolumeSpec | ImageSpec) -> tuple[str, ...]:
    """Fields that say something and that this writer does not know."""
    known = {*_NETWORK, *_NETWORK_OWN} if isinstance(spec, NetworkSpec) else set(_VOLUME)
    known = {*_IMAGE, "update"} if isinstance(spec, ImageSpec) else known
    others = tuple(name for name in type(spec).model_fields if name not in known | {"asked"})
    return tuple(_said(spec, others))


def _said(spec: NetworkSpec | VolumeSpec | ImageSpec, names: tuple[str, ...]) -> Fields:
    fields = type(spec).model_fields
    return {
        name: value
        for name in names
        if (value := getattr(spec, name)) != fields[name].default or fields[name].is_required()
    }
