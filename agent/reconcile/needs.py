"""What a container must wait for before it is created, and before it is started. Pure.

Waiting is a reason and the keys whose change ends it, never an edge in a graph: the loop looks at
the waiting key again when one of them changes. Called by `plan_containers`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.manifest.spec import ContainerSpec, Dependency, NetworkSpec, VolumeSpec
from agent.policy.images import has_rules, is_id, judge_any, judge_name
from agent.reconcile import convert
from agent.reconcile.api_objects import is_api
from agent.reconcile.observe import key_of
from agent.reconcile.refresh import find_asking
from agent.reconcile.signatures import Asked, digests_of, find_asked
from agent.reconcile.world import Desired, World
from runtime.images.facts import ImageFacts
from runtime.model import ImageInfo, NetworkState, VolumeState
from store.records import Key

PULLING, BUILDING = "Pulling", "Building"


@dataclass(frozen=True, slots=True)
class Wait:
    """reason: PascalCase. message: one sentence with what to do. keys: whose change ends it; until: when
    it is time to look again. is_final: nothing but a person ends it."""

    reason: str
    message: str
    keys: frozenset[Key] = frozenset()
    until: float | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """create: why it cannot be made yet; start: why it cannot run yet; None when it can.
    outdated_network: the real name of a network that must be made anew first, or "". refused: why the policy
    lets nothing run of its image, which what runs already outlives. is_denied: its name says so, and so
    nobody is asked for it. asks_signatures_of: the digests of its image, when its registry is to be asked."""

    create: Wait | None
    start: Wait | None
    outdated_network: str = ""
    refused: Wait | None = None
    is_denied: bool = False
    asks_signatures_of: frozenset[str] = frozenset()


def find_needs(desired: Desired, spec: ContainerSpec, world: World, now: float) -> Needs:
    refusal = _refused(desired, spec, world, now)
    refused = refusal.wait
    create = (
        refused
        or _image(desired, spec, world, now)
        or _volumes(desired, world)
        or _another_s_network(desired, world)
        or _namespaces(desired, spec, world)
        or _nobody_to_join(desired, world)
    )
    outdated = _outdated_network(desired, world)
    start = (
        refused
        or _another_s_network(desired, world)
        or _networks(desired, outdated, world)
        or _sandbox_owner(desired, world)
        or _dependencies(desired, world)
    )
    return Needs(
        create, start, world.network_name(outdated) if outdated else "", refused, refusal.is_by_name,
        refusal.asks_signatures_of,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Refused:
    wait: Wait | None = None
    is_by_name: bool = False
    asks_signatures_of: frozenset[str] = frozenset()


def _refused(desired: Desired, spec: ContainerSpec, world: World, now: float) -> _Refused:
    """The gate of images: by its name, and one that is here by all that is known of it."""
    policy = world.policy
    if not has_rules(policy):
        return _Refused()
    allow, is_built = policy.allowed(desired.key.project, desired.file), spec.build is not None
    # What is built has its name from here, and no digest.
    denied = None if is_id(spec.image) else judge_name(policy, spec.image, allow, is_exact=is_built)
    refusal, known = denied, list[ImageFacts]()
    if denied is None and (image := world.images.get(spec.image)) is not None:
        known = [facts for facts in world.facts.get(spec.image, ()) if facts.image_id == image.id]
        known = [replace(facts, is_exact=True) for facts in known] if is_built else known
        refusal = judge_any(policy, known, now, allow)
    if refusal is None:
        return _Refused()
    hint = f" (hint: {refusal.hint})" if refusal.hint else ""
    message = refusal.message(policy, spec.image) + hint
    if refusal.is_unsigned:
        return _unsigned(find_asked(desired.key.project, spec, known, world, now), message, known)
    wait = Wait("ImageRefused", message, until=refusal.until, is_final=refusal.until is None)
    return _Refused(wait, denied is not None)


def _unsigned(asked: Asked, message: str, known: list[ImageFacts]) -> _Refused:
    """Final only when its registry has said all that there are."""
    due = digests_of(known) if asked.is_due else frozenset[str]()
    if asked.is_under_way:
        wait = Wait("SignaturesAsked", f"{message}; its registry is asked for them")
        return _Refused(wait, asks_signatures_of=due)
    if asked.failed:
        told = f"{message}; its registry could not be asked: {asked.failed}"
        return _Refused(Wait("ImageRefused", told, until=asked.retry_at), asks_signatures_of=due)
    return _Refused(Wait("ImageRefused", message, is_final=True))


def image_of(spec: ContainerSpec, world: World) -> ImageInfo | None:
    """What its reference means here; None when it is not here, or made for another platform."""
    image = world.images.get(spec.image)
    if image is None or not spec.platform:
        return image
    return image if spec.platform.split("/")[1] == image.architecture else None


def build_of(spec: ContainerSpec, world: World, now: float) -> Wait | None:
    """Its image is to be built, and is not there yet; None when it is, or is none that is built."""
    if spec.build is None or image_of(spec, world) is not None:
        return None
    pull = world.pulls.get(spec.image)
    if pull is None or pull.retry_at is None or now >= pull.retry_at:
        return Wait(BUILDING, f"its image is being built of {spec.build.context or '.'}")
    return Wait("BuildFailed", pull.message, until=pull.retry_at)


def _image(desired: Desired, spec: ContainerSpec, world: World, now: float) -> Wait | None:
    if spec.build is not None:
        return build_of(spec, world, now)
    if image_of(spec, world) is not None:
        is_first = find_asking(desired, spec, world, now).is_first
        return Wait(PULLING, f"its registry is asked for a newer {spec.image}") if is_first else None
    if other := _other_platform(desired, spec, world):
        hint = "name one of them by its digest"
        return Wait("PlatformConflict", f"{other} wants {spec.image} for another platform: {hint}")
    if spec.pull_policy == "never":
        hint = f"`setpoint image pull {spec.image}`, or load FILE"
        return Wait("ImageMissing", f"image {spec.image} is not in the store: {hint}")
    pull = world.pulls.get(spec.image)
    if pull is None or pull.is_due(desired.key.project, now):
        return Wait(PULLING, f"image {spec.image} is being pulled")
    return Wait("PullFailed", pull.message, until=pull.retry_at)


def _other_platform(desired: Desired, spec: ContainerSpec, world: World) -> Key | None:
    """A name means one image: two that want it for two platforms would take it from each other for ever."""
    if spec.image not in world.images:
        return None
    for key, other in world.desired.items():
        rival = other.spec
        if not isinstance(rival, ContainerSpec) or rival.image != spec.image or other.deleting:
            continue
        if rival.platform != spec.platform:
            return key
    return None


def _volumes(desired: Desired, world: World) -> Wait | None:
    for key in desired.needs_volumes:
        state, wanted = world.volumes.get(world.volume_name(key)), world.wanted(key)
        if state is None:
            return Wait("VolumeMissing", f"waits for volume {key.name}", frozenset({key}))
        if _is_made_here(wanted) and is_another_s(state, key, world):
            return _not_ours(key, state.name)
    return None


def _is_made_here(wanted: Desired | None) -> bool:
    """The manifest has it made, and does not say that it is somebody else's."""
    spec = wanted.spec if wanted is not None else None
    return isinstance(spec, NetworkSpec | VolumeSpec) and not spec.external


def _not_ours(key: Key, name: str) -> Wait:
    """Who made it may read what is written there, or stand between those who talk: a client of the Docker
    Engine API that knew what the manifest would be called, say."""
    message = f"waits for {key.kind} {key.name}: there is a {name}, and it is not ours"
    return Wait("NotOurs", message, frozenset({key}))


def is_another_s(state: VolumeState, key: Key, world: World) -> bool:
    """Whether it was made for another object. The data of one that nobody wants any more are there for
    whoever names them by the Docker Engine API."""
    label = state.labels.get(convert.LABEL_KEY, str(key))
    if label == str(key):
        return False
    return not is_api(key) or key_of(state.labels) in world.desired


def is_ours(state: NetworkState, key: Key) -> bool:
    return state.labels.get(convert.LABEL_KEY) == str(key)


def _namespaces(desired: Desired, spec: ContainerSpec, world: World) -> Wait | None:
    for mode in (spec.pid, spec.ipc):
        kind, _, name = mode.partition(":")
        if kind in ("service", "container") and not joined_id(desired.key, name, world):
            key = world.container_key(desired.key.project, name)
            keys = frozenset({key}) if key else frozenset()
            return Wait("DependencyNotStarted", f"shares namespaces with {name}, which does not run", keys)
    return None


def joined_id(key: Key, name: str, world: World) -> str:
    """The id of the container whose namespaces that of `key` shares, or "". By Docker's API it need not run
    when this one is made, only when it starts: compose makes all of a file before it starts one."""
    found = running_id(key.project, name, world)
    other = world.container_key(key.project, name) if is_api(key) and not found else None
    there = world.actual_of(other).replicas if other is not None else ()
    return there[0].id if there else found


def running_id(project: str, name: str, world: World) -> str:
    """The id of the running container that a manifest calls `name`, or ""."""
    key = world.container_key(project, name)
    if key is None:
        return ""
    live = [replica.id for replica in world.actual_of(key).replicas if replica.is_live]
    return live[0] if live else ""


# --- networks -----------------------------------------------------------------------------------


def _networks(desired: Desired, outdated: Key | None, world: World) -> Wait | None:
    for key in desired.needs_networks:
        if world.network_name(key) not in world.networks:
            return Wait("NetworkMissing", f"waits for network {key.name}", frozenset({key}))
        if _is_on_its_way(key, world):
            return Wait("NetworkChanging", f"waits for network {key.name}", frozenset({key}))
    if outdated:
        name = world.network_name(outdated)
        return Wait("NetworkChanging", f"network {name} is being made anew", frozenset({outdated}))
    return None


def _another_s_network(desired: Desired, world: World) -> Wait | None:
    for key in desired.needs_networks:
        state = world.networks.get(world.network_name(key))
        if state is not None and _is_made_here(world.wanted(key)) and not is_ours(state, key):
            return _not_ours(key, state.name)
    return None


def _is_on_its_way(key: Key, world: World) -> bool:
    """It was being removed, and is wanted again: what is seen of it may be gone at any moment."""
    wanted, verdict = world.wanted(key), world.verdicts.get(key)
    return (
        wanted is not None
        and verdict is not None
        and verdict.phase == "Removing"
        and verdict.generation != wanted.generation
    )


def _outdated_network(desired: Desired, world: World) -> Key | None:
    """The first network it is on, by itself or with whom it shares one, that must be made anew."""
    if desired.joins:
        owner = world.container_key(desired.key.project, desired.joins)
        other = world.desired.get(owner) if owner else None
        return _outdated_network(other, world) if other is not None and not other.joins else None
    for key in desired.needs_networks:
        network = world.wanted(key)
        state = world.networks.get(world.network_name(key))
        if network is not None and state is not None and is_outdated(network, state):
            return key
    return None


def is_outdated(desired: Desired, state: NetworkState) -> bool:
    """The network is ours and was made for another spec. One without our hash is left as it is."""
    if not isinstance(desired.spec, NetworkSpec) or desired.spec.external:
        return False
    made_for = state.labels.get(convert.LABEL_RECREATE_HASH, "")
    is_ours = state.labels.get(convert.LABEL_KEY) == str(desired.key)
    return is_ours and made_for not in ("", desired.recreate_hash)


def _nobody_to_join(desired: Desired, world: World) -> Wait | None:
    if not desired.joins or world.container_key(desired.key.project, desired.joins):
        return None
    return Wait("SandboxMissing", f"shares the network of {desired.joins}, which no manifest names")


def _sandbox_owner(desired: Desired, world: World) -> Wait | None:
    if not desired.joins or running_id(desired.key.project, desired.joins, world):
        return None
    owner = world.container_key(desired.key.project, desired.joins)
    keys = frozenset({owner}) if owner else frozenset()
    return Wait(
        "DependencyNotStarted", f"shares the network of {owner or desired.joins}, which does not run", keys
    )


# --- depends_on ---------------------------------------------------------------------------------


def _dependencies(desired: Desired, world: World) -> Wait | None:
    for key, dependency in desired.depends_on:
        if wait := _dependency(desired.key, key, dependency, world):
            return wait
    return None


def _dependency(key: Key, other: Key, dependency: Dependency, world: World) -> Wait | None:
    wanted = world.wanted(other)
    keys = frozenset({other})
    if wanted is None:
        if not dependency.required:
            return None
        return Wait("DependencyMissing", f"depends on {other}, which no manifest names", keys)
    verdict = world.verdicts.get(other)
    if verdict is None or verdict.generation != wanted.generation:
        return _cycle(key, world) or Wait("DependencyNotReady", f"waits for {other}", keys)
    if _is_met(dependency, verdict.is_started, verdict.is_healthy, verdict.is_completed):
        return None
    if verdict.phase in ("Failed", "Stalled"):
        if not dependency.required:
            return None
        return Wait("DependencyFailed", f"depends on {other}, which is {verdict.phase}", keys)
    wish = {"service_started": "run", "service_healthy": "be healthy"}.get(dependency.condition, "complete")
    return _cycle(key, world) or Wait("DependencyNotReady", f"waits for {other} to {wish}", keys)


def _is_met(dependency: Dependency, is_started: bool, is_healthy: bool | None, is_completed: bool) -> bool:
    if dependency.condition == "service_completed_successfully":
        return is_completed
    if dependency.condition == "service_healthy" and is_healthy is not None:
        return is_healthy
    return is_started


def _cycle(key: Key, world: World) -> Wait | None:
    """A container that waits for itself would wait for ever, and nobody would say why."""
    path = find_cycle(key, world)
    if not path:
        return None
    return Wait("DependencyCycle", "depends on itself: " + " -> ".join(str(step) for step in path))


def find_cycle(key: Key, world: World) -> tuple[Key, ...]:
    """The shortest way from key over depends_on back to it, () when there is none. What is on its way
    out counts too: it leaves in the reverse order."""
    came_from: dict[Key, Key] = {}
    todo = [key]
    for current in todo:  # grows while it is walked: breadth first
        desired = world.desired.get(current)
        for other, _ in desired.depends_on if desired else ():
            if other == key:
                return _walk_back(came_from, current, key)
            if other not in came_from:
                came_from[other] = current
                todo.append(other)
    return ()


def _walk_back(came_from: dict[Key, Key], current: Key, key: Key) -> tuple[Key, ...]:
    path = [key, current]
    while path[-1] != key:
        path.append(came_from[path[-1]])
    return tuple(reversed(path))
