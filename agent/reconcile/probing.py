"""The schedule of health probes: which container is asked when. Answers go to the loop.

Called by `loop`: `schedule` after each planning of a key, `start_due` in each pass. What an answer
means is in `policy`, how to ask in `probes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.manifest.spec import ContainerSpec, Healthcheck
from agent.reconcile.exits import health_of
from agent.reconcile.health import healthcheck_of
from agent.reconcile.memory import Memory
from agent.reconcile.policy import Health, after_probe, next_probe_at
from agent.reconcile.probes import ask
from agent.reconcile.queue import KeyedQueue
from agent.reconcile.world import Actual, Replica
from runtime.face import Engine
from runtime.model import ImageInfo
from store.records import Key


@dataclass(frozen=True, slots=True)
class Target:
    """One run of one container that is being asked."""

    key: Key
    replica: Replica
    check: Healthcheck


class Probing:
    """on_answer(key, container, health, is_turn): what a probe showed; is_turn when it is another status."""

    def __init__(
        self,
        engine: Engine,
        at_once: int,
        now: Callable[[], float],
        on_answer: Callable[[Key, str, Health, bool], None],
    ) -> None:
        self._engine = engine
        self._at_once = at_once
        self._now = now
        self._on_answer = on_answer
        self._queue: KeyedQueue[str] = KeyedQueue()
        self._targets: dict[str, Target] = {}
        self._by_key: dict[Key, set[str]] = {}
        self._healths: dict[str, Health] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(
        self,
        key: Key,
        spec: ContainerSpec,
        image: ImageInfo | None,
        actual: Actual,
        memory: Memory,
        now: float,
    ) -> Memory:
        """See to it that each running replica is asked; the memory with a health for each of them."""
        check = healthcheck_of(spec, image)
        running = [r for r in actual.replicas if r.state.phase == "running"] if check else []
        self._drop(key, {replica.id for replica in running})
        if check is None or not running:
            return memory
        for replica in running:
            health = health_of(memory, replica)
            if health is None:
                began_at = replica.state.began_at
                health = Health(replica.id, replica.state.started_at, since=now, began_at=began_at)
                memory = replace(memory, health={**memory.health, replica.id: health})
            self._targets[replica.id] = Target(key, replica, check)
            self._healths[replica.id] = health
            self._by_key.setdefault(key, set()).add(replica.id)
            if not self._queue.is_in_flight(replica.id):
                self._queue.add(replica.id, next_probe_at(check, health, now))
        return memory

    def _drop(self, key: Key, keep: set[str]) -> None:
        ids = self._by_key.get(key)
        if ids is None:
            return
        for id in ids - keep:
            del self._targets[id], self._healths[id]
            self._queue.discard(id)
        self._by_key[key] = ids & keep
        if not self._by_key[key]:
            del self._by_key[key]

    def next_at(self) -> float | None:
        if self._queue.in_flight_count >= self._at_once:
            return None
        return self._queue.next_at()

    def start_due(self, now: float) -> None:
        """Ask those whose time has come, a bounded number at a time."""
        for id in self._queue.take(now, self._at_once - self._queue.in_flight_count):
            target = self._targets.get(id)
            if target is None:
                continue
            self._queue.begin(id)
            task = asyncio.get_running_loop().create_task(self._ask(target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, target: Target) -> None:
        id = target.replica.id
        try:
            answer = await ask(self._engine, target.replica.state, target.check)
        finally:
            self._queue.done(id)
        present = self._targets.get(id)
        if present is None or present.replica.state.started_at != target.replica.state.started_at:
            return  # it was stopped or replaced meanwhile
        now, health = self._now(), self._healths[id]
        new = after_probe(present.check, health, is_ok=answer.is_ok, output=answer.output, now=now)
        self._healths[id] = new
        self._queue.add(id, next_probe_at(present.check, new, now))
        self._on_answer(target.key, id, new, new.status != health.status)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
