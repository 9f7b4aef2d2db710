"""What may be asked for through a socket: as a policy's `allow`, kept in a spec as plain JSON. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from agent.policy.policy import Allow, Bind, PortRange


def limits_of(allow: Allow) -> dict[str, Any]:
    """JSON that is the same for the same rules; what is at its default is left out."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Allow):
        value = getattr(allow, field.name)
        if value != field.default:
            found[field.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [dataclasses.asdict(each) if dataclasses.is_dataclass(each) else each for each in value]  # type: ignore[arg-type]
    return value


def allow_of(limits: Mapping[str, Any]) -> Allow:
    """The inverse."""
    values: dict[str, Any] = {}
    for name, value in limits.items():
        if name in ("namespaces", "capabilities", "unconfined"):
            values[name] = frozenset(value)
        elif name == "binds":
            values[name] = tuple(Bind(**each) for each in value)
        elif name == "ports":
            values[name] = tuple(PortRange(**each) for each in value)
        else:
            values[name] = tuple(value) if isinstance(value, list | tuple) else value
    return Allow(**values)
