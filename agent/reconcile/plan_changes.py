"""What changes of a container in place, whether it runs or not: its name, its networks, its limits. Pure.

For what the Docker Engine API made; a manifest's container is made anew where its name or its networks change
(see `manifest.hashing`). Called by `plan_containers` for a container that stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.manifest.hashing import OWN_NETWORK_MODES
from agent.reconcile import container_actions as make
from agent.reconcile import convert
from agent.reconcile.actions import Action, ConnectNetwork, DisconnectNetwork, RenameContainer
from agent.reconcile.api_objects import is_api
from agent.reconcile.container_actions import Context
from agent.reconcile.world import Replica
from runtime.model import EndpointConfig
from runtime.renaming import renamed_endpoints
from store.records import Key


def changes(context: Context, current: Replica) -> tuple[tuple[Action, ...], frozenset[Key]]:
    """The actions, and the networks that are to be there before others can be planned."""
    if not is_api(context.desired.key):
        return (), frozenset()
    limits = () if current.state.phase == "running" else make.update(context, current)
    reaching, missing = _networks(context, current)
    return (*_rename(context, current), *reaching, *limits), missing


def _rename(context: Context, current: Replica) -> Iterator[Action]:
    key, name = context.desired.key, convert.container_name(context.desired.key, context.spec, current.index)
    if current.state.name != name:
        cause = context.cause("it was given another name")
        yield RenameContainer(key, cause, current.id, name, index=current.index)


def _networks(context: Context, current: Replica) -> tuple[tuple[Action, ...], frozenset[Key]]:
    spec, key, index = context.spec, context.desired.key, current.index
    if spec.network_mode not in OWN_NETWORK_MODES:
        return (), frozenset()
    wanted = convert.endpoints_of(key, spec, index, make.names_of(context, index))
    has = renamed_endpoints(
        current.state.endpoints, current.state.name, convert.container_name(key, spec, index)
    )
    cause = context.cause("its networks are others")
    names = {endpoint.network for endpoint in wanted}
    # By its addresses too: a connect that was broken off may have left it on more than its record says.
    on = dict.fromkeys((*(endpoint.network for endpoint in has), *current.state.addresses))
    leaving = (
        DisconnectNetwork(key, cause, current.id, network, index=index)
        for network in on
        if network not in names
    )
    coming, missing = [], set()
    for position, endpoint in enumerate(wanted):
        if endpoint in has:
            continue
        if endpoint.network in context.world.networks:
            coming.append(ConnectNetwork(key, cause, current.id, endpoint, position, index=index))
        else:
            missing.add(_key_of(context, endpoint))
    return (*leaving, *coming), frozenset(missing)


def _key_of(context: Context, endpoint: EndpointConfig) -> Key:
    return next(
        key for key in context.desired.needs_networks if context.world.network_name(key) == endpoint.network
    )
