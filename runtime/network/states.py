"""What others are told of networks and sandboxes, from their records. Pure. Used by `networks`."""

from __future__ import annotations

from runtime.model import NetworkState, SandboxState
from runtime.network.addresses import text_of
from runtime.network.records import NetworkRecord, SandboxRecord


def of_network(record: NetworkRecord) -> NetworkState:
    return NetworkState(
        name=record.name,
        labels=record.config.labels,
        subnet=str(record.subnet),
        gateway=text_of(record.subnet.gateway),
        bridge=record.bridge,
        internal=record.config.internal,
        created_at=record.created_at,
        subnet6=str(record.subnet6) if record.subnet6 else "",
        gateway6=text_of(record.subnet6.gateway) if record.subnet6 else "",
    )


def of_sandbox(record: SandboxRecord) -> SandboxState:
    found = {each.network: text_of(each.ipv4) for each in record.endpoints}
    six = {each.network: text_of(each.ipv6) for each in record.endpoints if each.ipv6}
    return SandboxState(id=record.id, labels=record.labels, addresses=found, addresses6=six)
