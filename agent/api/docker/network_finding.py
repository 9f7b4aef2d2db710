"""The networks that there are, and which of them a request names. Reads; changes nothing."""

from __future__ import annotations

from agent.api.context import Context
from agent.api.docker.network_body import BUILT_IN
from agent.api.docker.network_view import Seen
from agent.reconcile.api_objects import API_PROJECT
from agent.reconcile.observe import key_of
from agent.reconcile.world import DEFAULT_BRIDGE
from runtime.errors import Invalid, NotFound
from runtime.model import ContainerState, NetworkState
from store.records import Key


def networks_of(context: Context) -> list[Seen]:
    """All of the engine's, whoever made them, and the three that Docker's clients take to be always there."""
    states: tuple[NetworkState, ...] = context.engine.list_networks()
    found = [_seen(context, state) for state in states]
    names = {seen.name for seen in found}
    return [*found, *(_built_in(context, name) for name in BUILT_IN if name not in names)]


def find_network(context: Context, reference: str) -> Seen:
    """By its id, its name, or the first digits of its id. NotFound, or Invalid when several begin so."""
    seen = networks_of(context)
    exact = next((each for each in seen if each.id == reference), None)
    exact = exact or next((each for each in seen if each.name == reference), None)
    if exact is not None:
        return exact
    found = [each for each in seen if reference and each.id.startswith(reference)]
    if len(found) > 1:
        count = f"{len(found)} matches found based on ID prefix"
        raise Invalid("", "", f"network {reference[:64]} is ambiguous ({count})")
    if not found:
        raise NotFound("", "", f"network {reference[:128]} not found")
    return found[0]


def name_in_spec(key: Key) -> str:
    """What a container of the API calls a network in its spec."""
    return key.name if key.project == API_PROJECT else str(key)


def _seen(context: Context, state: NetworkState) -> Seen:
    key = key_of(state.labels)
    record = context.loop.objects().get(key) if key is not None else None
    created_at = state.created_at or (record.updated_at if record is not None else 0.0)
    return Seen(
        state.name, context.settings.layout.instance, created_at, state, key, record,
        is_built_in=key == DEFAULT_BRIDGE,
    )  # fmt: skip


def _built_in(context: Context, name: str) -> Seen:
    key = DEFAULT_BRIDGE if name == DEFAULT_BRIDGE.name else None
    instance = context.settings.layout.instance
    return Seen(name, instance, context.started_at, key=key, is_built_in=True)


# --- who is on it -----------------------------------------------------------------------------------


def running_on(context: Context, seen: Seen) -> list[ContainerState]:
    """The containers that are on it now, with an interface of their own."""
    live = (state for state in context.engine.list() if state.phase in ("running", "paused"))
    return [state for state in live if _is_on(context, seen, state)]


def containers_of(context: Context, seen: Seen) -> list[ContainerState]:
    """Those that are on it, or will be when they run."""
    return [state for state in context.engine.list() if _is_on(context, seen, state)]


def _is_on(context: Context, seen: Seen, state: ContainerState) -> bool:
    if seen.is_built_in and seen.name == "host":
        return not state.sandbox
    if seen.is_built_in and seen.name == "none":
        return _network_mode(context, state) == "none"
    return any(endpoint.network == seen.name for endpoint in state.endpoints)


def _network_mode(context: Context, state: ContainerState) -> str:
    key = key_of(state.labels)
    record = context.loop.objects().get(key) if key is not None else None
    return str(record.spec.get("network_mode", "")) if record is not None else ""
