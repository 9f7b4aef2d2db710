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
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from agent.manifest.objects import Manifest, Object, Revision
from agent.manifest.spec import AnySpec, ContainerSpec, ImageSpec, VolumeSpec
from agent.policy.gate import Gate
from agent.reconcile import account, handing_over, happenings
from agent.reconcile import plan as planner
from agent.reconcile.actions import Action, KeyPlan, Plan
from agent.reconcile.api_objects import API_OWNER
from agent.reconcile.applying import BUG_RETRY_SECONDS, Applying
from agent.reconcile.clock import Clock, SteadyClock
from agent.reconcile.conditions import Verdict
from agent.reconcile.convert import volume_name
from agent.reconcile.exits import health_of
from agent.reconcile.health import healthcheck_of
from agent.reconcile.inventory import Inventory
from agent.reconcile.journal import Journal, Remembers
from agent.reconcile.knowledge import Knowledge, LoopSettings
from agent.reconcile.memory import Failure, Memory
from agent.reconcile.needs import image_of
from agent.reconcile.observer import Observer, Silent
from agent.reconcile.policy import Exit, Health
from agent.reconcile.probing import Probing
from agent.reconcile.removal import is_kill, is_left_alone
from agent.reconcile.sockets import NoSockets, Sockets
from agent.reconcile.watching import Watching
from agent.reconcile.world import HOST, World
from runtime.errors import Conflict, NotFound
from runtime.face import Engine
from runtime.model import ImageInfo
from store.records import Condition, EventRecord, Happening, Key, ObjectRecord, StatusRecord

__all__ = ["Clock", "Loop", "LoopSettings", "Observer", "Remembers"]

ROUNDS_AT_ONCE = 4
ASK_LIST = "`setpoint status` lists them"


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
        gate: Gate | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        self._settings = settings or LoopSettings()
        self._gate = gate or Gate(None)
        self._clock = clock or SteadyClock()
        parts = (self._clock, self._settings, observer or Silent(), sockets or NoSockets())
        know = Knowledge(engine, store, instance, *parts)
        self._know = know
        self._applying = Applying(engine, know)
        self._watching = Watching(engine, know)
        self._probing = Probing(engine, self._settings.probes_at_once, self._clock.now, self._after_probe)
        self._is_started = False
        self._is_stopping = False
        self._is_going_down = False

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the store, look at all that is there, wake every key. Called by run() if need be."""
        if self._is_started:
            return
        self._is_started = True
        self._know.keep_policy(self._gate.known())
        await self._know.load()
        self._watching.start()
        for key in sorted(self._know.inventory.desired):
            self._know.wake(key)

    async def run(self) -> None:
        """Until stop() is called. Raises only for a bug in the loop itself."""
        await self.start()
        events = asyncio.get_running_loop().create_task(self._watching.follow())
        try:
            if not self._is_stopping:
                await self._know.wakeup.run(self._pass_and_next)
        finally:
            events.cancel()

    def _pass_and_next(self) -> float:
        self._pass()
        return self._seconds_left()

    def _seconds_left(self) -> float:
        """Until something is due. Nothing to do costs nothing: no timer but the next known time."""
        if self._know.queue.has_ready() and self._room() > 0:
            return 0.0
        times = (self._know.queue.next_at(), self._probing.next_at(), self._watching.next_at())
        return max(0.0, min(at for at in times if at is not None) - self._clock.now())

    def _work_now(self, keys: Sequence[Key]) -> None:
        """What was wished of these is done, as far as it waits for nothing, before who wished it goes on.
        What is going is looked at again until it is forgotten; all else is the next turn's."""
        wakeup, queue = self._know.wakeup, self._know.queue
        if not wakeup.is_running or self._is_stopping:
            return
        for _ in range(ROUNDS_AT_ONCE):
            if not queue.has_ready() or self._room() <= 0:
                break
            self._pass()
            if self._know.inventory.deleting.isdisjoint(keys):
                break
        wakeup.done(self._seconds_left())

    async def stop(self) -> None:
        """Orderly: no new actions, those under way get a moment, everything is written. Containers
        are left as they are. Stopping twice does nothing."""
        self._is_stopping = True
        self._know.wakeup.stop()
        self._probing.stop()
        self._watching.stop()
        await self._applying.stop(self._settings.stop_seconds)
        await self._know.journal.close()
        self._know.feed.close()

    # --- a pass -------------------------------------------------------------------------------

    def _room(self) -> int:
        return self._settings.at_once - self._know.queue.in_flight_count

    def _pass(self) -> None:
        """Look at every key that is due, once, and set off what is to be done."""
        if self._is_stopping:
            return
        now = self._clock.now()
        self._watching.start_due(now)
        self._probing.start_due(now)
        keys = self._know.queue.take(now, self._room())
        if not keys:
            return
        started = time.perf_counter()
        self._know.guard_prunes()
        count = sum(self._look_at(key, now) for key in keys)
        self._know.judge_revision()
        self._know.observer.on_pass("keys", len(keys), count, time.perf_counter() - started)

    def _look_at(self, key: Key, now: float) -> int:
        """Plan one key and set its actions off; how many. A bug in planning one key stops no other."""
        try:
            found = self._plan_key(key, now)
            is_short = found is not None and self._applying.is_short(found)
            if found is not None and not is_short:
                self._know.keep_verdict(found, now)
        except Exception as error:
            self._know.bug(key, error, f"planning {key} failed")
            self._know.queue.add(key, now + BUG_RETRY_SECONDS)
            return 0
        if found is None or not found.actions:
            return 0
        self._applying.start(found)
        if is_short and self._know.queue.is_in_flight(key):  # else the next look says how it stands
            self._know.keep_verdict(found, now)
        return len(found.actions)

    def _plan_key(self, key: Key, now: float) -> KeyPlan | None:
        know = self._know
        desired = know.inventory.desired.get(key)
        if desired is None:
            return planner.plan_key(key, know.world, now) if key == HOST else None
        if isinstance(desired.spec, ContainerSpec | ImageSpec):
            know.observed.ask_image(desired.spec.image)
        elif isinstance(desired.spec, VolumeSpec):  # a container may have brought it along
            know.observed.look_at_volume(volume_name(key, desired.spec))
        self._see_exits(key, now)
        self._end_override(key, now)
        found = planner.plan_key(key, know.world, now)
        if isinstance(desired.spec, ContainerSpec) and not is_left_alone(desired, know.world):
            image = image_of(desired.spec, know.world)
            memory = know.memory_of(key)
            know.remember(
                key, self._probing.schedule(key, desired.spec, image, know.actual_of(key), memory, now)
            )
        return found

    def _see_exits(self, key: Key, now: float) -> None:
        know = self._know
        memory, exits = account.after_look(know.memory_of(key), know.actual_of(key), now)
        know.remember(key, memory)
        for exit in exits:
            if know.told_exits.get(exit.container, ()) == (exit.started_at,):
                continue  # it was forgiven with the spec of that time, and is seen again
            know.told_exits[exit.container] = (exit.started_at,)
            text = f"{key}#{exit.index} {exit}"
            subject = know.subject(key, exit.container)
            wish = is_kill(self.spec_of(key))
            told = happenings.of_exit(exit, subject, is_kill=wish) if subject is not None else ()
            know.event(key, "Normal" if exit.code == 0 else "Warning", "Exited", text, happenings=told)
            know.on_exit(key, exit)

    def _end_override(self, key: Key, now: float) -> None:
        know = self._know
        memory = account.after_override(know.memory_of(key), know.actual_of(key), now)
        if memory is not know.memory_of(key):
            know.remember(key, memory)
            know.event(key, "Normal", "OverrideEnded", "is as its manifest says from now on")

    def _after_probe(self, key: Key, container: str, health: Health, is_turn: bool) -> None:
        """A probe answered. is_turn: the health is another one now, which is all that planning asks."""
        know = self._know
        memory = know.memory_of(key)
        know.remember(key, replace(memory, health={**memory.health, container: health}))
        if is_turn:
            self._tell_health(key, container, health)
            know.wake(key)
        know.wakeup.set()  # the next probe has its time

    def _tell_health(self, key: Key, container: str, health: Health) -> None:
        subject = self._know.subject(key, container)
        if subject is None:
            return
        is_bad = health.status == "unhealthy"
        told = (subject.happening(f"health_status: {health.status}"),)
        words = f"{key} is {health.status}" + (f": {health.output}" if is_bad and health.output else "")
        self._know.event(
            key, "Warning" if is_bad else "Normal", health.status.capitalize(), words, happenings=told
        )

    # --- desired state ------------------------------------------------------------------------

    def submit(self, manifest: Manifest, revision: Revision) -> None:
        """The source's newest state, read whole. What is not in it any more, and is not frozen by an
        error in its file, is removed; what is the same by spec_hash costs nothing."""
        if self._is_going_down or manifest.is_withheld:
            return
        know, now = self._know, self._clock.now()
        know.keep_policy(manifest.policy)
        is_first = not self.revision
        changed, restated = know.inventory.submit(manifest, revision.id, now)
        know.revisions.submitted(revision, manifest.errors, len(changed), now)
        if is_first:  # later ones are found by the whole looks
            know.adopt_orphans()
        for key in changed:
            self._spec_changed(key)
        for key in sorted(restated):
            know.wake(key)
        if not changed:
            know.judge_revision()
        know.record_revision()

    def check_image(self, op: str, reference: str) -> None:
        """Raises Invalid for an image that the policy lets nobody run."""
        self._gate.check_image(op, reference)

    async def put(
        self, wanted: Object, owner: str = API_OWNER, *, starts: bool = False, is_done_meanwhile: bool = False
    ) -> None:
        """One object wanted by somebody else than the source (the Docker API). Returns when stored.
        starts: what is there of it is started again, whatever ended it. is_done_meanwhile: see `_change`.
        `Conflict` when a manifest wants it, `Invalid` when the policy refuses it."""
        self._check(wanted, owner)
        now = self._clock.now()
        changed = [wanted.key] if self._know.inventory.want(wanted, owner, "", now) else []
        if starts:
            know, key = self._know, wanted.key
            know.remember(key, account.ask_restart(know.memory_of(key), know.actual_of(key)))
            know.publish(key)
        changed += self._know.inventory.keep_default_network(now)
        starting = [wanted.key] if starts else []
        await self._change(changed, starting, is_done_meanwhile=is_done_meanwhile)

    async def put_together(self, wanted: Sequence[Object]) -> None:
        """Several that the Docker API wants, in one transaction: all of them, or none. As `put`. They are
        made while the disk is waited for: should a power cut take the wish, the next agent keeps what there
        is of them, as after one that takes the answer."""
        for each in wanted:
            self._check(each, API_OWNER)
        now, inventory = self._clock.now(), self._know.inventory
        changed = [each.key for each in wanted if inventory.want(each, API_OWNER, "", now)]
        await self._change(changed + inventory.keep_default_network(now), is_done_meanwhile=True)

    def _check(self, wanted: Object, owner: str) -> None:
        self._know.keep_policy(self._gate.check(wanted))
        record = self._know.inventory.records.get(wanted.key)
        if record is not None and record.owner != owner and not record.deleting:
            raise Conflict("put", str(wanted.key), f"{record.file} wants it", "change the manifest")

    async def remove(self, key: Key, last: Object | None = None, *, is_done_meanwhile: bool = False) -> None:
        """One object of owner "api" no longer wanted. Returns when stored. `NotFound`; `Conflict` when
        a manifest owns it. last: what is wanted of it on its way out, in the same transaction.
        is_done_meanwhile: see `_change`."""
        record = self._record_of("remove", key)
        if record.owner == "git":
            raise Conflict("remove", str(key), f"{record.file} wants it", "remove it from the manifest")
        if record.deleting:
            return
        now = self._clock.now()
        if last is not None:
            self._know.inventory.want(last, API_OWNER, "", now)
        self._know.inventory.let_go(key, "", now)
        changed = [key, *self._know.inventory.keep_default_network(now)]
        await self._change(changed, is_done_meanwhile=is_done_meanwhile)

    async def hand_over(self, key: Key, wanted: Object) -> None:
        """Let the containers of this object of owner "api" be that one's as soon as a manifest wants it just
        so, without a restart (see `handing_over`). Returns when stored. `NotFound`; `Conflict` when a
        manifest owns it already."""
        record = self._record_of("adopt", key)
        if record.owner != API_OWNER or record.deleting:
            why = f"{record.file} wants it" if record.file else "it is being removed"
            raise Conflict("adopt", str(key), why)
        know = self._know
        wish = handing_over.wish_of(know.inventory.desired[key], wanted.key, wanted.spec_hash)
        know.wake(wanted.key)
        message = f"{wanted.key} takes it over when a manifest says so"
        memory = replace(know.memory_of(key), handed_over=wish)
        await self._wish(key, memory, "HandOverRequested", message)

    def _spec_changed(self, key: Key) -> None:
        self._know.spec_changed(key)
        self._applying.hasten(key)

    async def _change(
        self, keys: list[Key], starting: Sequence[Key] = (), *, is_done_meanwhile: bool = False
    ) -> None:
        """A wish is stored before anything is done for it. What a kill left without a row would be nobody's,
        what ran without one would be stopped, and what went would be made anew, by the next agent, after it
        told who asked again that all is well.

        is_done_meanwhile: it is done while the disk is waited for, which is for what the next agent would put
        back as it was, or keep, should a power cut take the wish. No end of the agent takes it by then, and
        who wished it hears nothing before it is on the disk."""
        know, stored = self._know, None
        try:
            if is_done_meanwhile:
                stored = await know.journal.keep()
            else:
                await know.journal.flush()
        finally:  # also when who asks is gone
            for key in keys:
                self._spec_changed(key)
            for key in starting:
                know.wake(key)
        self._work_now(keys)
        if stored is not None:
            know.journal.look()
            await stored

    # --- what operators ask; NotFound when there is no such object --------------------------------

    def wake(self, key: Key) -> None:
        """Look at this key now."""
        self._know.wake(key)

    def look_at(self, id: str) -> None:
        """Read this container again, and look at its key: somebody changed it without an event (pause)."""
        if (key := self._know.observed.look_at(id)) is not None:
            self._know.wake(key)

    async def sync(self) -> None:
        """Look at everything now: a full pass, drift included, and what failed is tried again. Returns
        when all is planned."""
        for key, memory in self._know.remembered():
            if memory.failures:
                self._know.remember(key, replace(memory, failures={}))
                self._know.wake(key)
        await self._watching.look_whole()
        self._pass()

    def try_failed_again(self) -> None:
        """What failed for a while may go well now; the store first of all. Why it failed is kept, so that
        the same again is not told again."""
        self._know.journal.try_again()
        for key, memory in self._know.remembered():
            if sooner := account.sooner(memory, self._clock.now()):
                self._know.remember(key, sooner)
                self._know.wake(key)

    async def restart(self, key: Key) -> None:
        """Restart its containers (also ends Stalled and back-off). Returns when stored."""
        self._record_of("restart", key)
        marked = account.ask_restart(self._know.memory_of(key), self._know.actual_of(key))
        await self._wish(key, marked, "RestartRequested", "an operator asked for a restart")

    async def suspend(self, key: Key) -> None:
        """Leave it alone until `resume`, manifests or not. Returns when stored."""
        self._record_of("suspend", key)
        memory = replace(self._know.memory_of(key), is_suspended=True)
        await self._wish(key, memory, "Suspended", "an operator suspended it")

    async def override(self, key: Key, seconds: float, how: str) -> None:
        """Leave a manifest's object to somebody's own hands for so long, over a restart of the agent too.
        how: what they do. Returns when stored. `NotFound`; `Conflict` where no manifest owns it."""
        record = self._record_of("override", key)
        if record.owner != "git":
            raise Conflict("override", str(key), "no manifest owns it", "change it as it was made")
        now = self._clock.now()
        know = self._know
        memory = account.begin_override(know.memory_of(key), know.actual_of(key), now + seconds, how, now)
        await self._wish(key, memory, "Overridden", f"{how}, for {seconds:g} seconds")

    async def resume(self, key: Key) -> None:
        """End `suspend` and `override`. Returns when stored."""
        self._record_of("resume", key)
        memory = account.end_override(replace(self._know.memory_of(key), is_suspended=False))
        await self._wish(key, memory, "Resumed", "an operator resumed it")

    async def acknowledge_prune(self, revision: str) -> int:
        """Yes to the mass prune that `revision` (or a prefix of it) asks for. Returns how many objects
        that frees; `Conflict` when another revision is the present one."""
        if not revision or not self.revision.startswith(revision):
            raise Conflict("prune", revision, f"the present revision is {self.revision or 'none'}")
        count = self._know.acknowledge(self._know.inventory.deleting)
        await self._know.journal.flush()
        return count

    async def down(self) -> None:
        """Remove all that this instance runs, but volumes that are kept; returns when it is gone. From
        now on nothing submitted is taken."""
        self._is_going_down = True
        know, now = self._know, self._clock.now()
        for key in list(know.inventory.desired):
            if key not in know.inventory.deleting:
                know.inventory.let_go(key, self.revision, now)
            know.remember(key, replace(know.memory_of(key), is_suspended=False, override=None))
            self._spec_changed(key)
        know.acknowledge(know.inventory.deleting)
        while know.inventory.desired:
            await self.wait_changed()
        await know.journal.flush()

    def tell_repaired(self, kind: str, what: str) -> None:
        """Something of the host's was put back by whoever keeps it: count it, and tell."""
        self._watching.tell_repaired(kind, what)

    def image_changed(self, reference: str = "") -> None:
        """An image was loaded, tagged or removed: look again at who uses it ("" is any)."""
        self._watching.ask_images_again(reference)

    def image_damaged(self, id: str) -> None:
        """An image was found damaged, or whole again: who uses it says so."""
        self._know.wake_users_of_image(id)

    def users_of(self, key: Key) -> list[Key]:
        """The objects that need this one and are wanted, whether they are there yet or not."""
        inventory = self._know.inventory
        return sorted(other for other in inventory.dependents.get(key, ()) if other not in inventory.deleting)

    def wanted_as(self, kind: str, name: str) -> Key | None:
        """The object that wants a container of the Docker API, or a volume, of that real name."""
        return min(self._know.inventory.by_name.get((kind, name), ()), default=None)

    def things_changed(self) -> None:
        """Volumes or networks that nothing wants were removed: what is planned next is by what is there."""
        observed = self._know.observed
        for key in observed.look_at_volumes() | observed.look_at_networks():
            self._know.wake(key)

    async def _wish(self, key: Key, memory: Memory, reason: str, message: str) -> None:
        self._know.remember(key, memory)
        self._know.publish(key)
        self._know.event(key, "Normal", reason, message)
        self._know.wake(key)
        await self._know.journal.flush()

    def _record_of(self, op: str, key: Key) -> ObjectRecord:
        record = self._know.inventory.records.get(key)
        if record is None:
            raise NotFound(op, str(key), "there is no such object", ASK_LIST)
        return record

    # --- what there is to see -------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """The id of the newest submitted revision, "" before the first."""
        return self._know.revisions.current

    @property
    def queue_depth(self) -> int:
        """Keys that wait for their turn, and those being worked on."""
        return len(self._know.queue) + self._know.queue.in_flight_count

    def is_ready(self) -> bool:
        """Everything desired is Ready and nothing is under way."""
        return self._is_started and not self._know.unsettled and not self._know.queue.in_flight_count

    def statuses(self) -> Mapping[Key, StatusRecord]:
        """The newest status of every object; live, read only."""
        return self._know.statuses

    def remembered_count(self) -> int:
        """How many statuses are those of the store: a start has so many keys still to look at."""
        return sum(key not in self._know.verdicts for key in self._know.statuses)

    def objects(self) -> Mapping[Key, ObjectRecord]:
        """Every desired object and those still being removed; live, read only."""
        return self._know.inventory.records

    def plan_now(self, manifest: Manifest | None = None) -> Plan:
        """What a pass over everything would do, for the manifests as submitted or for others."""
        return planner.plan(self.world_with(manifest), self._clock.now())

    def world_with(self, manifest: Manifest | None = None) -> World:
        """All that planning looks at, with the manifests as submitted or with others; not to be changed."""
        know, world = self._know, self._know.world
        if manifest is not None:
            know.observed.look()  # volumes that containers brought along, too
            trial = Inventory(lambda _key: None)
            trial.load(know.inventory.records)
            trial.submit(manifest, self.revision, self._clock.now())
            world = replace(world, desired=trial.desired, dependents=trial.dependents)
        for desired in world.desired.values():
            if isinstance(desired.spec, ContainerSpec | ImageSpec):
                know.observed.ask_image(desired.spec.image)
        return world

    def preview(self, manifest: Manifest | None = None) -> tuple[Action, ...]:
        """The actions of `plan_now`."""
        return self.plan_now(manifest).actions

    def on_disk_trouble(self, tell: Callable[[bool], None]) -> None:
        """Have `tell(needs_ballast)` called when a write to the disk may have failed."""
        self._know.on_disk_trouble = tell

    def on_settled(self, tell: Callable[[Key], None]) -> None:
        """Have `tell(key)` called when an object came to be as it is wanted."""
        self._know.on_settled = tell

    def on_verdict(self, tell: Callable[[Key], None]) -> None:
        """Have `tell(key)` called when an object stands otherwise than before, and once after a start."""
        self._know.on_verdict = tell

    def on_exit(self, tell: Callable[[Key, Exit], None]) -> None:
        """Have `tell(key, exit)` called for each end of a run, once, whoever ended it."""
        self._know.on_exit = tell

    def spec_of(self, key: Key) -> AnySpec | None:
        """What is wanted of an object, read; None for what is not wanted, or cannot be read."""
        desired = self._know.inventory.desired.get(key)
        return desired.spec if desired is not None else None

    def verdict_of(self, key: Key) -> Verdict | None:
        """What planning said last; another value after each look."""
        return self._know.verdicts.get(key)

    def is_at_work(self, key: Key) -> bool:
        """Whether something is being done for it right now: what is there of it may be half of it."""
        return self._know.queue.is_in_flight(key)

    def failure_of(self, key: Key) -> Failure | None:
        """The newest action on it that failed, and that nothing has made up for yet."""
        failures = self._know.memory_of(key).failures.values()
        return max(failures, key=lambda failure: failure.at, default=None)

    def health_of(self, key: Key, id: str) -> Health | None:
        """What the probes of a container's present run have shown: "starting" before the first has answered,
        None where nothing is asked."""
        know, desired = self._know, self._know.inventory.desired.get(key)
        if desired is None or not isinstance(desired.spec, ContainerSpec):
            return None
        if healthcheck_of(desired.spec, image_of(desired.spec, know.world)) is None:
            return None
        replica = next((r for r in know.actual_of(key).replicas if r.id == id), None)
        if replica is None:
            return None
        return health_of(know.memory_of(key), replica) or Health(id, replica.state.started_at)

    def image_of(self, key: Key) -> ImageInfo | None:
        """The image that an object's reference means now, as planning sees it."""
        desired = self._know.inventory.desired.get(key)
        spec = desired.spec if desired is not None else None
        if not isinstance(spec, ContainerSpec | ImageSpec):
            return None
        return self._know.observed.images.get(spec.image)

    def tell_news(self, key: Key, news: tuple[Condition, ...]) -> None:
        """Conditions of an object beside those that planning finds; () for none any more."""
        if self._know.news.get(key) != news and key in self._know.inventory.desired:
            self._know.news[key] = news
            self._know.publish(key)

    def note(self, key: Key, type: str, reason: str, message: str, told: tuple[Happening, ...] = ()) -> None:
        """An event of something that is no object of a manifest, or that the loop did not do."""
        self._know.event(key, type, reason, message, happenings=told, is_told_first=True)

    @property
    def journal(self) -> Journal:
        """What waits to be stored, to be looked at."""
        return self._know.journal

    async def flush(self) -> None:
        """Returns when what happened so far is stored: for who reads events from the store."""
        await self._know.journal.flush()

    async def wait_changed(self) -> None:
        """Returns at the next change of any status, generation seen, or of `is_ready`."""
        await self._know.feed.wait_changed()

    async def wait_within(self, seconds: float | None) -> None:
        """The same, and for so long at most. For who looks, and waits in the same turn."""
        await self._know.feed.wait_within(seconds)

    def next_change(self) -> asyncio.Future[None]:
        """The same as a future, to be taken before looking; shared, not to be cancelled."""
        return self._know.feed.next_change()

    def events(self) -> AsyncIterator[EventRecord]:
        """Events from now on; the oldest are dropped for a reader that lags by over a thousand."""
        return self._know.feed.follow()
