"""Reads a scenario: desired, actual and memory in YAML, to a World and a time. See README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.manifest.hashing import hashes
from agent.policy.policy import OPEN, Policy
from agent.policy.read import read_policy
from agent.reconcile import convert
from agent.reconcile.actions import KeyPlan
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import Memory, from_json
from agent.reconcile.plan import plan
from agent.reconcile.world import (
    SPEC_TYPES,
    Actual,
    Desired,
    PruneGuard,
    Pull,
    Replica,
    Sandbox,
    SignatureAsking,
    World,
    desired_of,
    replica_of,
)
from runtime.images.facts import ImageFacts
from runtime.images.reference import parse_reference
from runtime.model import ContainerState, Drift, ImageInfo, NetworkState, Resources, VolumeState
from store.records import Key, ObjectRecord

FOLDER = Path(__file__).parent
NOW = 1000.0
INSTANCE = "test"
DIGEST = "sha256:" + "0" * 64
META = ("file", "line", "revision", "generation", "deleting", "owner", "frozen", "unreadable")


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    world: World
    now: float
    expected: str
    verdicts: Mapping[str, str]


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.yaml"))


def read(path: Path) -> Scenario:
    data = yaml.safe_load(path.read_text())
    desired = {key: _desired(key, dict(spec or {})) for key, spec in _keyed(data.get("desired"))}
    actual_data = data.get("actual") or {}
    images = {name: _image(name, more) for name, more in _images(actual_data)}
    networks = {n.name: n for n in map(_network(desired), actual_data.get("networks", ["shop_default"]))}
    volumes = {v.name: v for v in map(_volume(desired), actual_data.get("volumes", []))}
    replicas = [_replica(item, desired, images) for item in actual_data.get("containers", [])]
    actual = _actual(replicas, networks, volumes, actual_data)
    world = World(
        instance=INSTANCE,
        desired=desired,
        actual=actual,
        memory=(memory := {key: _memory(more) for key, more in _keyed(data.get("memory"))}),
        handed={Key.parse(m.handed_over.key): key for key, m in memory.items() if m.handed_over},
        images=images,
        pulls={name: Pull(**said) for name, said in actual_data.get("pulls", {}).items()},
        signatures={name: _asking(said) for name, said in actual_data.get("signatures", {}).items()},
        networks=networks,
        volumes=volumes,
        sandboxes=_sandboxes(replicas, actual_data),
        sockets={
            key: desired[key].spec_hash if said else "before"
            for key, said in _keyed(actual_data.get("sockets"))
        },
        damage=actual_data.get("damage", {}),
        dependents=_dependents(desired),
        volume_users=_volume_users(actual),
        prune=PruneGuard(**data.get("prune", {})),
        facts={name: _facts(name, more) for name, more in _images(actual_data)},
        policy=_policy(data.get("policy")),
    )
    return Scenario(
        path.stem,
        data["about"],
        world,
        data.get("now", NOW),
        data.get("plan") or "",
        data.get("verdicts", {}),
    )


def printed(scenario: Scenario) -> str:
    """The plan as people see it; ids that are derived from hashes show as NEW."""
    return re.sub(r"\b[0-9a-f]{12}\b", "NEW", str(plan(scenario.world, scenario.now)))


def verdicts(scenario: Scenario) -> dict[str, str]:
    return {str(p.key): said(p) for p in plan(scenario.world, scenario.now).keys}


def said(found: KeyPlan) -> str:
    verdict: Verdict = found.verdict
    words = [verdict.phase]
    if verdict.reason != verdict.phase:
        words.append(verdict.reason)
    if verdict.stalled:
        words.append(f"Stalled={verdict.stalled}")
    if verdict.wake_at is not None:
        words.append(f"wake={verdict.wake_at:g}")
    return " ".join(words) + (f": {verdict.message}" if verdict.message else "")


def _keyed(data: Mapping[str, Any] | None) -> list[tuple[Key, Any]]:
    return [(Key.parse(text), value) for text, value in (data or {}).items()]


def _desired(key: Key, spec: dict[str, Any]) -> Desired:
    meta = {name: spec.pop(name) for name in META if name in spec}
    if key.kind == "container":
        spec.setdefault("image", "busybox")
    parsed = None if meta.get("unreadable") else SPEC_TYPES[key.kind].model_validate(spec)
    record = ObjectRecord(
        key=key, owner=meta.get("owner", "git"), spec={}, spec_hash=hashes(parsed)[0] if parsed else "",
        generation=meta.get("generation", 1), observed_generation=0,
        file=meta.get("file", "shop/compose.yaml"), line=meta.get("line", 1),
        revision=meta.get("revision", "c0ffee"), deleting=meta.get("deleting", False),
    )  # fmt: skip
    return desired_of(record, parsed, is_frozen=meta.get("frozen", False))


def _images(actual: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    images = actual.get("images", ["busybox"])
    return [(name, {}) for name in images] if isinstance(images, list) else list(images.items())


def _image(name: str, more: dict[str, Any]) -> ImageInfo:
    return ImageInfo(
        id=more.get("id", f"sha256:{name}"), names=(name,), size_bytes=1, created_at=0.0,
        architecture="amd64", os="linux", healthcheck=more.get("healthcheck"),
    )  # fmt: skip


def _facts(name: str, more: dict[str, Any]) -> tuple[ImageFacts, ...]:
    """first_seen_at: when this host first saw it; names: for one that is asked for by its id;
    seen_as: the id that was judged, where the name has moved since."""
    seen_at = more.get("first_seen_at", 0.0)
    names = more.get("names", [parse_reference(name).canonical])
    image_id = more.get("seen_as", _image(name, more).id)
    return tuple(
        ImageFacts(each, (DIGEST,), "amd64", (), seen_at, "names" in more, image_id) for each in names
    )


def _asking(said: dict[str, Any]) -> SignatureAsking:
    """pull: how it stands, none when its registry has answered; digest: of what it was asked."""
    pull = Pull(**said["pull"]) if "pull" in said else None
    return SignatureAsking(frozenset((said.get("digest", DIGEST),)), pull)


def _policy(data: dict[str, Any] | None) -> Policy:
    """As in a file, whose lines are of a rule each."""
    if data is None:
        return OPEN
    head, end = "apiVersion: setpoint/v1\nkind: Policy\nimages:\n", "\n"
    rules = "".join(f"  {name}: {json.dumps(rule)}{end}" for name, rule in data["images"].items())
    return read_policy((head + rules).encode(), "policy.yaml")


def _replica(
    item: dict[str, Any], desired: Mapping[Key, Desired], images: Mapping[str, ImageInfo]
) -> Replica:
    key, index = Key.parse(item["key"]), item.get("index", 1)
    wanted = desired.get(key)
    spec = wanted.spec if wanted else None
    made_for = item.get("made_for", "current")
    if made_for == "current":
        made_for = wanted.recreate_hash if wanted else ""
    image = item.get("image")
    if image is None:
        known = images.get(spec.image) if spec else None
        image = known.id if known else ""
    phase = item.get("phase", "running")
    sandbox = "" if spec and spec.network_mode else convert.sandbox_id(INSTANCE, key, index)
    state = ContainerState(
        id=item["id"], name=item["id"], phase=phase, image=image, sandbox=item.get("sandbox", sandbox),
        labels=convert.labels_of(key, index, made_for, item.get("attempt", 0), convert.Origin()),
        started_at=item.get("started_at", 900.0 if phase != "created" else None),
        finished_at=item.get("finished_at"), exit_code=item.get("exit_code"),
        oom_killed=item.get("oom_killed", False),
        resources=Resources(**item["resources"]) if "resources" in item
        else convert.resources_of(spec) if spec else Resources(),
        volumes=tuple(item.get("volumes", ())),
    )  # fmt: skip
    return replica_of(state)


def _network(desired: Mapping[Key, Desired]) -> Any:
    def build(item: str | dict[str, Any]) -> NetworkState:
        data = {"name": item} if isinstance(item, str) else item
        project, _, name = data["name"].partition("_")
        key = Key.parse(data["key"]) if data.get("key") else Key(project, "network", name)
        made_for = data.get("made_for", "current")
        if made_for == "current":
            made_for = desired[key].recreate_hash if key in desired else ""
        labels = {} if data.get("key") == "" else convert.labels_of(key, 0, made_for, 0, convert.Origin())
        return NetworkState(data["name"], labels, "10.0.0.0/16", "10.0.0.1", "br0")

    return build


def _volume(desired: Mapping[Key, Desired]) -> Any:
    def build(item: str | dict[str, Any]) -> VolumeState:
        data = {"name": item} if isinstance(item, str) else item
        project, _, name = data["name"].partition("_")
        key = Key.parse(data["key"]) if data.get("key") else Key(project, "volume", name)
        labels = {} if data.get("key") == "" else {convert.LABEL_KEY: str(key)}
        path = f"/volumes/{data['name']}"
        return VolumeState(data["name"], labels, path, options=data.get("options", {}))

    return build


def _actual(
    replicas: list[Replica],
    networks: Mapping[str, NetworkState],
    volumes: Mapping[str, VolumeState],
    data: Mapping[str, Any],
) -> dict[Key, Actual]:
    parts: dict[Key, dict[str, list[Any]]] = {}
    for replica in replicas:
        _part(parts, replica.state.labels, "replicas").append(replica)
    for network in networks.values():
        _part(parts, network.labels, "networks").append(network)
    for volume in volumes.values():
        _part(parts, volume.labels, "volumes").append(volume)
    for key, drifts in _keyed(data.get("drifts")):
        parts.setdefault(key, {})["drifts"] = [Drift(**drift) for drift in drifts]
    for key, sandboxes in _keyed(data.get("orphan_sandboxes")):
        parts.setdefault(key, {})["orphan_sandboxes"] = sandboxes
    broken = dict(_keyed(data.get("broken")))
    for key in broken:
        parts.setdefault(key, {})
    return {
        key: Actual(**{name: tuple(items) for name, items in part.items()}, broken=broken.get(key, {}))
        for key, part in parts.items()
    }


def _part(parts: dict[Key, dict[str, list[Any]]], labels: Mapping[str, str], name: str) -> list[Any]:
    text = labels.get(convert.LABEL_KEY)
    if not text:
        return []
    return parts.setdefault(Key.parse(text), {}).setdefault(name, [])


def _memory(data: dict[str, Any]) -> Memory:
    data = dict(data)
    exits = [{"index": 1, "started_at": None, "code": None, **exit} for exit in data.pop("exits", [])]
    health = {
        id: {"container": id, "started_at": 900.0, **health} for id, health in data.pop("health", {}).items()
    }
    blank = {"action": "", "message": "it failed", "hint": "", "count": 1, "at": 900.0, "retry_at": None}
    failures = {i: {**blank, **failure} for i, failure in data.pop("failures", {}).items()}
    return from_json({"exits": exits, "health": health, "failures": failures, **data})


def _sandboxes(replicas: list[Replica], data: Mapping[str, Any]) -> dict[str, Sandbox]:
    found = {}
    for replica in replicas:
        key = Key.parse(replica.state.labels[convert.LABEL_KEY])
        if replica.state.sandbox and replica.state.phase != "created":
            networks = frozenset({f"{key.project}_default"})
            found[replica.state.sandbox] = Sandbox(key, networks)
    if data.get("no_sandboxes"):
        return {}
    return found


def _volume_users(actual: Mapping[Key, Actual]) -> dict[str, set[Key]]:
    found: dict[str, set[Key]] = {}
    for key, there in actual.items():
        for name in there.used_volumes():
            found.setdefault(name, set()).add(key)
    return found


def _dependents(desired: Mapping[Key, Desired]) -> dict[Key, frozenset[Key]]:
    found: dict[Key, set[Key]] = {}
    for key, wanted in desired.items():
        for needed in wanted.needed():
            found.setdefault(needed, set()).add(key)
    return {key: frozenset(keys) for key, keys in found.items()}
