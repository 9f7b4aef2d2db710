"""Keeps the agent's picture of the kernel true: the engine's events at once, a whole look now and then,
a look for drift where something stirred. Wakes keys, decides nothing. Called by `loop`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection
from dataclasses import replace

from agent.manifest.spec import ContainerSpec, ImageSpec
from agent.reconcile.happenings import of_pull
from agent.reconcile.knowledge import Knowledge
from agent.reconcile.refresh import after_pull, is_refreshed
from agent.reconcile.slices import Slices
from agent.reconcile.world import HOST
from runtime.face import Engine
from runtime.model import EngineEvent
from store.records import Key

FIRST_LOOK_SECONDS = 1.0
EVENTS_AGAIN_SECONDS = 1.0
SLOW_PASS = "slow pass"


class Watching:
    def __init__(self, engine: Engine, knowledge: Knowledge) -> None:
        self._engine = engine
        self._know = knowledge
        self._whole_at = 0.0
        self._drift_at: float | None = None
        self._last_drift_at = 0.0
        self._hinted: dict[str, str] = {}  # subject -> what stirred
        self._slices = Slices()
        self._look: asyncio.Task[None] | None = None
        self._is_settled = False  # the first look is at everything, and so is one after lost events

    def start(self) -> None:
        """The first whole look comes soon, since nobody sees what happens before the events are
        followed."""
        self._whole_at = self._know.clock.now() + FIRST_LOOK_SECONDS

    def stop(self) -> None:
        if self._look is not None:
            self._look.cancel()

    def next_at(self) -> float:
        """Never, while a look is under way: its end wakes the loop."""
        if self._look is not None and not self._look.done():
            return math.inf
        return self._whole_at if self._drift_at is None else min(self._whole_at, self._drift_at)

    def start_due(self, now: float) -> None:
        """Set off a whole look, or one for drift, when it is due and none is under way."""
        if self._look is not None and not self._look.done():
            return
        if now >= self._whole_at:
            look = self.look_whole(in_turns=self._is_settled)
            self._is_settled = True
        elif self._drift_at is not None and now >= self._drift_at:
            look = self._look_at_hinted()
        else:
            return
        self._look = asyncio.get_running_loop().create_task(look)
        self._look.add_done_callback(lambda _look: self._know.wakeup.set())

    # --- events -------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async for event in self._engine.events():
                    self._on_event(event)
            except Exception as error:
                self._know.bug(None, error, "following the engine's events failed")
            await asyncio.sleep(EVENTS_AGAIN_SECONDS)
            self._look_soon()  # some may have been missed

    def _on_event(self, event: EngineEvent) -> None:
        if event.kind in ("exit", "oom", "start", "warning", "denied"):
            key = self._know.observed.look_at(event.id)
            if key is not None:
                self._tell(key, event)
                self._know.wake(key)
        elif event.kind == "image":
            self._on_pull_end(event.id)
        elif event.kind == "signatures":
            self._on_signatures_end(event.id)
        elif event.kind == "drift":
            self._hint(event.id, event.detail)
        elif event.kind == "repaired":
            self.tell_repaired("socket", event.detail)
        else:  # the supervisor restarted, or events were lost
            self._look_soon()

    def _tell(self, key: Key, event: EngineEvent) -> None:
        """What a person has to hear of though the container runs on, and nothing is done about it."""
        if event.kind == "oom" and event.detail:
            subject = self._know.subject(key, event.id)
            told = (subject.happening("oom"),) if subject is not None else ()
            words = f"{event.detail}; the container runs on"
            self._know.event(key, "Warning", "OutOfMemory", words, happenings=told)
        elif event.kind == "warning":
            self._know.event(key, "Warning", "NotAllowedHere", event.detail)
        elif event.kind == "denied":
            self._know.event(key, "Warning", "SyscallDenied", event.detail)

    def _on_pull_end(self, reference: str) -> None:
        """Tell those who wait for the image, and have them looked at."""
        know = self._know
        now = know.clock.now()
        failed = know.observed.look_at_pull(reference, now)
        is_other = bool(know.observed.ask_images_again(reference))
        is_told = False
        for key, desired in know.inventory.desired.items():
            if not isinstance(desired.spec, ContainerSpec | ImageSpec) or desired.spec.image != reference:
                continue
            memory = know.memory_of(key)
            last = memory.refreshed
            is_asked = isinstance(desired.spec, ContainerSpec) and is_refreshed(desired.spec)
            message = failed.message if failed is not None else ""
            is_built = getattr(desired.spec, "build", None) is not None
            if is_asked and (failed is None or message):
                know.remember(
                    key, replace(memory, refreshed=after_pull(last, desired, reference, message, now))
                )  # fmt: skip
            if failed is None and (is_other or not is_asked):
                told = () if is_built or is_told else (of_pull(reference),)
                is_told = True  # once, however many wait for it
                reason = "ImageBuilt" if is_built else "ImagePulled"
                know.event(key, "Normal", reason, f"{reference} is here", happenings=told)
            elif message and not (is_asked and last is not None and last.failed == message):
                know.event(key, "Warning", "BuildFailed" if is_built else "PullFailed", message)
            know.wake(key)

    def _on_signatures_end(self, reference: str) -> None:
        """The same for signatures of one that is here: those that came may let it run, by whichever of its
        names it is wanted."""
        know, observed = self._know, self._know.observed
        before = observed.signatures.get(reference)
        pull = observed.look_at_signatures(reference, know.clock.now()).pull if before is not None else None
        failed = pull.message if pull is not None else ""
        is_told = before is not None and before.pull is not None and before.pull.message == failed
        changed = observed.ask_images_again()
        for key, desired in know.inventory.desired.items():
            image = desired.spec.image if isinstance(desired.spec, ContainerSpec) else ""
            if image in changed:
                know.event(key, "Normal", "SignaturesCame", f"signatures of {image} are here")
            if failed and not is_told and image == reference:
                know.event(key, "Warning", "SignaturesFailed", failed)
            if image == reference or image in changed:
                know.wake(key)

    def _look_soon(self) -> None:
        self._is_settled = False
        self._whole_at = self._know.clock.now()
        self._know.wakeup.set()

    def tell_repaired(self, kind: str, what: str) -> None:
        """Somebody put a thing of the host's back who can do it alone."""
        self._know.event(HOST, "Normal", "DriftRepaired", what)
        self._know.observer.on_drift_repair(kind, HOST, "ok")

    def _hint(self, subject: str, what: str) -> None:
        """At once after a quiet time, and not more often than the settings say."""
        self._hinted.setdefault(subject, what)
        at = max(self._know.clock.now(), self._last_drift_at + self._know.settings.drift_look_seconds)
        if self._drift_at is None or at < self._drift_at:
            self._drift_at = at
            self._know.wakeup.set()

    # --- looks --------------------------------------------------------------------------------

    async def look_whole(self, *, in_turns: bool = False) -> None:
        """Read everything, and wake the keys for which something is otherwise than was known. in_turns:
        for drift, of many only as many as the slow pass may take its time for."""
        know, started = self._know, time.perf_counter()
        self._whole_at = know.clock.now() + know.settings.full_pass_seconds
        changed: set[Key] = set()
        try:
            changed = know.observed.look()
            for key in sorted(changed):
                know.wake(key)
            self.ask_images_again()
            if know.revisions.current:
                know.adopt_orphans()
            await (self._look_at_slice() if in_turns else self._look_for_drift())
        except Exception as error:
            know.bug(None, error, "the whole look failed")
        know.observer.on_pass("full", len(changed), 0, time.perf_counter() - started)

    def ask_images_again(self, reference: str = "") -> None:
        """Wake those whose reference names another image now, or one at last."""
        changed = self._know.observed.ask_images_again(reference)
        if not changed:
            return
        for key, desired in self._know.inventory.desired.items():
            if isinstance(desired.spec, ContainerSpec | ImageSpec) and desired.spec.image in changed:
                self._know.wake(key)

    async def _look_at_hinted(self) -> None:
        hinted, self._hinted = self._hinted, {}
        await self._look_for_drift(hinted)

    async def _look_at_slice(self) -> None:
        """As many as fit into the slow pass's share, in turns; what stirred was looked at before."""
        subjects = self._slices.next(self._know.observed.subjects())
        started = time.perf_counter()
        await self._look_for_drift(subjects)
        self._slices.took(len(subjects), time.perf_counter() - started, self._know.settings.full_pass_seconds)

    async def _look_for_drift(self, subjects: Collection[str] | None = None) -> None:
        """Findings of keys that were worked on meanwhile may be out of date: those are looked at again."""
        know = self._know
        self._drift_at = None
        self._last_drift_at = know.clock.now()
        busy = know.queue.in_flight()
        try:
            drifts = await self._engine.find_drift(subjects)
            noticed = subjects if isinstance(subjects, dict) else {}
            drifts = tuple(replace(d, noticed=noticed.get(d.subject) or SLOW_PASS) for d in drifts)
        except Exception as error:
            know.bug(None, error, "looking for drift failed")
            return
        busy |= know.queue.in_flight()
        keys, outdated = know.observed.set_drifts(drifts, busy.__contains__, subjects)
        for key in sorted(keys):
            know.wake(key)
        for subject in outdated:
            self._hint(subject, noticed.get(subject, SLOW_PASS))
        for subject, what in list(self._hinted.items())[:1]:  # more was told while we looked
            self._hint(subject, what)
