"""What is there: an index of the engine's answers, by key. Refreshed by whole looks, by single ids after
events and by our own actions. Reads the engine, changes nothing, decides nothing.

Called by `loop`; its mappings are what `plan` sees as actual.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from agent.reconcile import convert
from agent.reconcile.account import failed_pull
from agent.reconcile.signatures import NEVER_ASKED
from agent.reconcile.world import (
    ABSENT,
    HOST,
    Actual,
    Pull,
    Replica,
    Sandbox,
    SignatureAsking,
    replica_of,
)
from runtime.face import Engine
from runtime.images.facts import ImageFacts
from runtime.model import ContainerState, Drift, ImageInfo, NetworkState, VolumeState
from store.records import Key

V = TypeVar("V")


def key_of(labels: Mapping[str, str]) -> Key | None:
    """The key that labels name, None where they are not ours."""
    try:
        return Key.parse(labels.get(convert.LABEL_KEY, ""))
    except ValueError:
        return None


class Observed:
    """The newest known state of everything that bears our labels."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.actual: dict[Key, Actual] = {}
        self.networks: dict[str, NetworkState] = {}
        self.volumes: dict[str, VolumeState] = {}
        self.volume_users: dict[str, set[Key]] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.images: dict[str, ImageInfo] = {}
        self.facts: dict[str, tuple[ImageFacts, ...]] = {}
        self._wants_facts = False
        self.pulls: dict[str, Pull] = {}
        self.signatures: dict[str, SignatureAsking] = {}
        self.running: set[Key] = set()
        self._asked_images: set[str] = set()
        self._states: dict[str, ContainerState] = {}
        self._key_by_id: dict[str, Key] = {}
        self._drifting: set[Key] = set()

    # --- whole looks --------------------------------------------------------------------------

    def look(self) -> set[Key]:
        """Read everything; the keys for which something is otherwise than was known."""
        changed = self._look_at_containers()
        changed |= self.look_at_networks()
        changed |= self.look_at_volumes()
        return changed | self.look_at_sandboxes()

    def _look_at_containers(self) -> set[Key]:
        states = {state.id: state for state in self._engine.list()}
        changed: set[Key] = set()
        for id in self._states.keys() - states.keys():
            changed |= self._put(id, None)
        for id, state in states.items():
            if self._states.get(id) != state:
                changed |= self._put(id, state)
        return changed

    def look_at(self, id: str) -> Key | None:
        """Read one container again; its key, None when it is not ours."""
        key = self._key_by_id.get(id)
        changed = self._put(id, self._engine.state(id))
        return next(iter(changed), key)

    def _put(self, id: str, state: ContainerState | None) -> set[Key]:
        before = self._key_by_id.get(id)
        key = key_of(state.labels) if state is not None else None
        if before is not None and before != key:
            self._key_by_id.pop(id, None)
            self._states.pop(id, None)
            self._set_replicas(before, (r for r in self._replicas(before) if r.id != id))
        if state is None or key is None:
            return {before} if before else set()
        self._states[id] = state
        self._key_by_id[id] = key
        others = (replica for replica in self._replicas(key) if replica.id != id)
        self._set_replicas(key, (*others, replica_of(state)))
        return {key, before} if before else {key}

    def _replicas(self, key: Key) -> tuple[Replica, ...]:
        return self.actual.get(key, ABSENT).replicas

    def _set_replicas(self, key: Key, replicas: Iterable[Replica]) -> None:
        ordered = tuple(sorted(replicas, key=lambda r: (r.index, r.attempt, r.id)))
        before = self.actual.get(key)
        if before is None:
            self._set(key, Actual(replicas=ordered))
            return
        ids = {replica.id for replica in ordered}
        broken = before.broken
        if broken and broken.keys() - ids:
            broken = {id: text for id, text in broken.items() if id in ids}
        self._set(key, replace(before, replicas=ordered, broken=broken))

    def _set(self, key: Key, actual: Actual) -> None:
        before = self.actual.get(key, ABSENT)
        if before.replicas is not actual.replicas:
            self._index_volumes(key, before.used_volumes(), actual.used_volumes())
        if actual == ABSENT:
            self.actual.pop(key, None)
        else:
            self.actual[key] = actual
        if actual.is_live:
            self.running.add(key)
        else:
            self.running.discard(key)

    def _index_volumes(self, key: Key, before: set[str], now: set[str]) -> None:
        for name in now - before:
            self.volume_users.setdefault(name, set()).add(key)
        for name in before - now:
            users = self.volume_users[name]
            users.discard(key)
            if not users:
                del self.volume_users[name]

    # --- networks, volumes, namespaces ----------------------------------------------------------

    def look_at_networks(self) -> set[Key]:
        states = {state.name: state for state in self._engine.list_networks()}
        if states == self.networks:
            return set()
        touched = _keys_that_differ(self.networks, states)
        _refill(self.networks, states)
        for key in touched:
            ours = tuple(s for s in states.values() if key_of(s.labels) == key)
            self._set(key, replace(self.actual.get(key, ABSENT), networks=ours))
        return touched

    def look_at_volumes(self) -> set[Key]:
        states = {state.name: state for state in self._engine.list_volumes()}
        if states == self.volumes:
            return set()
        touched = _keys_that_differ(self.volumes, states)
        _refill(self.volumes, states)
        for key in touched:
            ours = tuple(s for s in states.values() if key_of(s.labels) == key)
            self._set(key, replace(self.actual.get(key, ABSENT), volumes=ours))
        return touched

    def look_at_volume(self, name: str) -> None:
        """Read one again that we made or removed, however many there are."""
        before, now = self.volumes.get(name), self._engine.volume(name)
        if now == before:
            return
        if now is None:
            del self.volumes[name]
        else:
            self.volumes[name] = now
        for key in {key_of(state.labels) for state in (before, now) if state is not None}:
            if key is None:
                continue
            actual = self.actual.get(key, ABSENT)
            ours = tuple(state for state in actual.volumes if state.name != name)
            if now is not None and key_of(now.labels) == key:
                ours = (*ours, now)
            self._set(key, replace(actual, volumes=ours))

    def look_at_sandboxes(self) -> set[Key]:
        found: dict[str, Sandbox] = {}
        for state in self._engine.list_sandboxes():
            key = key_of(state.labels)
            if key is not None:
                place = state.labels.get(convert.LABEL_FILE, "")
                found[state.id] = Sandbox(key, frozenset(state.addresses), place)
        _refill(self.sandboxes, found)
        used = {state.sandbox for state in self._states.values()}
        orphans: dict[Key, tuple[str, ...]] = {}
        for id in sorted(found.keys() - used):
            orphans[found[id].key] = (*orphans.get(found[id].key, ()), id)
        changed = {
            key
            for key in orphans.keys() | {k for k, a in self.actual.items() if a.orphan_sandboxes}
            if self.actual.get(key, ABSENT).orphan_sandboxes != orphans.get(key, ())
        }
        for key in changed:
            actual = replace(self.actual.get(key, ABSENT), orphan_sandboxes=orphans.get(key, ()))
            self._set(key, actual)
        return changed

    def add_sandbox(self, id: str, key: Key, networks: Iterable[str]) -> None:
        self.sandboxes[id] = Sandbox(key, frozenset(networks))

    def change_networks(self, container: str, network: str, *, is_on: bool) -> None:
        """The network namespace of a container, if it has one by now, came to a network or left it."""
        state = self._states.get(container)
        sandbox = self.sandboxes.get(state.sandbox) if state is not None else None
        if state is not None and sandbox is not None:
            networks = sandbox.networks | {network} if is_on else sandbox.networks - {network}
            self.sandboxes[state.sandbox] = replace(sandbox, networks=networks)

    def drop_sandbox(self, id: str) -> None:
        sandbox = self.sandboxes.pop(id, None)
        if sandbox is None:
            return
        actual = self.actual.get(sandbox.key, ABSENT)
        if id in actual.orphan_sandboxes:
            left = tuple(other for other in actual.orphan_sandboxes if other != id)
            self._set(sandbox.key, replace(actual, orphan_sandboxes=left))

    # --- images -------------------------------------------------------------------------------

    def ask_image(self, reference: str) -> None:
        """Have `images` know about a reference; asks the engine once, until `forget_images`."""
        if reference in self._asked_images:
            return
        self._asked_images.add(reference)
        image = self._engine.image(reference)
        if image is None:
            self.images.pop(reference, None)
            self.facts.pop(reference, None)
            return
        self.images[reference] = image
        if self._wants_facts:
            self.facts[reference] = self._engine.image_facts(reference)

    def keep_facts(self, wants: bool) -> None:
        """Whether somebody asks what is known of images; and fetches that failed are due, and what registries
        said of signatures is asked anew: the rules changed."""
        self._wants_facts = wants
        self.facts.clear()
        self.signatures.clear()
        self._asked_images.clear()
        for reference, pull in self.pulls.items():
            self.pulls[reference] = pull if pull.is_running else replace(pull, retry_at=0.0)

    def ask_images_again(self, reference: str = "") -> set[str]:
        """Ask anew for one reference, or all ever asked; those that name something else now."""
        asked = self._asked_images & {reference} if reference else set(self._asked_images)
        changed = set()
        for name in asked:
            before = (self.images.get(name), self.facts.get(name))
            self._asked_images.discard(name)
            self.ask_image(name)
            if (self.images.get(name), self.facts.get(name)) != before:
                changed.add(name)
        return changed

    def look_at_pull(self, reference: str, now: float) -> Pull | None:
        """How the fetch of an image stands; None when it went well, or nobody began it."""
        state = self._engine.pull_state(reference)
        before = self.pulls.pop(reference, None)
        if state is None:
            return None
        if state.error is None:
            pull = Pull(count=before.count, tried=before.tried) if before else Pull()
        else:
            pull = failed_pull(state.error, before, state.project, now)
        self.pulls[reference] = pull
        return pull

    def look_at_signatures(
        self, reference: str, now: float, digests: frozenset[str] | None = None
    ) -> SignatureAsking:
        """How it stands with what was asked of an image's registry. digests: what is asked about now; None:
        still the same."""
        state = self._engine.signatures_state(reference)
        before = self.signatures.get(reference, NEVER_ASKED)
        pull = before.pull
        if state is None:
            pull = None
        elif state.error is None:
            pull = replace(pull, retry_at=None) if pull is not None else Pull()
        else:
            pull = failed_pull(state.error, pull, state.project, now)
        found = SignatureAsking(before.digests if digests is None else digests, pull)
        self.signatures[reference] = found
        return found

    # --- drift --------------------------------------------------------------------------------

    def set_drifts(
        self,
        drifts: Iterable[Drift],
        is_busy: Callable[[Key], bool],
        looked_at: Collection[str] | None = None,
    ) -> tuple[set[Key], set[str]]:
        """Take the findings of a look for drift at some subjects (None: all). The keys to wake, and the
        subjects of keys being worked on: what was found of those is out of date."""
        found: dict[Key, tuple[Drift, ...]] = {}
        outdated: set[str] = set()
        for drift in drifts:
            key = self._key_of_subject(drift.subject)
            if key is not None and is_busy(key):
                outdated.add(drift.subject)
            elif key is not None:
                found[key] = (*found.get(key, ()), drift)
        for key in self._drifting | found.keys():
            before = self.actual.get(key, ABSENT)
            kept = () if looked_at is None else (d for d in before.drifts if d.subject not in looked_at)
            self._set(key, replace(before, drifts=(*kept, *found.get(key, ()))))
            if not self.actual.get(key, ABSENT).drifts:
                self._drifting.discard(key)
        self._drifting |= found.keys()
        return set(found), outdated

    def subjects(self) -> list[str]:
        """All that a look for drift can be asked about."""
        return sorted({*self._states, *self.sandboxes, *self.networks, ""})

    def _key_of_subject(self, subject: str) -> Key | None:
        if not subject:
            return HOST
        if subject in self._key_by_id:
            return self._key_by_id[subject]
        network = self.networks.get(subject)
        if network is not None:
            return key_of(network.labels)
        sandbox = self.sandboxes.get(subject)
        return sandbox.key if sandbox else None

    def drop_drift(self, key: Key, drift: Drift) -> None:
        """It is repaired, or a look will find it again."""
        actual = self.actual.get(key, ABSENT)
        left = tuple(other for other in actual.drifts if other != drift)
        self._set(key, replace(actual, drifts=left))

    def mark_broken(self, key: Key, index: int, why: str) -> None:
        """Only a restart would put the running containers of one replica right."""
        actual = self.actual.get(key, ABSENT)
        more = {replica.id: why for replica in actual.replicas if replica.index == index and replica.is_live}
        self._set(key, replace(actual, broken={**actual.broken, **more}))

    def mend(self, key: Key, id: str) -> None:
        """The container was restarted: what a restart repairs is repaired."""
        actual = self.actual.get(key, ABSENT)
        if id in actual.broken:
            broken = {other: text for other, text in actual.broken.items() if other != id}
            self._set(key, replace(actual, broken=broken))


def _keys_that_differ(
    old: Mapping[str, NetworkState | VolumeState], new: Mapping[str, NetworkState | VolumeState]
) -> set[Key]:
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    states = [state for name in names for state in (old.get(name), new.get(name)) if state is not None]
    return {key for state in states if (key := key_of(state.labels)) is not None}


def _refill(target: dict[str, V], source: Mapping[str, V]) -> None:
    """In place: worlds that were handed out see it."""
    target.clear()
    target.update(source)
