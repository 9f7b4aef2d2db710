"""Limits with devices and numbers of the kernel's own: block I/O, real time, memory nodes, device rules.

Each parser reads one field of a service. What this kernel has of them is seen when a container is made.
"""

from __future__ import annotations

from typing import Any

from agent.manifest.nodes import INTEGER, Node
from agent.manifest.parse_mounts import container_path
from agent.manifest.parse_values import (
    Parser,
    duration,
    fields,
    integer,
    items,
    list_of,
    matching,
    size,
    text,
    to_integer,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import Blkio, BlkioRate, BlkioWeight
from runtime.devices import RULE

MICROSECONDS = 1_000_000
LEAST_WEIGHT, MOST_WEIGHT = 10, 1000  # of block I/O, as every engine has them
processors = matching(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", 'such as "0-3" or "0,2"')
swappiness = integer(0, 100)
cpu_period = integer(1000, 1_000_000)  # sched-bwc: from 1 ms to 1 s
cpu_quota = integer(-1)


def _path(r: Reading, node: Node) -> str:
    return container_path(text(r, node))


def _weight(r: Reading, node: Node) -> int:
    return integer(LEAST_WEIGHT, MOST_WEIGHT)(r, node)


def _rate(parse: Parser[int]) -> Parser[BlkioRate]:
    table = {"path": _path, "rate": parse}
    return lambda r, node: BlkioRate(**fields(r, node, table, required=("path", "rate")))


def _weight_of_device(r: Reading, node: Node) -> BlkioWeight:
    table: dict[str, Parser[Any]] = {"path": _path, "weight": _weight}
    return BlkioWeight(**fields(r, node, table, required=("path", "weight")))


BLKIO_FIELDS: dict[str, Parser[Any]] = {
    "weight": _weight,
    "weight_device": list_of(_weight_of_device),
    "device_read_bps": list_of(_rate(size)),
    "device_write_bps": list_of(_rate(size)),
    "device_read_iops": list_of(_rate(integer(0))),
    "device_write_iops": list_of(_rate(integer(0))),
}


def blkio_config(r: Reading, node: Node) -> Blkio:
    return Blkio(**fields(r, node, BLKIO_FIELDS))


def microseconds(r: Reading, node: Node) -> int:
    """A number of them, or a duration: 950000, "950ms"."""
    value = text(r, node)
    found = to_integer(value) if INTEGER.fullmatch(value) else round(duration(r, node) * MICROSECONDS)
    if not 0 <= found <= 3600 * MICROSECONDS:
        raise Refuse(f"{value[:40]} is out of range", "from 0 to an hour")
    return found


def device_cgroup_rules(r: Reading, node: Node) -> tuple[str, ...]:
    return items(r, node, _device_rule)


def _device_rule(r: Reading, node: Node) -> str:
    value = text(r, node)
    if not RULE.fullmatch(value):
        raise Refuse(f'"{value[:60]}" is not a device rule', 'TYPE MAJOR:MINOR ACCESS, such as "c 188:* rw"')
    return value
