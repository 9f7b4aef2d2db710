"""Records as the JSON that people and programs see. Pure; the CLI uses the same functions on what
the store holds while the agent is down, so both show one shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from agent.reconcile.api_objects import API_OWNER, API_PROJECT
from runtime.errors import Invalid, NotFound
from store.records import Condition, EventRecord, Key, ObjectRecord, RevisionRecord, StatusRecord

if TYPE_CHECKING:  # the command line waits for this module
    from agent.api.openapi.shapes import history, state

Objects = Mapping[Key, ObjectRecord]
Statuses = Mapping[Key, StatusRecord]


def status_view(
    objects: Objects,
    statuses: Statuses,
    *,
    ready: bool,
    agent: str,
    revision: str,
    source: Mapping[str, Any] | None = None,
    alarms: Iterable[Mapping[str, Any]] = (),
    remembered: int = 0,
) -> dict[str, Any]:
    """The contract of `setpoint status -o json`. agent: "running" or "down". alarms: {"reason", "message",
    "hint", "since"} of what is wrong with no single object. remembered: how many objects are shown as the
    store has them, because this agent has not looked at them yet."""
    source = source or {}
    return {
        "ready": ready,
        "agent": agent,
        "revision": revision,
        "objects": [
            object_view(key, objects.get(key), statuses.get(key)) for key in _keys(objects, statuses)
        ],
        "source": dict(source),
        "errors": list(source.get("errors", ())),
        "alarms": [dict(alarm) for alarm in alarms],
        "remembered": remembered,
    }


def stored_view(objects: Objects, statuses: Statuses, revisions: Iterable[RevisionRecord]) -> dict[str, Any]:
    """The same from the store alone, while no agent runs: the last that was known, and never ready."""
    newest = next(iter(revisions), None)
    revision = newest.id if newest else ""
    source = {"where": newest.source, "subject": newest.subject} if newest else {}
    return status_view(
        objects, statuses, ready=False, agent="down", revision=revision, source=source,
        remembered=len(_keys(objects, statuses)),
    )  # fmt: skip


def _keys(objects: Objects, statuses: Statuses) -> list[Key]:
    return sorted({*objects, *statuses})


def object_view(key: Key, record: ObjectRecord | None, status: StatusRecord | None) -> state.Object:
    """One object in a status: what is wanted in brief, and what is."""
    view: state.Object = {
        "key": str(key),
        "phase": status.phase if status else "Pending",
        "ready": bool(status and status.ready),
        "restarts": status.restarts if status else 0,
        "message": status.message if status else "",
        "since": status.since if status else 0.0,
        "containers": [_replica(container) for container in status.containers] if status else [],
        "conditions": [condition_view(c) for c in status.conditions] if status else [],
    }
    if record is not None:
        view.update({
            "desired": desired_replicas(record),
            "owner": record.owner,
            "file": record.file,
            "line": record.line,
            "revision": record.revision,
            "generation": record.generation,
            "observed_generation": record.observed_generation,
            "deleting": record.deleting,
            "unmanaged": record.owner == API_OWNER,
            "name": known_name(record),
        })  # fmt: skip
    return view


def _replica(container: Mapping[str, Any]) -> state.Replica:
    """As `agent.reconcile.statuses` made it, and the store kept it."""
    return {**container}  # type: ignore[typeddict-item]


def known_name(record: ObjectRecord) -> str:
    """What people call an object: a container of the Docker API by its own name, not by its key's digits."""
    name = record.spec.get("container_name") if record.owner == API_OWNER else ""
    return name if isinstance(name, str) and name else record.key.name


def desired_replicas(record: ObjectRecord) -> int:
    """How many containers an object asks for; 0 for one that is none, is stopped or is going."""
    if record.key.kind != "container" or record.deleting or record.spec.get("ensure", "running") != "running":
        return 0
    scale = record.spec.get("scale", 1)
    return scale if isinstance(scale, int) else 1


def detail_view(
    key: Key, record: ObjectRecord | None, status: StatusRecord | None, events: Iterable[EventRecord]
) -> dict[str, Any]:
    """All that is known of one object, for `describe`."""
    view: dict[str, Any] = {**object_view(key, record, status)}
    view["spec"] = dict(record.spec) if record else {}
    view["spec_hash"] = record.spec_hash if record else ""
    view["updated_at"] = record.updated_at if record else 0.0
    view["events"] = [event_view(event) for event in events]
    return view


def condition_view(condition: Condition) -> state.Condition:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "since": condition.since,
    }


def event_view(event: EventRecord) -> history.Event:
    return {
        "id": event.id,
        "at": event.at,
        "key": str(event.key),
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "revision": event.revision,
        "cause": list(event.cause),
    }


def revision_view(revision: RevisionRecord) -> history.Revision:
    return {
        "id": revision.id,
        "source": revision.source,
        "seen_at": revision.seen_at,
        "outcome": revision.outcome,
        "message": revision.message,
        "converged_at": revision.converged_at,
        "subject": revision.subject,
        "author": revision.author,
    }


def why_view(
    key: Key,
    record: ObjectRecord | None,
    status: StatusRecord | None,
    events: Iterable[EventRecord],
    revisions: Iterable[RevisionRecord],
) -> state.Why:
    """The chain commit -> file:line -> observation -> actions -> result of one object."""
    commit = next((r for r in revisions if record and r.id == record.revision), None)
    return {
        "key": str(key),
        "revision": record.revision if record else "",
        "commit": revision_view(commit) if commit else None,
        "file": record.file if record else "",
        "line": record.line if record else 0,
        "steps": [event_view(event) for event in events],
        "result": object_view(key, record, status),
    }


def resolve(text: str, known: Iterable[Key], objects: Objects | None = None) -> Key:
    """The key that a person means: project/kind/name, project/name or name. A container is preferred
    to what else has the name. objects: those whose own names count too (`known_name`), alone or after
    @api/. NotFound, or Invalid when several fit."""
    parts = text.strip("/").split("/")
    if len(parts) > 3 or not all(parts):
        raise Invalid("find object", text, "not a key", "project/kind/name, project/name or name")
    known = list(known)
    found = [key for key in known if _fits(key, parts)]
    found += [key for key in _named(parts, objects or {}) if key not in found]
    if not found and (project := sorted(str(key) for key in known if key.project == text)):
        raise Invalid("find object", text, "that is a project", f"say which object: {', '.join(project[:5])}")
    if not found:
        raise NotFound("find object", text, "no such object", _likely(text, known))
    containers = [key for key in found if key.kind == "container"]
    found = containers or found
    if len(found) > 1:
        names = ", ".join(str(key) for key in sorted(found)[:5])
        ways = " or ".join(_way(key, parts[-1]) for key in sorted(found)[:5])
        raise Invalid(
            "find object", text, f"{len(found)} objects have this name: {names}", f"give the project: {ways}"
        )
    return found[0]


def _way(key: Key, name: str) -> str:
    """How to name it so that no other is meant."""
    return f"{key.project}/{name}" if key.kind == "container" else str(key)


def _likely(text: str, known: list[Key]) -> str:
    """What may have been meant: a container by the name that Docker shows, or what is spelled alike."""
    import difflib

    stem = text.rpartition("-")[0] if text.rpartition("-")[2].isdecimal() else text
    meant = [key for key in known if key.kind == "container" and f"{key.project}-{key.name}" == stem]
    if not meant:
        by_name = {f"{key.project}/{key.name}": key for key in known}
        near = difflib.get_close_matches(text, [*by_name, *(key.name for key in known)], 1)
        meant = [key for key in known if near and near[0] in (key.name, f"{key.project}/{key.name}")]
    return f"did you mean {_way(meant[0], meant[0].name)}?" if meant else "setpoint status lists them"


def _named(parts: list[str], objects: Objects) -> list[Key]:
    """Containers of the Docker API by their own names; several may have had one, one has it."""
    if len(parts) > 1 and parts[0] != API_PROJECT:
        return []
    return [
        key
        for key, record in objects.items()
        if key.project == API_PROJECT and not record.deleting and known_name(record) == parts[-1]
    ]


def _fits(key: Key, parts: list[str]) -> bool:
    if len(parts) == 3:
        return list(key) == parts
    if len(parts) == 2:
        return [key.project, key.name] == parts
    return key.name == parts[0]
