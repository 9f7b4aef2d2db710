"""Sets off what was planned, a task a key, and keeps what came of it. Decides nothing.

Called by `loop`. Each outcome is kept at once, so that a stop between two actions loses nothing; after
the last one the key is read again and looked at anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace

from agent.first_step import begun, eager
from agent.manifest.spec import ContainerSpec
from agent.reconcile import account, handing_over, happenings, repairs
from agent.reconcile import actions as do
from agent.reconcile.actions import Action, KeyPlan
from agent.reconcile.apply import Outcome, apply
from agent.reconcile.knowledge import Knowledge
from agent.reconcile.policy import Exit
from agent.reconcile.removal import token_of, way_to_stop
from agent.reconcile.world import DEFAULT_BRIDGE, Desired
from runtime.errors import SetpointError
from runtime.face import Engine
from runtime.signals import own_stop_signal
from store.records import Happening, Key

log = logging.getLogger(__name__)

BUG_RETRY_SECONDS = 60.0
STARTS_A_ROUND = 8
AT_ONCE = frozenset({do.CreateVolume, do.DeleteVolume, do.ForgetObject, do.RenameContainer})
# Those, and what mostly waits for nothing.
SHORT = AT_ONCE | {do.CreateContainer, do.DeleteContainer, do.DeleteSandbox}
NETWORK_ACTIONS = frozenset({do.CreateNetwork, do.DeleteNetwork})
ENDING_ACTIONS = frozenset({do.StopContainer, do.DeleteContainer})
REMOVALS = frozenset(
    {do.StopContainer, do.DeleteContainer, do.DeleteSandbox, do.DeleteNetwork, do.DeleteVolume}
)


class Applying:
    def __init__(self, engine: Engine, knowledge: Knowledge) -> None:
        self._engine = engine
        self._know = knowledge
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[KeyPlan] = deque()
        self._begun_in_round = 0

    def is_short(self, found: KeyPlan) -> bool:
        """Whether it is done when `start` returns, unless it has to wait."""
        return bool(found.actions) and SHORT.issuperset(map(type, found.actions))

    def start(self, found: KeyPlan) -> None:
        """Carry out a key's actions; the key is in flight until they are done."""
        self._know.queue.begin(found.key)
        if AT_ONCE.issuperset(map(type, found.actions)):
            self._keep(begun(self._run(found)))
        elif self._begun_in_round < STARTS_A_ROUND:
            self._begin(found)
        else:
            self._waiting.append(found)

    def _begin(self, found: KeyPlan) -> None:
        """A few a round of the event loop: what the first of a hundred set off (links, processes) goes on
        while the last are being created, and the supervisor has work from the start."""
        if not self._begun_in_round:
            asyncio.get_running_loop().call_soon(self._next_round)
        self._begun_in_round += 1
        self._keep(eager(self._run(found)))

    def _next_round(self) -> None:
        self._begun_in_round = 0
        for _ in range(min(STARTS_A_ROUND, len(self._waiting))):
            self._begin(self._waiting.popleft())

    def _keep(self, task: asyncio.Task[None] | None) -> None:
        if task is not None and not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self, seconds: float) -> None:
        """Let what is under way end, for at most so long; then it is found half-done, and finished, by
        the next agent."""
        self._waiting.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, found: KeyPlan) -> None:
        key, know, is_bug = found.key, self._know, False
        try:
            outcomes = await apply(self._engine, know.sockets, found.actions, self._after_action)
            self._after_lanes(outcomes)
            self._look_again(found)
        except Exception as error:  # a bug of ours must not keep a key in flight for ever
            know.bug(key, error, f"applying the plan of {key} failed")
            know.queue.add(key, know.clock.now() + BUG_RETRY_SECONDS)
            is_bug = True
        finally:
            know.queue.done(key)
        know.feed.changed()  # nothing may be under way now: who waits for that hears of it, and then we look
        if not is_bug:
            know.wake(key)
        know.wake_waiters(key)

    def hasten(self, key: Key) -> None:
        """Something else is wanted of a key: a stop of it that is under way goes by it, if that is sooner."""
        desired = self._know.inventory.desired.get(key)
        if desired is None or not self._know.queue.is_in_flight(key):
            return
        for replica in self._know.actual_of(key).replicas:
            if replica.is_live:
                self._keep(asyncio.get_running_loop().create_task(self._hasten(desired, replica.id)))

    async def _hasten(self, desired: Desired, id: str) -> None:
        try:
            await self._engine.hasten(id, *way_to_stop(desired.spec))
        except SetpointError as error:  # it takes the time it had
            log.warning("a stop could not be hastened: %s", error)

    # --- one outcome --------------------------------------------------------------------------

    def _after_action(self, outcome: Outcome) -> None:
        action, error, know = outcome.action, outcome.error, self._know
        kind = account.kind_of(error) if error else "ok"
        know.observer.on_action(action.kind, action.key, kind, outcome.seconds)
        if error is not None:
            self._after_failure(action, error)
            return
        words = str(action)
        log.info("%s", words)
        know.remember(action.key, account.after_action(know.memory_of(action.key), action, know.clock.now()))
        self._tell(action, words)
        self._follow_up(action)

    def _tell(self, action: Action, words: str) -> None:
        """An event for what was done; for what does not stay repaired ever fewer, with their number."""
        know, note = self._know, ""
        if isinstance(action, do.RepairDrift):
            repair = know.memory_of(action.key).repairs[repairs.name_of(action.drift)]
            if not repairs.is_told(repair):
                return
            note = repairs.flapping(repair)
        if note:
            know.event(action.key, "Warning", "DriftReturns", f"{words}; {note}", action.cause)
        else:
            told = self._happenings(action)
            # A stop is an exit, which an agent that does not remember it would find, and tell of, again.
            is_first = not isinstance(action, do.StopContainer)
            know.event(action.key, "Normal", action.done, words, action.cause, told, is_told_first=is_first)

    def _happenings(self, action: Action) -> tuple[Happening, ...]:
        if action.key == DEFAULT_BRIDGE:  # it comes and goes with its users, and to them is always there
            return ()
        id = _container_of(action)
        now = self._engine.state(id) if id else None
        subject = self._know.subject(action.key, id, now) if id else None
        if isinstance(action, do.StopContainer) and now is not None:
            action = replace(action, signal=own_stop_signal(action.signal, self._engine.image(now.image)))
        return happenings.of_action(action, subject, now, self._know.image_name(action.key))

    def _follow_up(self, action: Action) -> None:
        know = self._know
        match action:
            case do.StartContainer():
                know.observed.mend(action.key, action.id)
                if action.sandbox:
                    know.observed.add_sandbox(action.sandbox, action.key, action.networks)
                if action.is_restart:
                    know.observer.on_restart(action.key, action.cause.seen)
            case do.StopContainer():
                self._tell_end(action)
            case do.AdoptContainer():
                self._after_adoption(action)
            case do.PullImage() | do.BuildImage():
                know.observed.look_at_pull(action.reference, know.clock.now())
            case do.AskSignatures():
                know.observed.look_at_signatures(action.reference, know.clock.now(), action.digests)
            case do.ConnectNetwork():
                know.observed.change_networks(action.id, action.endpoint.network, is_on=True)
            case do.DeleteContainer():
                know.told_exits.pop(action.id, None)
            case do.DisconnectNetwork():
                know.observed.change_networks(action.id, action.network, is_on=False)
            case do.DeleteSandbox():
                know.observed.drop_sandbox(action.sandbox)
            case do.RepairDrift():
                know.observed.drop_drift(action.key, action.drift)
                know.observer.on_drift_repair(action.drift.kind, action.key, "ok")

    def _tell_end(self, action: do.StopContainer) -> None:
        """An end that we made is remembered as such, and no look finds it new: who waits hears of it here."""
        know, state = self._know, self._engine.state(action.id)
        if state is None or know.told_exits.get(action.id, ()) == (action.started_at,):
            return
        know.told_exits[action.id] = (action.started_at,)
        ended = Exit(
            action.index, action.id, action.started_at, know.clock.now(), state.exit_code, by=action.by
        )
        know.on_exit(action.key, ended)

    def _after_adoption(self, action: do.AdoptContainer) -> None:
        """What is known of its past goes with it; its former key sees that it has nothing left."""
        key, know = action.key, self._know
        know.remember(key, handing_over.inherited(know.memory_of(key), know.memory_of(action.former)))
        know.observed.look_at(action.id)
        know.observed.look_at_sandboxes()
        know.wake(action.former)

    def _after_failure(self, action: Action, error: Exception) -> None:
        key, know = action.key, self._know
        kind = account.kind_of(error)
        if kind == "bug":
            know.bug(key, error, f"{action} failed")
        elif kind == "temporary":  # it may have been the disk
            know.on_disk_trouble(type(action) in REMOVALS)
        if isinstance(action, do.RepairDrift):
            self._after_failed_repair(action, error)
            return
        desired = know.inventory.desired.get(key)
        if desired is None:
            return
        spec = desired.spec
        image = know.observed.images.get(spec.image) if isinstance(spec, ContainerSpec) else None
        before = know.memory_of(key)
        memory, failure = account.after_failure(
            before, action, error, token_of(desired, image), know.clock.now()
        )
        know.remember(key, memory)
        last = before.failures.get(str(action.index))
        if last is None or last.message != failure.message:  # said once, not at every retry
            log.warning("%s", failure.message)
            know.event(key, "Warning", f"{action.kind}Failed", failure.message, action.cause)

    def _after_failed_repair(self, action: do.RepairDrift, error: Exception) -> None:
        """Temporary: only a restart would help (`Engine.repair`). Else it is found again if still so."""
        key, kind, know = action.key, account.kind_of(error), self._know
        know.observed.drop_drift(key, action.drift)
        if kind == "temporary":
            know.observed.mark_broken(key, action.index, account.message_of(error))
        know.observer.on_drift_repair(action.drift.kind, key, kind)
        memory = account.after_action(know.memory_of(key), action, know.clock.now())
        know.remember(key, memory)
        if kind != "missing" and repairs.is_told(memory.repairs[repairs.name_of(action.drift)]):
            know.event(key, "Warning", "RepairFailed", account.message_of(error), action.cause)

    # --- all of them --------------------------------------------------------------------------

    def _after_lanes(self, outcomes: tuple[Outcome, ...]) -> None:
        failed = {outcome.action.index for outcome in outcomes if outcome.error is not None}
        for outcome in outcomes:
            key, index = outcome.action.key, outcome.action.index
            if index not in failed:
                self._know.remember(key, account.after_lane(self._know.memory_of(key), index))
            is_forgotten = isinstance(outcome.action, do.ForgetObject) and outcome.error is None
            if is_forgotten and self._is_let_go(key):  # else it is wanted again since
                self._know.forget(key)

    def _is_let_go(self, key: Key) -> bool:
        """Nobody wants it any more, or another has all that it had."""
        desired = self._know.inventory.desired.get(key)
        if desired is None or desired.deleting:
            return desired is not None
        return handing_over.heir_of(desired, self._know.world) is not None

    def _look_again(self, found: KeyPlan) -> None:
        """Read again what was touched, and wake those for whom it matters which container runs."""
        observed, ids, kinds = self._know.observed, set[str](), set[type[Action]]()
        for action in found.actions:
            kinds.add(type(action))
            if (id := _container_of(action)) and id not in ids:
                ids.add(id)
                observed.look_at(id)
            if name := _volume_of(action):
                observed.look_at_volume(name)
        if not kinds.isdisjoint(NETWORK_ACTIONS):
            observed.look_at_networks()
        if not kinds.isdisjoint(ENDING_ACTIONS):
            self._know.wake_dependents(found.key)


def _volume_of(action: Action) -> str:
    if isinstance(action, do.CreateVolume):
        return action.config.name
    return action.name if isinstance(action, do.DeleteVolume) else ""


def _container_of(action: Action) -> str:
    if isinstance(action, do.CreateContainer):
        return action.config.id
    return getattr(action, "id", "")
