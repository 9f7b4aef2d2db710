"""All that the agent knows: what is wanted, what is there, what was, how each key stands, who waits.

The loop's parts share one Knowledge, change it by its verbs and read it as `world`. It keeps indexes
in step and tells the journal and the feed; it calls no engine but to look, and decides nothing.
For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.manifest import hashing
from agent.manifest.objects import Object, Where
from agent.policy.images import has_rules
from agent.policy.policy import Policy
from agent.reconcile import account
from agent.reconcile.actions import Cause, KeyPlan
from agent.reconcile.api_objects import API_OWNER, is_api
from agent.reconcile.clock import Clock
from agent.reconcile.conditions import PHASES, Verdict
from agent.reconcile.convert import LABEL_FILE
from agent.reconcile.feed import Feed
from agent.reconcile.happenings import Subject, image_name, subject_of
from agent.reconcile.inventory import Inventory, place_of
from agent.reconcile.journal import Journal, Remembers
from agent.reconcile.memory import NOTHING, Memory, by_this_clock, from_json
from agent.reconcile.observe import Observed
from agent.reconcile.observer import Observer
from agent.reconcile.policy import Exit
from agent.reconcile.queue import KeyedQueue
from agent.reconcile.relabelled import relabelled
from agent.reconcile.removal import is_unasked
from agent.reconcile.revisions import Revisions
from agent.reconcile.sockets import Sockets
from agent.reconcile.statuses import containers_of, status_of
from agent.reconcile.wakeup import Wakeup
from agent.reconcile.world import DEFAULT_BRIDGE, HOST, Actual, PruneGuard, World
from runtime.face import Engine
from runtime.model import ContainerState
from store.records import Condition, EventRecord, Happening, Key, StatusRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times in seconds. full_pass: how often the kernel is read whole and drift looked for.
    write_delay: how long changes may wait to be written together. drift_look: after hints,
    at most one look for drift in this time. at_once: keys worked on side by side. stop: how long
    actions under way may take when the agent ends."""

    full_pass_seconds: float = 30.0
    write_delay_seconds: float = 0.1
    drift_look_seconds: float = 0.1
    at_once: int = 256
    probes_at_once: int = 16
    stop_seconds: float = 5.0
    store_in_thread: bool = True


class Knowledge:
    """wakeup is set whenever something may be due."""

    def __init__(
        self,
        engine: Engine,
        store: Remembers,
        instance: str,
        clock: Clock,
        settings: LoopSettings,
        observer: Observer,
        sockets: Sockets,
    ) -> None:
        self.sockets = sockets
        self.clock = clock
        self.settings = settings
        self.observer = observer
        self.statuses: dict[Key, StatusRecord] = {}
        # Container -> when the run began whose end was told, so that no end is told twice.
        self.told_exits: dict[str, tuple[float | None]] = {}
        self.inventory = Inventory(lambda key: self.journal.object_changed(key))
        self.observed = Observed(engine)
        self.verdicts: dict[Key, Verdict] = {}
        self.revisions = Revisions()
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.unsettled: set[Key] = set()
        self.feed = Feed()
        self.wakeup = Wakeup()
        self.journal = Journal(
            store,
            self.inventory.records,
            self.statuses,
            delay_seconds=settings.write_delay_seconds,
            in_thread=settings.store_in_thread,
            on_error=self._not_stored,
        )
        self._store = store
        self.news: dict[Key, tuple[Condition, ...]] = {}
        self._memory: dict[Key, Memory] = {}
        self._handed: dict[Key, Key] = {}
        self._waiters: dict[Key, set[Key]] = {}
        self._waits: dict[Key, frozenset[Key]] = {}
        self.on_disk_trouble: Callable[[bool], None] = lambda _needs_ballast: None
        self.on_settled: Callable[[Key], None] = lambda _key: None
        self.on_verdict: Callable[[Key], None] = lambda _key: None
        self.on_exit: Callable[[Key, Exit], None] = lambda _key, _exit: None
        self.world = World(
            instance=instance,
            desired=self.inventory.desired,
            actual=self.observed.actual,
            memory=self._memory,
            verdicts=self.verdicts,
            images=self.observed.images,
            facts=self.observed.facts,
            pulls=self.observed.pulls,
            signatures=self.observed.signatures,
            networks=self.observed.networks,
            volumes=self.observed.volumes,
            sandboxes=self.observed.sandboxes,
            dependents=self.inventory.dependents,
            volume_users=self.observed.volume_users,
            handed=self._handed,
            sockets=sockets.listening,
            damage=self.journal.notes.damage,
        )

    async def load(self) -> None:
        """What the store remembers, and all that is there now."""
        if self.settings.store_in_thread:
            objects, statuses = await asyncio.to_thread(self._store.load)
        else:
            objects, statuses = self._store.load()
        self.inventory.load(objects)
        self.statuses.update({key: status for key, status in statuses.items() if key in objects})
        for key, status in self.statuses.items():
            if (memory := from_json(status.memory)) != NOTHING:
                self.remember(key, by_this_clock(memory, self.clock.now()))
        self.observed.look()
        self._show_what_is_there()
        self._adopt_api_objects()
        self.unsettled.update(filter(self._counts, self.inventory.desired))

    def _show_what_is_there(self) -> None:
        """What was stored of containers before a kill may be so no longer, and shows until the first plan."""
        for key, status in self.statuses.items():
            seen = containers_of(self.actual_of(key), self.memory_of(key))
            if seen != status.containers:
                self.statuses[key] = replace(status, containers=seen)
                self.journal.status_changed(key)

    def keep_policy(self, policy: Policy) -> None:
        """What binds made from now on are held to, and what images may run."""
        before = self.world.policy
        if policy is before:
            return
        self.world = replace(self.world, policy=policy)
        if _image_rules(before) != _image_rules(policy):
            self.observed.keep_facts(has_rules(policy))
            for key in sorted(self.inventory.desired):
                if key.kind == "container":
                    self.wake(key)

    # --- one key ------------------------------------------------------------------------------

    def actual_of(self, key: Key) -> Actual:
        return self.world.actual_of(key)

    def memory_of(self, key: Key) -> Memory:
        return self._memory.get(key, NOTHING)

    def remembered(self) -> list[tuple[Key, Memory]]:
        return list(self._memory.items())

    def remember(self, key: Key, memory: Memory) -> None:
        """Stored with the key's next status: who changes a memory wakes the key, or publishes."""
        if memory is not self._memory.get(key, NOTHING):
            self._memory[key] = memory
            if memory.handed_over is not None:
                self._handed[Key.parse(memory.handed_over.key)] = key

    def wake(self, key: Key) -> None:
        self.queue.add(key)
        self.wakeup.set()

    def wake_users_of_image(self, id: str) -> None:
        """Those that run it, and those whose reference means it."""
        for key, desired in self.inventory.desired.items():
            wanted = self.observed.images.get(getattr(desired.spec, "image", ""))
            runs = any(replica.state.image == id for replica in self.actual_of(key).replicas)
            if runs or (wanted is not None and wanted.id == id):
                self.wake(key)

    def wake_dependents(self, key: Key) -> None:
        for other in sorted(self.inventory.dependents.get(key, ())):
            self.queue.add(other)
        self.wakeup.set()

    def wake_waiters(self, key: Key) -> None:
        for other in sorted(self._waiters.get(key, ())):
            self.queue.add(other)
        self.wakeup.set()

    def spec_changed(self, key: Key) -> None:
        """Another generation: what went wrong before is forgiven, and all whom it concerns look."""
        if self._counts(key):
            self.unsettled.add(key)
        if key in self._memory:
            self.remember(key, account.forgive(self._memory[key]))
        self.wake(key)
        self.wake_dependents(key)

    def keep_verdict(self, found: KeyPlan, now: float) -> None:
        """How a key stands, when it is to be looked at again, and who is to hear of it."""
        key, verdict = found.key, found.verdict
        before = self.verdicts.get(key)
        self.verdicts[key] = verdict
        if verdict.wake_at is not None:
            self.queue.add(key, verdict.wake_at)
        self._wait_for(key, verdict.waiting_for)
        was_settled = key not in self.unsettled
        if verdict.is_settled:
            self.unsettled.discard(key)
            if self.inventory.converged(key) or not was_settled:
                self.feed.changed()
                self.on_settled(key)
        elif self._counts(key):
            self.unsettled.add(key)
        self.publish(key)
        if before != verdict:
            self.wake_waiters(key)
            self.on_verdict(key)

    def _counts(self, key: Key) -> bool:
        """Whether the instance is not ready while this is not. What somebody made by the Docker API comes and
        goes, and fails as it likes; no revision is judged by it. What was forgotten while its last change was
        being stored would be waited for without an end."""
        record = self.inventory.records.get(key)
        return key == HOST if record is None else record.owner != API_OWNER

    def publish(self, key: Key) -> None:
        """Show and store the key's status, if it has one and it changed."""
        verdict = self.verdicts.get(key)
        if verdict is None or key not in self.inventory.desired:
            return
        before = self.statuses.get(key)
        status = status_of(
            key,
            self.inventory.desired.get(key),
            verdict,
            self.actual_of(key),
            self.memory_of(key),
            before,
            self.clock.now(),
            self.news.get(key),
        )
        if status == before:
            return
        self.statuses[key] = status
        self.journal.status_changed(key)
        self.feed.changed()

    def _wait_for(self, key: Key, others: frozenset[Key]) -> None:
        before = self._waits.get(key, frozenset())
        if before == others:
            return
        for other in before - others:
            self._waiters[other].discard(key)
            if not self._waiters[other]:
                del self._waiters[other]
        for other in others - before:
            self._waiters.setdefault(other, set()).add(key)
        if others:
            self._waits[key] = others
        else:
            self._waits.pop(key, None)

    def forget(self, key: Key) -> None:
        """Its removal is confirmed: no trace is left but its events."""
        self.inventory.forget(key)
        memory = self._memory.pop(key, None)
        if memory is not None and memory.handed_over is not None:
            self._handed.pop(Key.parse(memory.handed_over.key), None)
        self.verdicts.pop(key, None)
        self.statuses.pop(key, None)
        self.news.pop(key, None)
        self.unsettled.discard(key)
        self._wait_for(key, frozenset())
        self.journal.removed(key)
        self.feed.changed()

    def event(
        self,
        key: Key,
        type: str,
        reason: str,
        message: str,
        cause: Cause | None = None,
        happenings: tuple[Happening, ...] = (),
        *,
        is_told_first: bool = False,
    ) -> None:
        """is_told_first: see `Journal.event`."""
        record = self.inventory.records.get(key)
        revision = cause.revision if cause else record.revision if record else ""
        event = EventRecord(
            at=self.clock.now(),
            key=key,
            type=type,
            reason=reason,
            message=message,
            revision=revision,
            cause=cause.chain() if cause else (),
            happenings=happenings,
        )
        self.feed.event(self.journal.event(event, is_told_first=is_told_first))

    def subject(self, key: Key, id: str, state: ContainerState | None = None) -> Subject | None:
        """A container of a key as it is known, for what happens to it. state: where it is not known yet."""
        known = next((each.state for each in self.actual_of(key).replicas if each.id == id), state)
        return subject_of(key, known, self.image_name(key, known.image)) if known is not None else None

    def image_name(self, key: Key, fallback: str = "") -> str:
        return image_name(self.inventory.desired.get(key), fallback)

    def _not_stored(self, error: Exception) -> None:
        log.error("not stored, it is tried again: %s", error)
        self.observer.on_store_failure()
        self.on_disk_trouble(True)

    def bug(self, key: Key | None, error: BaseException, message: str) -> None:
        """Something raised what it must not: ours to mend. Told, and nobody else is held up by it."""
        log.error("%s", message, exc_info=error)
        self.observer.on_bug(key, error)

    # --- all keys -----------------------------------------------------------------------------

    def _adopt_api_objects(self) -> None:
        """After a lost database: what the Docker Engine API made is wanted as it is there."""
        now = self.clock.now()
        for key in sorted(self.observed.actual.keys() - self.inventory.desired.keys()):
            spec = relabelled(key, self.observed.actual[key]) if is_api(key) else None
            if spec is not None:
                wanted = Object(key, spec, Where("", 0), *hashing.hashes(spec))
                self.inventory.want(wanted, API_OWNER, "", now)
                self.event(key, "Normal", "Adopted", "found, and not in the database: it is kept as it is")

    def adopt_orphans(self) -> None:
        """After a lost database: what bears our label and a manifest's, and no manifest names now. A network
        namespace whose container is gone, too: of what the API made nothing else is left to want."""
        now, sandboxes = self.clock.now(), self.observed.sandboxes
        for key in sorted(self.observed.actual.keys() - self.inventory.desired.keys()):
            actual = self.observed.actual[key]
            labelled = [*(r.state.labels for r in actual.replicas), *(n.labels for n in actual.networks)]
            places = [labels.get(LABEL_FILE, "") for labels in labelled]
            places += [sandboxes[id].place for id in actual.orphan_sandboxes]
            place = next(filter(None, places), "")
            is_left_over = is_api(key) and bool(actual.orphan_sandboxes) and not actual.replicas
            if not place and not is_left_over and (key != DEFAULT_BRIDGE or not labelled):
                continue  # made by the API, or by hand: nobody's to prune
            file, line = place_of(place)
            if not self.inventory.is_frozen(file):
                owner = API_OWNER if is_left_over else "git"
                self.inventory.adopt(key, file, line, self.revisions.current, now, owner)
                self.event(key, "Normal", "Adopted", "found, and named by no manifest: it is to go")
                self.spec_changed(key)

    def guard_prunes(self) -> None:
        """Count what goes without a yes; when the guard is lifted, all that is held is looked at."""
        deleting, desired = self.inventory.deleting, self.inventory.desired
        going = sum(is_unasked(desired[key], self.world) for key in deleting)
        guard = PruneGuard(going, len(self.observed.running)) if going else PruneGuard()
        if guard == self.world.prune:
            return
        was_held = self.world.prune.is_held
        self.world = replace(self.world, prune=guard)
        if was_held and not guard.is_held:
            for key in sorted(deleting):
                self.wake(key)

    def acknowledge(self, keys: set[Key]) -> int:
        """Yes to these removals; how many waited for it or would have."""
        freed = 0
        for key in sorted(keys):
            wanted, memory = self.inventory.desired[key], self.memory_of(key)
            if memory.prune_acknowledged != wanted.revision:
                self.remember(key, replace(memory, prune_acknowledged=wanted.revision))
                self.publish(key)
                self.event(key, "Normal", "PruneAcknowledged", "an operator said yes to its removal")
                self.wake(key)
                freed += 1
        return freed

    def judge_revision(self) -> None:
        """Has the newest revision converged, or come to a stop short of it?"""
        if not self.revisions.is_applying:
            return
        if not self.unsettled:
            seconds = self.revisions.converged(self.clock.now())
            self.observer.on_converged(self.revisions.current, seconds)
        elif stuck := self._stuck():
            self.revisions.failed(stuck)
        self.record_revision()

    def _stuck(self) -> str:
        """Why nothing goes on, "" while something does."""
        for key in self.unsettled:
            verdict = self.verdicts.get(key)
            if verdict is None or not PHASES[verdict.phase].is_stalled:
                return ""
        first = min(self.unsettled)
        return f"{first} is {self.verdicts[first].phase}: {self.verdicts[first].message}"

    def record_revision(self) -> None:
        if record := self.revisions.take_changed():
            self.journal.revision(record)


def _image_rules(policy: Policy) -> tuple[object, ...]:
    lists = {name: rule.allow.images for name, rule in policy.projects.items()}
    return has_rules(policy), policy.images, policy.allow.images, lists
