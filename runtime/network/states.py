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
    )


def of_sandbox(record: SandboxRecord) -> SandboxState:
    found = {each.network: text_of(each.ipv4) for each in record.endpoints}
    return SandboxState(id=record.id, labels=record.labels, addresses=found)
