"""What a Socket hands on that who wrote its manifest may not have itself. Pure; called by `judge`.

What is made through a socket is judged again, by the policy too: this is so that the line says it at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.manifest.socket_limits import allow_of
from agent.manifest.spec import SocketSpec
from agent.policy.policy import Allow, Bind

Found = tuple[str, tuple[Any, ...], str, str]
"""rule, place, what was asked for, what to name in the rule."""


def judge_socket(allow: Allow, spec: SocketSpec) -> Iterator[Found]:
    asked = allow_of(spec.limits)
    if asked.privileged and not allow.privileged:
        yield "privileged", ("limits", "privileged"), "privileged through a socket", ""
    capabilities = frozenset() if "ALL" in allow.capabilities else asked.capabilities - allow.capabilities
    for rule, more in (
        ("namespaces", asked.namespaces - allow.namespaces),
        ("capabilities", capabilities),
        ("unconfined", asked.unconfined - allow.unconfined),
    ):
        for name in sorted(more):
            yield rule, ("limits", rule), f"{name} through a socket", name
    for device in asked.devices:
        if not any(device == known or device.startswith(known.rstrip("/") + "/") for known in allow.devices):
            yield "devices", ("limits", "devices"), f"device {device} through a socket", device
    for bind in asked.binds:
        if not any(_covers(known, bind) for known in allow.binds):
            yield "binds", ("limits", "binds"), f"bind mount of {bind.path} through a socket", bind.path
    if spec.path and not any(known.covers(spec.path) and not known.read_only for known in allow.binds):
        yield "binds", ("path",), f"a socket at {spec.path}", spec.path


def _covers(known: Bind, asked: Bind) -> bool:
    return (
        known.covers(asked.path)
        and (asked.read_only or not known.read_only)
        and (known.shared or not asked.shared)
    )
