"""All that is known of one container, gathered for the views. Reads memory only."""

from __future__ import annotations

from collections.abc import Mapping

from agent.api.context import Context
from agent.api.docker.container_view import Seen
from agent.api.docker.finding import record_of
from agent.manifest.spec import ContainerSpec, VolumeSpec
from agent.reconcile import convert
from agent.reconcile.api_objects import is_api, named_key
from agent.reconcile.inventory import spec_of
from runtime.model import ContainerState, NetworkState
from store.records import Key


def networks_by_name(context: Context) -> dict[str, NetworkState]:
    return {network.name: network for network in context.engine.list_networks()}


def volume_paths(context: Context) -> dict[str, str]:
    return {volume.name: volume.path for volume in context.engine.list_volumes()}


def volume_names_of(context: Context, key: Key | None, spec: ContainerSpec) -> dict[str, str]:
    """What a spec calls its volumes -> what they are called on this host."""
    if key is None:
        return {}
    found = {}
    for source in convert.volumes_of(spec):
        wanted = named_key(key.project, "volume", source)
        record = context.loop.objects().get(wanted)
        volume = spec_of(record) if record is not None else None
        if not isinstance(volume, VolumeSpec):  # one that nobody wants any more
            volume = VolumeSpec(external=is_api(wanted))
        found[source] = convert.volume_name(wanted, volume)
    return found


def look_at(
    context: Context, state: ContainerState, networks: Mapping[str, NetworkState] | None = None
) -> Seen:
    """networks: all of them, where many are looked at."""
    key, record = record_of(context, state)
    status = context.loop.statuses().get(key) if key is not None else None
    spec = context.loop.spec_of(key) if key is not None else None
    failure = context.loop.failure_of(key) if key is not None else None
    return Seen(
        state=state,
        key=key,
        record=record,
        spec=spec if isinstance(spec, ContainerSpec) else None,
        image=context.engine.image(state.image) if state.image else None,
        networks=networks_by_name(context) if networks is None else networks,
        volume_names=volume_names_of(context, key, spec) if isinstance(spec, ContainerSpec) else {},
        instance=context.settings.layout.instance,
        phase=status.phase if status is not None else "",
        restarts=status.restarts if status is not None else 0,
        health=context.loop.health_of(key, state.id) if key is not None else None,
        error=failure.message if failure is not None else "",
    )
