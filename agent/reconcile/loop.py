"""The loop: takes desired state, looks at what is there, plans, applies, remembers. asyncio.

The daemon makes one `Loop`, hands it every revision (`submit`) and runs it; the API reads
`statuses()` and calls the operator's requests. All methods are for the event loop's thread.
An event only names a key to look at; what to do is decided by `plan` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.manifest.objects import Manifest, Object, Revision
from runtime.face import Engine
from store.records import Batch, EventRecord, Key, ObjectRecord, StatusRecord


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds that never jump while the agent lives (boot time with a wall-clock anchor)."""


class Remembers(Protocol):
    """What the loop needs of the store (`store.store.Store`). Called from a worker thread."""

    def load(self) -> tuple[Mapping[Key, ObjectRecord], Mapping[Key, StatusRecord]]: ...
    def write(self, batch: Batch) -> None: ...


class Observer(Protocol):
    """Told of what happens, for metrics. Must return at once and never raise."""

    def on_action(self, kind: str, key: Key, outcome: str, seconds: float) -> None: ...
    def on_pass(self, kind: str, keys: int, actions: int, seconds: float) -> None: ...
    def on_converged(self, revision: str, seconds: float) -> None: ...
    def on_drift_repair(self, kind: str, key: Key, outcome: str) -> None: ...
    def on_restart(self, key: Key, reason: str) -> None: ...
    def on_bug(self, key: Key | None, error: BaseException) -> None: ...


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times in seconds. full_pass: how often the kernel is read whole and drift looked for.
    write_delay: how long status changes may wait to be written together."""

    full_pass_seconds: float = 30.0
    write_delay_seconds: float = 0.1
    drift_look_seconds: float = 1.0  # at most one look for drift after network events in this time
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
    ) -> None: ...

    # --- life ---
    async def start(self) -> None:
        """Load the store, look at all that is there, wake every key. Called by run() if need be."""

    async def run(self) -> None:
        """Until stop() is called. Raises only for a bug in the loop itself."""

    async def stop(self) -> None:
        """Orderly: no new actions, those under way get a moment, everything is written. Containers
        are left as they are."""

    # --- desired state ---
    def submit(self, manifest: Manifest, revision: Revision) -> None:
        """The source's newest state, read whole. What is not in it any more, and is not frozen by an
        error in its file, is removed; what is the same by spec_hash costs nothing."""

    async def put(self, wanted: Object, owner: str = "api") -> None:
        """One object wanted by somebody else than the source (the Docker API). Returns when stored."""

    async def remove(self, key: Key) -> None:
        """One object of owner "api" no longer wanted. `NotFound`; `Conflict` when a manifest owns it."""

    # --- what operators ask; NotFound when there is no such object ---
    def wake(self, key: Key) -> None:
        """Look at this key now."""

    async def sync(self) -> None:
        """Look at everything now: a full pass, drift included. Returns when it was planned."""

    async def restart(self, key: Key) -> None:
        """Restart its containers (also ends Stalled and back-off). Returns when stored."""

    async def suspend(self, key: Key) -> None:
        """Leave it alone until `resume`, manifests or not. Returns when stored."""

    async def resume(self, key: Key) -> None: ...

    async def acknowledge_prune(self, revision: str) -> int:
        """Yes to the mass prune that `revision` asks for. Returns how many objects that frees;
        `Conflict` when another revision is the present one."""

    def image_changed(self, reference: str = "") -> None:
        """An image was loaded, tagged or removed: look again at who uses it ("" is any)."""

    # --- what there is to see ---
    @property
    def revision(self) -> str:
        """The id of the newest submitted revision, "" before the first."""
        return ""

    def is_ready(self) -> bool:
        """Everything desired is Ready and nothing is under way."""
        return False

    def statuses(self) -> Mapping[Key, StatusRecord]:
        """The newest status of every object; live, read only."""
        return {}

    def objects(self) -> Mapping[Key, ObjectRecord]:
        """Every desired object and those still being removed; live, read only."""
        return {}

    async def wait_changed(self) -> None:
        """Returns at the next change of any status."""

    def events(self) -> AsyncIterator[EventRecord]:
        """Events from now on; the oldest are dropped for a reader that lags by over a thousand."""
        raise NotImplementedError
