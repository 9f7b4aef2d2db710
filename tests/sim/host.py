"""One simulated host: an engine without a kernel, a real store, and an agent that can be killed.

Virtual time: `run(seconds)` takes no time. A crash loses what the agent had in mind, keeps what the
store and the engine have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from agent.manifest.hashing import hashes
from agent.manifest.objects import Manifest, ManifestError, Object, Revision, Where
from agent.manifest.spec import AnySpec
from agent.policy.policy import OPEN
from agent.reconcile.loop import Loop, LoopSettings
from store.records import Key, StatusRecord
from store.store import Store
from tests.sim.fake_engine import FakeEngine
from tests.sim.virtual_time import VirtualClock, VirtualLoop

T = TypeVar("T")
SETTINGS = LoopSettings(store_in_thread=False)


class Bugs:
    """An observer that remembers what must not happen, and counts the rest."""

    def __init__(self) -> None:
        self.bugs: list[BaseException] = []
        self.actions: list[tuple[str, Key, str]] = []
        self.passes: list[tuple[str, int, int]] = []
        self.converged: list[tuple[str, float]] = []
        self.repairs: list[tuple[str, Key, str]] = []
        self.restarts: list[tuple[Key, str]] = []
        self.store_failures = 0

    def on_action(self, kind: str, key: Key, outcome: str, seconds: float) -> None:
        self.actions.append((kind, key, outcome))

    def on_pass(self, kind: str, keys: int, actions: int, seconds: float) -> None:
        self.passes.append((kind, keys, actions))

    def on_converged(self, revision: str, seconds: float) -> None:
        self.converged.append((revision, seconds))

    def on_drift_repair(self, kind: str, key: Key, outcome: str) -> None:
        self.repairs.append((kind, key, outcome))

    def on_restart(self, key: Key, reason: str) -> None:
        self.restarts.append((key, reason))

    def on_bug(self, key: Key | None, error: BaseException) -> None:
        self.bugs.append(error)

    def on_store_failure(self) -> None:
        self.store_failures += 1


class Host:
    def __init__(self, engine: type[FakeEngine] = FakeEngine, settings: LoopSettings = SETTINGS) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.clock = VirtualClock(self.runner.get_loop())
        self.engine = engine(self.clock.now)
        self.store = Store("sqlite://")
        self.observer = Bugs()
        self.settings = settings
        self.revisions = 0
        self.policy = OPEN
        self.loop: Loop
        self.agent: asyncio.Task[None]
        self.boot()

    # --- the agent ----------------------------------------------------------------------------

    def boot(self) -> None:
        """Start an agent on what is there. Its clock begins at what the wall clock says now."""
        self.engine.seen_by_another_clock(self.engine.clock_error)
        self.clock.error += self.engine.clock_error
        self.engine.clock_error = 0.0
        self.loop = Loop(
            self.engine, self.store, instance="sim", clock=self.clock, settings=self.settings,
            observer=self.observer,
        )  # fmt: skip

        async def start() -> None:
            await self.loop.start()
            self.agent = asyncio.get_running_loop().create_task(self.loop.run())

        self.do(start())

    def crash(self) -> None:
        """kill -9: nothing is written, nothing is finished."""

        async def kill() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.do(kill())

    def lose_database(self) -> None:
        self.store.close()
        self.store = Store("sqlite://")

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def run(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    def settle(self, seconds: float = 600.0) -> None:
        """Run until everything is ready, at most so long."""

        async def wait() -> None:
            end = self.clock.now() + seconds
            await asyncio.sleep(0.01)  # what was just done is heard of
            while not self.loop.is_ready() and self.clock.now() < end:
                await asyncio.sleep(0.05)

        self.do(wait())

    def close(self) -> None:
        self.crash()
        self.store.close()
        self.runner.close()

    def set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock, by so much; what goes on is not told."""
        self.engine.clock_error += seconds

    # --- manifests ----------------------------------------------------------------------------

    def submit(self, specs: Mapping[str, AnySpec], *, frozen: frozenset[str] = frozenset()) -> str:
        """specs: "shop/container/web" -> spec. frozen: files that cannot be read. Each project is a
        file. Returns the revision."""
        self.revisions += 1
        revision = f"r{self.revisions}"
        objects = {}
        for text, spec in specs.items():
            key = Key.parse(text)
            file = f"{key.project}/compose.yaml"
            if file not in frozen:
                whole, recreate = hashes(spec)
                objects[key] = Object(key, spec, Where(file, 1), whole, recreate)
        errors = tuple(ManifestError(Where(file), "a tab where none may be") for file in frozen)
        manifest = Manifest(objects, errors, frozen, policy=self.policy)

        async def hand_over() -> None:
            self.loop.submit(manifest, Revision(revision, "dir", {}))

        self.do(hand_over())
        return revision

    # --- what there is ------------------------------------------------------------------------

    def status(self, text: str) -> StatusRecord:
        return self.loop.statuses()[Key.parse(text)]

    def phases(self) -> dict[str, str]:
        return {str(key): status.phase for key, status in sorted(self.loop.statuses().items())}

    def running(self) -> dict[str, str]:
        return self.engine.running()

    def plan(self) -> str:
        async def look() -> str:
            return str(self.loop.plan_now())

        return self.do(look())
