"""What planning sees: frozen values of what is desired, what is there and what was before. Pure.

`loop` fills a World with views of its indexes, so that making one costs nothing whatever there is;
`plan` reads only what a key asks for. Nothing here looks at the kernel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.manifest import hashing
from agent.manifest.spec import (
    AnySpec,
    ContainerSpec,
    Dependency,
    ImageSpec,
    NetworkSpec,
    SocketSpec,
    VolumeSpec,
)
from agent.policy.policy import OPEN, Policy
from agent.reconcile import convert
from agent.reconcile.api_objects import API_PROJECT, KEY_DIGITS, named_key
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import NOTHING, Memory
from runtime.images.facts import ImageFacts
from runtime.model import ContainerState, Drift, ImageInfo, NetworkState, VolumeState
from store.records import Key, ObjectRecord

# A network's labels and the like change without making it anew.
NETWORK_LIVE_FIELDS = frozenset({"labels", "ensure", "suspend", "driver", "external", "asked"})
SPEC_TYPES: dict[
    str, type[ContainerSpec] | type[NetworkSpec] | type[VolumeSpec] | type[ImageSpec] | type[SocketSpec]
] = {
    "container": ContainerSpec,
    "network": NetworkSpec,
    "volume": VolumeSpec,
    "image": ImageSpec,
    "socket": SocketSpec,
}


DEFAULT_BRIDGE = Key("engine", "network", "bridge")
"""What `network_mode: bridge` means: one network of the instance, made when somebody uses it."""

HOST = Key("engine", "host", "kernel")
"""Not an object: where drift goes that is nobody's alone (the firewall's table, forwarding)."""


# --- desired ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Desired:
    """One wanted object, or one that is to go. spec None: only its removal can be planned.

    needs_*: keys of the same project that must be there before it starts. joins: the service or
    container whose network namespace it uses, or "".
    """

    key: Key
    spec: AnySpec | None
    spec_hash: str
    generation: int = 1
    owner: str = "git"
    file: str = ""
    line: int = 0
    revision: str = ""
    deleting: bool = False
    is_frozen: bool = False
    denied: str = ""  # why the policy keeps its manifest from being taken
    recreate_hash: str = ""
    needs_networks: tuple[Key, ...] = ()
    needs_volumes: tuple[Key, ...] = ()
    depends_on: tuple[tuple[Key, Dependency], ...] = ()
    joins: str = ""

    def needed(self) -> frozenset[Key]:
        """All keys that must outlive this one."""
        return frozenset((*self.needs_networks, *self.needs_volumes, *(key for key, _ in self.depends_on)))


def desired_of(
    record: ObjectRecord, spec: AnySpec | None, *, recreate_hash: str = "", is_frozen: bool = False
) -> Desired:
    """The record with all that planning derives from its spec, worked out once. recreate_hash: of a
    container's spec, where it is known already."""
    needs: dict[str, Any] = {}
    if isinstance(spec, ContainerSpec):
        needs = _needs_of(record.key, spec)
        needs["recreate_hash"] = recreate_hash or hashing.recreate_hash(spec)
    elif isinstance(spec, NetworkSpec):
        needs["recreate_hash"] = _network_hash(spec)
    return Desired(
        key=record.key, spec=spec, spec_hash=record.spec_hash, generation=record.generation,
        owner=record.owner, file=record.file, line=record.line, revision=record.revision,
        deleting=record.deleting, is_frozen=is_frozen, **needs,
    )  # fmt: skip


def _needs_of(key: Key, spec: ContainerSpec) -> dict[str, Any]:
    project = key.project
    joins = convert.shared_network_of(spec)
    dependencies = dict(spec.depends_on)
    for mode in (spec.network_mode, spec.pid, spec.ipc):
        kind, _, name = mode.partition(":")
        if kind == "service" and name:
            dependencies.setdefault(name, Dependency())
    return {
        "needs_networks": (DEFAULT_BRIDGE,)
        if spec.network_mode == "bridge"
        else tuple(named_key(project, "network", name) for name in convert.networks_of(spec)),
        "needs_volumes": tuple(named_key(project, "volume", name) for name in convert.volumes_of(spec)),
        "depends_on": tuple(
            (Key(project, "container", name), dependencies[name]) for name in sorted(dependencies)
        ),
        "joins": joins,
    }


def _network_hash(spec: NetworkSpec) -> str:
    data = spec.model_dump(mode="json", exclude_defaults=True, exclude=set(NETWORK_LIVE_FIELDS))
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


# --- actual -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replica:
    """A container of ours, and what its labels say it was made for."""

    state: ContainerState
    index: int
    recreate_hash: str
    attempt: int

    @property
    def id(self) -> str:
        return self.state.id

    @property
    def is_live(self) -> bool:
        """It has processes, or nobody can say that it has none."""
        return self.state.phase in ("running", "paused")


def replica_of(state: ContainerState) -> Replica:
    """What labels do not say is 0 or "", which is never what is wanted."""
    labels = state.labels
    return Replica(
        state,
        index=_int(labels.get(convert.LABEL_INDEX, "")),
        recreate_hash=labels.get(convert.LABEL_RECREATE_HASH, ""),
        attempt=_int(labels.get(convert.LABEL_ATTEMPT, "")),
    )


def _int(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass(frozen=True, slots=True)
class Actual:
    """All that is there for one key. networks, volumes: those labelled as this key's.
    drifts: what the kernel has otherwise than it was made. broken: container id -> the drift that
    only a restart would repair. orphan_sandboxes: of this key's, without a container."""

    replicas: tuple[Replica, ...] = ()
    networks: tuple[NetworkState, ...] = ()
    volumes: tuple[VolumeState, ...] = ()
    drifts: tuple[Drift, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    orphan_sandboxes: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        return any(replica.is_live for replica in self.replicas)

    def used_volumes(self) -> set[str]:
        """The real names of the volumes that its containers have."""
        return {name for replica in self.replicas for name in replica.state.volumes}


ABSENT = Actual()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A network namespace of ours: whose it is, the real names of the networks it is on, and where a manifest
    wanted its container, as the label has it; "" where none did, or nobody has looked yet."""

    key: Key
    networks: frozenset[str]
    place: str = ""


@dataclass(frozen=True, slots=True)
class PruneGuard:
    """How much of what runs the newest revisions take away without anybody's yes."""

    going: int = 0
    running: int = 0

    @property
    def is_held(self) -> bool:
        """Over half of what runs, and more than three."""
        return self.going > 3 and self.going * 2 > self.running


# --- all of it ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pull:
    """An image that is being fetched, or whose last fetch failed: then retry_at says when to try again.
    count: failures in a row. tried: projects that it failed for; another may have a login, and tries at
    once. None: that makes no difference."""

    message: str = ""
    count: int = 0
    retry_at: float | None = None
    tried: frozenset[str] | None = None

    def is_due(self, project: str, now: float) -> bool:
        """For who is of that project: a fetch that is under way is."""
        is_first = self.tried is not None and project not in self.tried
        return self.retry_at is None or now >= self.retry_at or is_first

    @property
    def is_running(self) -> bool:
        return self.retry_at is None


@dataclass(frozen=True, slots=True)
class SignatureAsking:
    """A registry was asked for the signatures of what has these digests. pull: how that stands, None once it
    has said all that there are."""

    digests: frozenset[str]
    pull: Pull | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Read only. images: reference -> the image, for all references that due keys name; one that is
    missing is not in the store. facts: reference -> what is known of it, where the policy asks for that.
    pulls: reference -> how its fetch stands. signatures: reference -> what was asked under these rules.
    networks, volumes: by their real names. dependents: key -> those that need it.
    volume_users: a volume's real name -> the keys whose containers have it.
    damage: an image's id -> what is wrong with it, of those that were found damaged.
    sockets: those that listen -> the hash of the spec that they do it by.
    handed: an object -> the former one of the Docker API whose containers it may take over."""

    instance: str = "setpoint"
    desired: Mapping[Key, Desired] = field(default_factory=dict)
    actual: Mapping[Key, Actual] = field(default_factory=dict)
    memory: Mapping[Key, Memory] = field(default_factory=dict)
    verdicts: Mapping[Key, Verdict] = field(default_factory=dict)
    images: Mapping[str, ImageInfo] = field(default_factory=dict)
    facts: Mapping[str, tuple[ImageFacts, ...]] = field(default_factory=dict)
    pulls: Mapping[str, Pull] = field(default_factory=dict)
    signatures: Mapping[str, SignatureAsking] = field(default_factory=dict)
    networks: Mapping[str, NetworkState] = field(default_factory=dict)
    volumes: Mapping[str, VolumeState] = field(default_factory=dict)
    sandboxes: Mapping[str, Sandbox] = field(default_factory=dict)
    dependents: Mapping[Key, frozenset[Key] | set[Key]] = field(default_factory=dict)
    volume_users: Mapping[str, frozenset[Key] | set[Key]] = field(default_factory=dict)
    handed: Mapping[Key, Key] = field(default_factory=dict)
    sockets: Mapping[Key, str] = field(default_factory=dict)
    damage: Mapping[str, str] = field(default_factory=dict)
    prune: PruneGuard = PruneGuard()
    policy: Policy = OPEN

    def actual_of(self, key: Key) -> Actual:
        return self.actual.get(key, ABSENT)

    def memory_of(self, key: Key) -> Memory:
        return self.memory.get(key, NOTHING)

    def wanted(self, key: Key) -> Desired | None:
        """The object, unless it is to go."""
        desired = self.desired.get(key)
        return None if desired is None or desired.deleting else desired

    def network_name(self, key: Key) -> str:
        """The real name of a project's network, whether or not a manifest declares it."""
        desired = self.desired.get(key)
        if desired is not None and isinstance(desired.spec, NetworkSpec):
            return convert.network_name(key, desired.spec)
        return convert.real_name(key)

    def volume_name(self, key: Key) -> str:
        desired = self.desired.get(key)
        if desired is not None and isinstance(desired.spec, VolumeSpec):
            return convert.volume_name(key, desired.spec)
        return convert.real_name(key)

    def sandbox_of(self, key: Key, index: int) -> str:
        """The network namespace of one replica: the one that goes by its key, or, of what was taken over from
        another key or is about to be, the one that comes with it."""
        own = convert.sandbox_id(self.instance, key, index)
        if own in self.sandboxes:
            return own
        for owner in (key, self.handed.get(key, key)):
            for replica in self.actual_of(owner).replicas:
                found = self.sandboxes.get(replica.state.sandbox)
                if replica.index == index and found is not None and found.key == owner:
                    return replica.state.sandbox
        return own

    def container_key(self, project: str, name: str) -> Key | None:
        """The container object that a manifest calls `name`: a service, or a container's own name."""
        key = named_key(project, "container", name)
        if key in self.desired:
            return key
        for other, desired in self.desired.items():
            if isinstance(desired.spec, ContainerSpec) and name == convert.container_name(
                other, desired.spec, 1
            ):
                return other
        if project == API_PROJECT:  # by the digits of its id, which stay when a manifest takes it over
            for other, actual in self.actual.items():
                if len(name) == KEY_DIGITS and any(r.id.startswith(name) for r in actual.replicas):
                    return other
        return None
