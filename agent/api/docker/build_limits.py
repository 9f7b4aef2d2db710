"""What the steps of a build are given: memory, processors, shared memory, ulimits, names of hosts. Pure.

Read of a classic build's query, and of the attributes of BuildKit's.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

from multidict import MultiMapping

from runtime.build_steps import StepLimits
from runtime.errors import Invalid
from runtime.model import Ulimit
from runtime.network.names import HOST_GATEWAY

MAX_HOSTS = 256
_FALSE = ("", "0", "no", "false", "none")


def truth(query: MultiMapping[str], name: str) -> bool:
    """As the daemon reads flags: whatever does not say no is yes."""
    return query.get(name, "").strip().lower() not in _FALSE


def limits_of(query: MultiMapping[str]) -> StepLimits:
    """`Invalid` for what is no number, or out of bounds."""
    memory = _whole(query, "memory")
    return StepLimits(
        memory_bytes=memory or None,
        cpu_quota_us=_whole(query, "cpuquota") or None,
        cpu_period_us=_whole(query, "cpuperiod") or 100_000,
        cpu_shares=_whole(query, "cpushares") or None,
        cpuset_cpus=query.get("cpusetcpus", ""),
        cpuset_mems=query.get("cpusetmems", ""),
        memory_swap_bytes=_whole(query, "memswap", least=-1) or None,
        shm_bytes=_whole(query, "shmsize") or None,
        ulimits=_ulimits(query.get("ulimits", "")),
        extra_hosts=hosts_of(query.getall("extrahosts", [])),
    )


def _whole(query: MultiMapping[str], name: str, least: int = 0) -> int:
    return whole(query.get(name, "") or "0", name, least)


def whole(text: str, name: str, least: int = 0) -> int:
    """A number of at most 63 bits."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18 or int(text) < least:
        raise Invalid("read request", name, f"{text[:40]!r} is not a whole number from {least}")
    return int(text)


def hosts_of(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`name:address` or `name=address`; host-gateway is the host's own."""
    found = [_host(text) for text in texts]
    if len(found) > MAX_HOSTS:
        raise Invalid("read request", "extrahosts", f"more than {MAX_HOSTS} names")
    return tuple(found)


def _host(text: str) -> tuple[str, str]:
    separator = "=" if "=" in text else ":"
    name, _, address = text.partition(separator)
    address = address.strip("[]")
    if not name or not name.isprintable() or " " in name:
        raise Invalid("", "", f'invalid extra host: "{text[:80]}"')
    if address != HOST_GATEWAY:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise Invalid("", "", f'invalid IP address in add-host: "{address[:80]}"') from None
    return name, address


def _ulimits(text: str) -> tuple[Ulimit, ...]:
    try:
        found = json.loads(text or "null") or []
    except (ValueError, RecursionError):
        raise Invalid("read request", "ulimits", "not JSON") from None
    if not isinstance(found, list) or len(found) > 32:
        raise Invalid("read request", "ulimits", "not a list of at most 32")
    return tuple(_ulimit(item) for item in found)


def _ulimit(item: Any) -> Ulimit:
    fields = item if isinstance(item, dict) else {}
    name, soft, hard = fields.get("Name"), fields.get("Soft"), fields.get("Hard")
    if not isinstance(name, str) or type(soft) is not int or type(hard) is not int:
        raise Invalid("read request", "ulimits", "not of Name, Soft and Hard")
    return ulimit(name, soft, hard)


def ulimit(name: str, soft: int, hard: int) -> Ulimit:
    if not name.isascii() or not name.isalpha():
        raise Invalid("read request", "ulimits", f"invalid ulimit type: {name[:40]}")
    if min(soft, hard) < -1 or (hard != -1 and (soft == -1 or soft > hard)):
        raise Invalid("read request", "ulimits", "ulimit soft limit must be less than or equal to hard limit")
    return Ulimit(name, soft, hard)
