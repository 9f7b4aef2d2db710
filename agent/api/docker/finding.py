"""Which container a request names, and whether the API may change it. Reads; changes nothing."""

from __future__ import annotations

import re

from agent.api.context import Context
from agent.reconcile.api_objects import API_OWNER, is_api
from agent.reconcile.observe import key_of
from runtime.errors import Conflict, Invalid, NotFound
from runtime.model import ContainerState
from store.records import Key, ObjectRecord

_ID = re.compile(r"[0-9a-f]{1,64}")
OVERRIDABLE = frozenset(("start", "stop", "restart", "kill", "pause", "unpause", "update"))


def find_container(context: Context, reference: str) -> ContainerState:
    """By its id, its name, or the first digits of its id. NotFound, or Invalid when several begin so."""
    exact: ContainerState | None = context.engine.state(reference)
    if exact is not None:
        return exact
    id = context.engine.names.get(reference.removeprefix("/")) or _id_with(context, reference)
    state: ContainerState | None = context.engine.state(id)
    if state is None:
        raise NotFound("", "", f"No such container: {reference[:128]}")
    return state


def _id_with(context: Context, prefix: str) -> str:
    """The one id that begins so; "" when none does."""
    found = context.engine.ids_with(prefix) if _ID.fullmatch(prefix) else ()
    if len(found) > 1:
        raise Invalid("", "", f"multiple IDs found with provided prefix: {prefix[:64]}")
    return found[0] if found else ""


def record_of(context: Context, state: ContainerState) -> tuple[Key | None, ObjectRecord | None]:
    """The desired object that a container was made for; none for a stray one."""
    key = key_of(state.labels)
    return key, context.loop.objects().get(key) if key is not None else None


def known_record(context: Context, op: str, state: ContainerState) -> tuple[Key, ObjectRecord]:
    """The object that says what is wanted of it. Conflict where none does, or none yet: an agent whose
    database is lost finds what a manifest runs, and knows no more of it until its source is read."""
    key, record = record_of(context, state)
    if key is None:
        raise Conflict(op, state.name, "no object of this engine's owns it")
    if record is None and is_api(key):
        raise Conflict("", "", f"removal of container {state.id} is already in progress")
    if record is None:
        raise Conflict(
            op, state.name, f"what wants {key} is not read yet", "setpoint status says what its source lacks"
        )
    return key, record


def owned_key(context: Context, op: str, state: ContainerState) -> Key:
    """Its key, where the API may change it. Conflict where a manifest owns it, with the place."""
    key, record = known_record(context, op, state)
    check_owner(op, state.name, record)
    return key


def check_owner(op: str, name: str, record: ObjectRecord | None) -> None:
    """Conflict for what a manifest owns: the next commit, or pass, would undo the change."""
    if record is None or record.owner == API_OWNER:
        return
    place = f"{record.file}:{record.line}" if record.file else "the engine itself"
    raise Conflict(op, name, f"{place} owns it", _way_round(op, record.key))


def _way_round(op: str, key: Key) -> str:
    """What to do in place of a call on what a manifest owns."""
    if op not in OVERRIDABLE:
        return "change it there"
    header = "the header X-Setpoint-Override: 1h"
    command = f"setpoint override {key.project}/{key.name} --for 1h {op}, or " if op != "update" else ""
    return f"change it there; for a while: {command}{header}"
