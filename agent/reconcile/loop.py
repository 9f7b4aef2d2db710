"""The loop: takes desired state, looks at what is there, plans, applies, remembers. asyncio.

    submit, events, probes, requests, time ──> queue ──> plan_key ──> apply (a task a key) ──┐
                                                 ^                                          │
                                                 └────────── look again, and wake others <──┘

The daemon makes one `Loop`, hands it every revision (`submit`) and runs it; the API reads
`statuses()` and calls the operator's requests. All methods are for the event loop's thread.
An event only names a key to look at; what to do is decided by `plan` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agent.manifest.objects import Manifest, Object, Revision
from agent.manifest.spec import ContainerSpec
from agent.reconcile import account
from agent.reconcile import actions as do
from agent.reconcile import plan as planner
from agent.reconcile.actions import Action, KeyPlan, Plan
from agent.reconcile.apply import Outcome, apply
from agent.reconcile.conditions import PHASES, Verdict
from agent.reconcile.convert import LABEL_FILE
from agent.reconcile.feed import Feed
from agent.reconcile.inventory import Inventory, place_of
from agent.reconcile.journal import Journal, Remembers
from agent.reconcile.memory import NOTHING, Memory, from_json
from agent.reconcile.observe import Observed
from agent.reconcile.probing import Probing
from agent.reconcile.queue import KeyedQueue
from agent.reconcile.removal import is_left_alone, is_unasked, token_of
from agent.reconcile.revisions import Revisions
from agent.reconcile.statuses import status_of
from agent.reconcile.world import DEFAULT_BRIDGE, PruneGuard, World
from runtime.errors import Conflict, NotFound
from runtime.face import Engine
from runtime.model import EngineEvent
from store.records import EventRecord, Key, ObjectRecord, StatusRecord

log = logging.getLogger(__name__)

API_OWNER = "api"
BUG_RETRY_SECONDS = 60.0
FIRST_FULL_PASS_SECONDS = 1.0


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds that never jump while the agent lives."""


class SteadyClock:
    """The wall clock as it was when the agent started, carried on by the boot-time clock (which counts
    suspended time too): somebody who sets the clock disturbs no back-off. clock_gettime(2)."""

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        return self._offset + time.clock_gettime(time.CLOCK_BOOTTIME)


class Observer(Protocol):
    """Told of what happens, for metrics. Must return at once and never raise."""

    def on_action(self, kind: str, key: Key, outcome: str, seconds: float) -> None: ...
    def on_pass(self, kind: str, keys: int, actions: int, seconds: float) -> None: ...
    def on_converged(self, revision: str, seconds: float) -> None: ...
    def on_drift_repair(self, kind: str, key: Key, outcome: str) -> None: ...
    def on_restart(self, key: Key, reason: str) -> None: ...
    def on_bug(self, key: Key | None, error: BaseException) -> None: ...


class Silent:
    """An observer that nobody asked for."""

    def on_action(self, kind: str, key: Key, outcome: str, seconds: float) -> None: ...
    def on_pass(self, kind: str, keys: int, actions: int, seconds: float) -> None: ...
    def on_converged(self, revision: str, seconds: float) -> None: ...
    def on_drift_repair(self, kind: str, key: Key, outcome: str) -> None: ...
    def on_restart(self, key: Key, reason: str) -> None: ...
    def on_bug(self, key: Key | None, error: BaseException) -> None: ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times in seconds. full_pass: how often the kernel is read whole and drift looked for.
    write_delay: how long changes may wait to be written together. drift_look: after network events,
    at most one look for drift in this time. at_once: keys worked on side by side. stop: how long
    actions under way may take when the agent ends."""

    full_pass_seconds: float = 30.0
    write_delay_seconds: float = 0.1
    drift_look_seconds: float = 1.0
    at_once: int = 256
    probes_at_once: int = 16
    stop_seconds: float = 5.0
    store_in_thread: bool = True


class Loop:
    """Loop(engine, store, instance="setpoint", ...). `await start()`, `submit(...)`, `await run()`."""

    def __init__(
        self,
        engine: Engine,
        store: Remembers,
        *,
        instance: str,
        clock: Clock | None = None,
        settings: LoopSettings | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock or SteadyClock()
        self._settings = settings or LoopSettings()
        self._observer: Observer = observer or Silent()
        self._statuses: dict[Key, StatusRecord] = {}
        self._inventory = Inventory(self._record_changed)
        self._observed = Observed(engine)
        self._memory: dict[Key, Memory] = {}
        self._verdicts: dict[Key, Verdict] = {}
        self._world = World(
            instance=instance,
            desired=self._inventory.desired,
            actual=self._observed.actual,
            memory=self._memory,
            verdicts=self._verdicts,
            images=self._observed.images,
            networks=self._observed.networks,
            volumes=self._observed.volumes,
            sandboxes=self._observed.sandboxes,
            dependents=self._inventory.dependents,
        )
        self._queue: KeyedQueue[Key] = KeyedQueue()
        self._waiters: dict[Key, set[Key]] = {}
        self._waits: dict[Key, frozenset[Key]] = {}
        self._unsettled: set[Key] = set()
        self._journal = Journal(
            store,
            self._inventory.records,
            self._statuses,
            delay_seconds=self._settings.write_delay_seconds,
            in_thread=self._settings.store_in_thread,
            on_error=self._on_store_error,
        )
        self._feed = Feed()
        self._revisions = Revisions()
        self._probing = Probing(engine, self._settings.probes_at_once, self._clock.now, self._after_probe)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakeup = asyncio.Event()
        self._full_pass_at = 0.0
        self._drift_look_at: float | None = None
        self._last_drift_look_at = 0.0
        self._full_pass: asyncio.Task[None] | None = None
        self._is_started = False
        self._is_stopping = False
        self._is_going_down = False

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the store, look at all that is there, wake every key. Called by run() if need be."""
        if self._is_started:
            return
        self._is_started = True
        objects, statuses = await self._load()
        self._inventory.load(objects)
        self._statuses.update({key: status for key, status in statuses.items() if key in objects})
        for key, status in self._statuses.items():
            if (memory := from_json(status.memory)) != NOTHING:
                self._memory[key] = memory
        self._observed.look()
        # Soon, since what happens before the engine's events are followed is seen by nobody.
        self._full_pass_at = self._clock.now() + FIRST_FULL_PASS_SECONDS
        self._unsettled.update(self._inventory.desired)
        for key in self._inventory.desired:
            self._queue.add(key)
        self._wakeup.set()

    async def _load(self) -> tuple[Mapping[Key, ObjectRecord], Mapping[Key, StatusRecord]]:
        if self._settings.store_in_thread:
            return await asyncio.to_thread(self._store.load)
        return self._store.load()

    async def run(self) -> None:
        """Until stop() is called. Raises only for a bug in the loop itself."""
        await self.start()
        events = self._spawn(self._follow_events())
        try:
            while not self._is_stopping:
                self._wakeup.clear()
                self._pass()
                await self._sleep()
        finally:
            events.cancel()

    async def _sleep(self) -> None:
        """Until something is due. Nothing to do costs nothing: no timer but the next known time."""
        if self._is_stopping or (self._queue.has_ready() and self._has_room()):
            await asyncio.sleep(0)
            return
        wait = max(0.0, self._next_at() - self._clock.now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wakeup.wait()

    def _next_at(self) -> float:
        times = (self._queue.next_at(), self._probing.next_at(), self._drift_look_at, self._full_pass_at)
        return min(at for at in times if at is not None)

    async def stop(self) -> None:
        """Orderly: no new actions, those under way get a moment, everything is written. Containers
        are left as they are."""
        self._is_stopping = True
        self._wakeup.set()
        self._probing.stop()
        if self._full_pass is not None:
            self._full_pass.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.stop_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()
        self._feed.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    # --- desired state ------------------------------------------------------------------------

    def submit(self, manifest: Manifest, revision: Revision) -> None:
        """The source's newest state, read whole. What is not in it any more, and is not frozen by an
        error in its file, is removed; what is the same by spec_hash costs nothing."""
        if self._is_going_down:
            return
        now = self._clock.now()
        changed, restated = self._inventory.submit(manifest, revision.id, now)
        self._revisions.submitted(revision, manifest.errors, len(changed), now)
        self._adopt_orphans(now)
        for key in changed:
            self._spec_changed(key)
        for key in sorted(restated):
            self.wake(key)
        self._record_revision()
        self._wakeup.set()

    async def put(self, wanted: Object, owner: str = API_OWNER) -> None:
        """One object wanted by somebody else than the source (the Docker API). Returns when stored."""
        record = self._inventory.records.get(wanted.key)
        if record is not None and record.owner != owner and not record.deleting:
            raise Conflict("put", str(wanted.key), f"{record.file} wants it", "change the manifest")
        now = self._clock.now()
        if self._inventory.want(wanted, owner, "", now):
            self._spec_changed(wanted.key)
        for key in self._inventory.keep_default_network(now):
            self._spec_changed(key)
        await self._journal.flush()

    async def remove(self, key: Key) -> None:
        """One object of owner "api" no longer wanted. `NotFound`; `Conflict` when a manifest owns it."""
        record = self._record_of("remove", key)
        if record.owner == "git":
            raise Conflict("remove", str(key), f"{record.file} wants it", "remove it from the manifest")
        if not record.deleting:
            now = self._clock.now()
            self._inventory.let_go(key, "", now)
            self._spec_changed(key)
            for other in self._inventory.keep_default_network(now):
                self._spec_changed(other)
        await self._journal.flush()

    def _spec_changed(self, key: Key) -> None:
        self._unsettled.add(key)
        if key in self._memory:
            self._remember(key, account.forgive(self._memory[key]))
        self.wake(key)
        for other in sorted(self._inventory.dependents.get(key, ())):
            self._queue.add(other)

    def _record_changed(self, key: Key) -> None:
        self._journal.object_changed(key)

    def _adopt_orphans(self, now: float) -> None:
        """After a lost database: what bears our label and a manifest's, and no manifest names now."""
        for key in sorted(self._observed.actual.keys() - self._inventory.desired.keys()):
            actual = self._observed.actual[key]
            labelled = [*(r.state.labels for r in actual.replicas), *(n.labels for n in actual.networks)]
            places = [label for labels in labelled if (label := labels.get(LABEL_FILE))]
            if not places and (key != DEFAULT_BRIDGE or not labelled):
                continue  # made by the API, or by hand: nobody's to prune
            file, line = place_of(places[0] if places else "")
            if not self._inventory.is_frozen(file):
                self._inventory.adopt(key, file, line, self.revision, now)
                self._event(key, "Normal", "Adopted", "found running, named by no manifest: it is to go")
                self._spec_changed(key)

    # --- what operators ask -------------------------------------------------------------------

    def wake(self, key: Key) -> None:
        """Look at this key now."""
        self._queue.add(key)
        self._wakeup.set()

    async def sync(self) -> None:
        """Look at everything now: a full pass, drift included, and what failed is tried again. Returns
        when all is planned."""
        for key, memory in list(self._memory.items()):
            if memory.failures:
                self._remember(key, replace(memory, failures={}))
                self.wake(key)
        await self._look_whole()
        self._pass()

    async def restart(self, key: Key) -> None:
        """Restart its containers (also ends Stalled and back-off). Returns when stored."""
        self._record_of("restart", key)
        marked = account.ask_restart(self._memory_of(key), self._observed_actual(key))
        await self._wish(key, marked, "RestartRequested", "an operator asked for a restart")

    async def suspend(self, key: Key) -> None:
        """Leave it alone until `resume`, manifests or not. Returns when stored."""
        self._record_of("suspend", key)
        memory = replace(self._memory_of(key), is_suspended=True)
        await self._wish(key, memory, "Suspended", "an operator suspended it")

    async def resume(self, key: Key) -> None:
        self._record_of("resume", key)
        memory = replace(self._memory_of(key), is_suspended=False)
        await self._wish(key, memory, "Resumed", "an operator resumed it")

    async def acknowledge_prune(self, revision: str) -> int:
        """Yes to the mass prune that `revision` asks for. Returns how many objects that frees;
        `Conflict` when another revision is the present one."""
        if not self.revision or not self.revision.startswith(revision or "\0"):
            raise Conflict("prune", revision, f"the present revision is {self.revision or 'none'}")
        keys = self._acknowledge(self._inventory.deleting)
        await self._journal.flush()
        return len(keys)

    def _acknowledge(self, keys: set[Key]) -> list[Key]:
        freed = []
        for key in sorted(keys):
            wanted = self._inventory.desired[key]
            if self._memory_of(key).prune_acknowledged == wanted.revision:
                continue
            self._remember(key, replace(self._memory_of(key), prune_acknowledged=wanted.revision))
            self._publish_if_known(key)
            self._event(key, "Normal", "PruneAcknowledged", "an operator said yes to its removal")
            self.wake(key)
            freed.append(key)
        return freed

    async def down(self) -> None:
        """Remove all that this instance runs, volumes that are kept aside; returns when it is gone.
        From now on nothing submitted is taken."""
        self._is_going_down = True
        now = self._clock.now()
        for key in list(self._inventory.desired):
            if key not in self._inventory.deleting:
                self._inventory.let_go(key, self.revision, now)
            self._remember(key, replace(self._memory_of(key), is_suspended=False))
            self._spec_changed(key)
        self._acknowledge(self._inventory.deleting)
        while self._inventory.desired:
            await self.wait_changed()
        await self._journal.flush()

    def image_changed(self, reference: str = "") -> None:
        """An image was loaded, tagged or removed: look again at who uses it ("" is any)."""
        changed = self._observed.ask_images_again(reference)
        if not changed:
            return
        for key, desired in self._inventory.desired.items():
            if isinstance(desired.spec, ContainerSpec) and desired.spec.image in changed:
                self.wake(key)

    async def _wish(self, key: Key, memory: Memory, reason: str, message: str) -> None:
        self._remember(key, memory)
        self._publish_if_known(key)
        self._event(key, "Normal", reason, message)
        self.wake(key)
        await self._journal.flush()

    def _record_of(self, op: str, key: Key) -> ObjectRecord:
        record = self._inventory.records.get(key)
        if record is None:
            raise NotFound(op, str(key), "there is no such object", "`setpoint status` lists them")
        return record

    # --- what there is to see -------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """The id of the newest submitted revision, "" before the first."""
        return self._revisions.current

    @property
    def queue_depth(self) -> int:
        """Keys that wait for their turn, and those being worked on."""
        return len(self._queue) + self._queue.in_flight_count

    def is_ready(self) -> bool:
        """Everything desired is Ready and nothing is under way."""
        return self._is_started and not self._unsettled and not self._queue.in_flight_count

    def statuses(self) -> Mapping[Key, StatusRecord]:
        """The newest status of every object; live, read only."""
        return self._statuses

    def objects(self) -> Mapping[Key, ObjectRecord]:
        """Every desired object and those still being removed; live, read only."""
        return self._inventory.records

    def plan_now(self, manifest: Manifest | None = None) -> Plan:
        """What a pass over everything would do, for the manifests as submitted or for others."""
        world = self._world
        if manifest is not None:
            trial = Inventory(lambda _key: None)
            trial.load(self._inventory.records)
            trial.submit(manifest, self.revision, self._clock.now())
            world = replace(world, desired=trial.desired, dependents=trial.dependents)
        for desired in world.desired.values():
            if isinstance(desired.spec, ContainerSpec):
                self._observed.ask_image(desired.spec.image)
        return planner.plan(world, self._clock.now())

    def preview(self, manifest: Manifest | None = None) -> tuple[Action, ...]:
        return self.plan_now(manifest).actions

    async def wait_changed(self) -> None:
        """Returns at the next change of any status."""
        await self._feed.wait_changed()

    def events(self) -> AsyncIterator[EventRecord]:
        """Events from now on; the oldest are dropped for a reader that lags by over a thousand."""
        return self._feed.follow()

    # --- a pass -------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Look at every key that is due, once, and set off what is to be done."""
        if self._is_stopping:
            return
        now = self._clock.now()
        self._start_looks(now)
        self._probing.start_due(now)
        keys = self._queue.take(now, self._settings.at_once - self._queue.in_flight_count)
        if not keys:
            return
        started = time.perf_counter()
        self._guard_prunes(keys)
        count = sum(self._look_at_key(key, now) for key in keys)
        self._judge_revision(now)
        self._observer.on_pass("keys", len(keys), count, time.perf_counter() - started)

    def _has_room(self) -> bool:
        return self._queue.in_flight_count < self._settings.at_once

    def _look_at_key(self, key: Key, now: float) -> int:
        """Plan one key; how many actions were set off. A bug in planning one key stops no other."""
        try:
            found = self._plan_key(key, now)
            if found is None:
                return 0
            self._keep_verdict(found, now)
        except Exception as error:
            log.exception("planning %s failed", key)
            self._observer.on_bug(key, error)
            self._queue.add(key, now + BUG_RETRY_SECONDS)
            return 0
        if found.actions:
            self._queue.begin(key)
            task = self._spawn(self._apply(found))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(found.actions)

    def _plan_key(self, key: Key, now: float) -> KeyPlan | None:
        desired = self._inventory.desired.get(key)
        if desired is None:
            return None
        if isinstance(desired.spec, ContainerSpec):
            self._observed.ask_image(desired.spec.image)
        self._see_exits(key, now)
        found = planner.plan_key(key, self._world, now)
        if isinstance(desired.spec, ContainerSpec) and not is_left_alone(desired, self._world):
            image = self._observed.images.get(desired.spec.image)
            memory = self._probing.schedule(
                key, desired.spec, image, self._observed_actual(key), self._memory_of(key), now
            )
            self._remember(key, memory)
        return found

    def _see_exits(self, key: Key, now: float) -> None:
        memory, exits = account.after_look(self._memory_of(key), self._observed_actual(key), now)
        self._remember(key, memory)
        for exit in exits:
            is_well = exit.code == 0
            text = f"{key}#{exit.index} {exit}"
            self._event(key, "Normal" if is_well else "Warning", "Exited", text)

    def _keep_verdict(self, found: KeyPlan, now: float) -> None:
        key, verdict = found.key, found.verdict
        before = self._verdicts.get(key)
        self._verdicts[key] = verdict
        if verdict.wake_at is not None:
            self._queue.add(key, verdict.wake_at)
        self._wait_for(key, verdict.waiting_for)
        if verdict.is_settled:
            self._unsettled.discard(key)
            self._inventory.converged(key)
        else:
            self._unsettled.add(key)
        self._publish(key, now)
        if before != verdict:
            self._wake_waiters(key)

    def _publish(self, key: Key, now: float) -> None:
        before = self._statuses.get(key)
        status = status_of(
            key, self._inventory.desired.get(key), self._verdicts[key], self._observed_actual(key),
            self._memory_of(key), before, now,
        )  # fmt: skip
        if status == before:
            return
        self._statuses[key] = status
        self._journal.status_changed(key)
        self._feed.changed()

    def _wait_for(self, key: Key, others: frozenset[Key]) -> None:
        before = self._waits.get(key, frozenset())
        if before == others:
            return
        for other in before - others:
            self._waiters[other].discard(key)
        for other in others - before:
            self._waiters.setdefault(other, set()).add(key)
        if others:
            self._waits[key] = others
        else:
            self._waits.pop(key, None)

    def _wake_waiters(self, key: Key) -> None:
        for other in sorted(self._waiters.get(key, ())):
            self._queue.add(other)
        self._wakeup.set()

    def _guard_prunes(self, keys: list[Key]) -> None:
        """Count what goes without a yes; when the guard comes or goes, all that is held is looked at."""
        if not self._inventory.deleting:
            self._world = replace(self._world, prune=PruneGuard()) if self._world.prune.going else self._world
            return
        desired = self._inventory.desired
        going = sum(is_unasked(desired[key], self._world) for key in self._inventory.deleting)
        guard = PruneGuard(going, len(self._observed.running))
        if guard == self._world.prune:
            return
        was_held = self._world.prune.is_held
        self._world = replace(self._world, prune=guard)
        if was_held and not guard.is_held:
            for key in sorted(self._inventory.deleting):
                self.wake(key)

    # --- applying -------------------------------------------------------------------------------

    async def _apply(self, found: KeyPlan) -> None:
        key = found.key
        try:
            outcomes = await apply(self._engine, found.actions, self._after_action)
            self._after_lanes(outcomes)
            self._look_again(key, found.actions)
        except Exception as error:  # never may a bug of ours keep a key in flight for ever
            log.exception("applying the plan of %s failed", key)
            self._observer.on_bug(key, error)
            self._queue.add(key, self._clock.now() + BUG_RETRY_SECONDS)
        else:
            self.wake(key)
        finally:
            self._queue.done(key)
        self._wake_waiters(key)

    def _after_action(self, outcome: Outcome) -> None:
        """Keep what one action did. Called between actions, so that a stop in the middle loses nothing."""
        action, error = outcome.action, outcome.error
        self._observer.on_action(
            action.kind, action.key, account.kind_of(error) if error else "ok", outcome.seconds
        )
        if error is not None:
            self._after_failure(action, error)
            return
        log.info("%s", action)
        key, now = action.key, self._clock.now()
        self._remember(key, account.after_action(self._memory_of(key), action, now))
        self._event(key, "Normal", action.done, str(action), action.cause)
        match action:
            case do.StartContainer():
                self._observed.mend(key, action.id)
                if action.sandbox:
                    self._observed.add_sandbox(action.sandbox, key, action.networks)
                if action.is_restart:
                    self._observer.on_restart(key, action.cause.seen)
            case do.DeleteSandbox():
                self._observed.drop_sandbox(action.sandbox)
            case do.RepairDrift():
                self._observed.drop_drift(key, action.drift)
                self._observer.on_drift_repair(action.drift.kind, key, "ok")

    def _after_failure(self, action: Action, error: Exception) -> None:
        key, now = action.key, self._clock.now()
        if isinstance(action, do.RepairDrift):
            self._after_failed_repair(action, error)
            return
        desired = self._inventory.desired.get(key)
        if desired is None:
            return
        spec = desired.spec
        image = self._observed.images.get(spec.image) if isinstance(spec, ContainerSpec) else None
        before = self._memory_of(key).failures.get(str(action.index))
        memory, failure = account.after_failure(
            self._memory_of(key), action, error, token_of(desired, image), now
        )
        self._remember(key, memory)
        if failure.kind == "bug":
            log.error("%s failed", action, exc_info=error)
            self._observer.on_bug(key, error)
        if before is None or before.message != failure.message:
            log.warning("%s", failure.message)
            self._event(key, "Warning", f"{action.kind}Failed", failure.message, action.cause)

    def _after_failed_repair(self, action: do.RepairDrift, error: Exception) -> None:
        """Temporary: only a restart would help (`Engine.repair`). Else it is found again if still so."""
        key, kind = action.key, account.kind_of(error)
        broken = account.message_of(error) if kind == "temporary" else ""
        self._observed.drop_drift(key, action.drift, broken)
        self._observer.on_drift_repair(action.drift.kind, key, kind)
        if kind == "bug":
            log.error("%s failed", action, exc_info=error)
            self._observer.on_bug(key, error)
        self._event(key, "Warning", "RepairFailed", account.message_of(error), action.cause)

    def _after_lanes(self, outcomes: tuple[Outcome, ...]) -> None:
        failed = {outcome.action.index for outcome in outcomes if outcome.error is not None}
        for outcome in outcomes:
            key, index = outcome.action.key, outcome.action.index
            if index not in failed and key in self._memory:
                self._remember(key, account.after_lane(self._memory[key], index))
            if isinstance(outcome.action, do.ForgetObject) and outcome.error is None:
                self._forget(key)

    def _look_again(self, key: Key, done: tuple[Action, ...]) -> None:
        """Read again what was touched, and wake those for whom it matters which container runs."""
        ids = {id for action in done if (id := _container_of(action))}
        for id in ids:
            self._observed.look_at(id)
        kinds = {type(action) for action in done}
        if kinds & {do.CreateNetwork, do.DeleteNetwork}:
            self._observed.look_at_networks()
        if kinds & {do.CreateVolume, do.DeleteVolume, do.CreateContainer}:
            self._observed.look_at_volumes()
        if kinds & {do.StopContainer, do.DeleteContainer}:
            for other in sorted(self._inventory.dependents.get(key, ())):
                self._queue.add(other)

    def _forget(self, key: Key) -> None:
        self._inventory.forget(key)
        self._memory.pop(key, None)
        self._verdicts.pop(key, None)
        self._statuses.pop(key, None)
        self._unsettled.discard(key)
        self._wait_for(key, frozenset())
        self._journal.removed(key)
        self._feed.changed()

    # --- events, probes, whole looks ------------------------------------------------------------

    async def _follow_events(self) -> None:
        while True:
            try:
                async for event in self._engine.events():
                    self._on_engine_event(event)
            except Exception as error:
                log.exception("following the engine's events failed")
                self._observer.on_bug(None, error)
            await asyncio.sleep(1.0)
            self._full_pass_at = self._clock.now()  # events may have been missed
            self._wakeup.set()

    def _on_engine_event(self, event: EngineEvent) -> None:
        if event.kind in ("exit", "oom", "start"):
            key = self._observed.look_at(event.id)
            if key is not None:
                self.wake(key)
        elif event.kind == "warning":
            key = self._observed.look_at(event.id)
            if key is not None:
                log.warning("%s: %s", key, event.detail)
                self._event(key, "Warning", "NotAllowedHere", event.detail)
        elif event.kind == "network":
            at = self._last_drift_look_at + self._settings.drift_look_seconds
            self._drift_look_at = min(self._drift_look_at or at, max(at, self._clock.now()))
            self._wakeup.set()
        else:
            self._full_pass_at = self._clock.now()
            self._wakeup.set()

    def _after_probe(self, key: Key, memory: Memory, is_turn: bool) -> None:
        """A probe answered. is_turn: the health is another one now, which is all that planning asks."""
        self._remember(key, memory)
        if is_turn:
            self._publish_if_known(key)
            self.wake(key)
        self._wakeup.set()  # the next probe has its time

    def _publish_if_known(self, key: Key) -> None:
        if key in self._verdicts:
            self._publish(key, self._clock.now())

    def _start_looks(self, now: float) -> None:
        """Set off a whole look, or one for drift, when it is due and none is under way."""
        if self._full_pass is not None and not self._full_pass.done():
            return
        if now >= self._full_pass_at:
            self._full_pass = self._spawn(self._look_whole())
        elif self._drift_look_at is not None and now >= self._drift_look_at:
            self._full_pass = self._spawn(self._look_for_drift())

    async def _look_whole(self) -> None:
        started = time.perf_counter()
        now = self._clock.now()
        self._full_pass_at = now + self._settings.full_pass_seconds
        changed: set[Key] = set()
        try:
            changed = self._observed.look()
            self.image_changed()
            for key in sorted(changed):
                self.wake(key)
            if self._revisions.current and not self._is_going_down:
                self._adopt_orphans(now)
            await self._look_for_drift()
        except Exception as error:
            log.exception("the whole look failed")
            self._observer.on_bug(None, error)
        self._observer.on_pass("full", len(changed), 0, time.perf_counter() - started)

    async def _look_for_drift(self) -> None:
        self._drift_look_at = None
        self._last_drift_look_at = self._clock.now()
        busy = {key for key in self._inventory.desired if self._queue.is_in_flight(key)}
        try:
            drifts = await self._engine.find_drift()
        except Exception as error:
            log.exception("looking for drift failed")
            self._observer.on_bug(None, error)
            return
        found = self._observed.set_drifts(drifts, lambda key: key in busy or self._queue.is_in_flight(key))
        for key in sorted(found):
            self.wake(key)

    # --- small --------------------------------------------------------------------------------

    def _memory_of(self, key: Key) -> Memory:
        return self._memory.get(key, NOTHING)

    def _remember(self, key: Key, memory: Memory) -> None:
        if memory is self._memory.get(key, NOTHING):
            return
        self._memory[key] = memory
        self._probing.memory_changed(key, memory)

    def _observed_actual(self, key: Key) -> Any:
        return self._world.actual_of(key)

    def _event(self, key: Key, type: str, reason: str, message: str, cause: do.Cause | None = None) -> None:
        record = self._inventory.records.get(key)
        revision = cause.revision if cause else record.revision if record else ""
        event = EventRecord(
            at=self._clock.now(), key=key, type=type, reason=reason, message=message,
            revision=revision, cause=cause.chain() if cause else (),
        )  # fmt: skip
        self._journal.event(event)
        self._feed.event(event)

    def _record_revision(self) -> None:
        if record := self._revisions.take_changed():
            self._journal.revision(record)

    def _judge_revision(self, now: float) -> None:
        if not self._revisions.is_applying:
            return
        if self._unsettled:
            phases = [(key, self._verdicts.get(key)) for key in self._unsettled]
            stuck = [
                (key, verdict)
                for key, verdict in phases
                if verdict is not None and PHASES[verdict.phase].is_stalled
            ]
            if len(stuck) == len(phases):
                key, verdict = min(stuck)
                self._revisions.failed(f"{key} is {verdict.phase}: {verdict.message}")
        else:
            seconds = self._revisions.converged(now)
            self._observer.on_converged(self._revisions.current, seconds)
        self._record_revision()

    def _on_store_error(self, error: Exception) -> None:
        log.error("what happened could not be stored, it is tried again: %s", error)


def _container_of(action: Action) -> str:
    if isinstance(action, do.CreateContainer):
        return action.config.id
    return getattr(action, "id", "")
