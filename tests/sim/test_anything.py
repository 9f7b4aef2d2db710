"""Anything may happen, in any order: edits, kills, failing calls, crashes between any two actions, lost
databases, reboots. Whatever did, the properties that hold from the first day hold:

- never two live containers for one replica (the engine notes it at the moment it happens);
- what is not ours is never touched;
- errors freeze and never delete;
- left alone, it comes to rest: an empty plan, and what is wanted is what runs.

The model is a dict of wanted specs, and no second planner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.manifest.spec import AnySpec, ContainerSpec, NetworkSpec, VolumeSpec
from runtime.errors import Conflict, NotFound, Temporary
from runtime.model import Drift, ExecResult
from store.records import Key
from tests.sim.fake_engine import BUSYBOX, FakeEngine
from tests.sim.host import Host

NAMES = ("a", "b", "c", "d", "e")
PROJECTS = ("shop", "lab")
FOREIGN = "f" * 64


class CrashingEngine(FakeEngine):
    """Stands still before or after the n-th operation from now on: the moment to kill the agent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.halt_before: int | None = None
        self.halt_after: int | None = None
        self.fail_at: dict[int, Exception] = {}
        self.half_at: dict[int, Exception] = {}
        self.count = 0
        self.is_halted = False
        self.is_registry_away = False
        self.fault = lambda op, subject: self.fail_at.pop(self.count, None)
        self.half = lambda op, subject: self.half_at.pop(self.count, None)

    async def _begin(self, op: str, subject: str) -> None:
        await self._maybe_halt(self.halt_before)
        self.count += 1
        await super()._begin(op, subject)

    async def _maybe_halt(self, at: int | None) -> None:
        if self.is_halted or (at is not None and self.count >= at):
            self.is_halted = True
            await asyncio.Event().wait()

    async def pull(
        self, reference: str, *, platform: str = "", project: str = "", only_newer: bool = False
    ) -> None:
        await super().pull(reference, platform=platform, project=project, only_newer=only_newer)
        asyncio.get_running_loop().call_later(0.2, self._end_pull, reference)

    def _end_pull(self, reference: str) -> None:
        state = self.pull_state(reference)
        if state is not None and state.error is None:
            self.pulled(reference, _AWAY if self.is_registry_away else self.images.get(reference, _OTHER))

    def heal(self) -> None:
        self.halt_before, self.is_halted = None, False
        self.is_registry_away = False
        self.fail_at.clear()
        self.half_at.clear()


def services(name: str) -> st.SearchStrategy[ContainerSpec]:
    """Specs of one service; it may depend on those before it in the alphabet."""
    before = NAMES[: NAMES.index(name)]
    dependency = st.fixed_dictionaries({"restart": st.booleans(), "required": st.booleans()})
    fields = {
        "image": st.sampled_from(["busybox:latest", "busybox:latest", "other:1"]),
        "command": st.sampled_from([None, ["v1"], ["v2"]]),
        "scale": st.sampled_from([1, 1, 1, 0, 2, 3]),
        "mem_limit": st.sampled_from([None, 1 << 20, 2 << 20]),
        "restart": st.sampled_from([{"policy": "always"}, {"policy": "unless-stopped"}, None]),
        "ensure": st.sampled_from(["running", "running", "running", "stopped", "absent"]),
        "mounts": st.sampled_from([[], [{"type": "volume", "source": "data", "target": "/data"}]]),
        "depends_on": st.dictionaries(st.sampled_from(before), dependency, max_size=2)
        if before
        else st.just({}),
        "healthcheck": st.sampled_from([None, None, {"test": ["CMD", "true"], "interval": 2}]),
        "network_mode": st.sampled_from(["", "", "", "host", "none", "bridge"]),
        "pull_policy": st.sampled_from(["", "", "never", "always", "if_newer", "daily"]),
    }
    return st.fixed_dictionaries(fields).map(
        lambda data: ContainerSpec.model_validate(
            {k: v for k, v in data.items() if v not in (None, [], {}, "")}
        )
    )


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.host = Host(CrashingEngine)
        self.engine: CrashingEngine = self.host.engine  # type: ignore[assignment]
        self.engine.foreign(FOREIGN)
        self.wanted: dict[str, AnySpec] = {}
        self.frozen: frozenset[str] = frozenset()

    @initialize()
    def begin(self) -> None:
        self.submit()

    def submit(self) -> None:
        networks = {f"{p}/network/default": NetworkSpec() for p in {t.split("/")[0] for t in self.wanted}}
        volumes = {
            f"{t.split('/')[0]}/volume/data": VolumeSpec(keep=False)
            for t, spec in self.wanted.items()
            if isinstance(spec, ContainerSpec) and spec.mounts
        }
        self.host.submit({**networks, **volumes, **self.wanted}, frozen=self.frozen)

    # --- people -------------------------------------------------------------------------------

    @rule(project=st.sampled_from(PROJECTS), data=st.data(), name=st.sampled_from(NAMES))
    def edit(self, project: str, data: st.DataObject, name: str) -> None:
        self.wanted[f"{project}/container/{name}"] = data.draw(services(name))
        self.submit()

    @rule(subnet=st.sampled_from(["", "10.77.0.0/16", "10.78.0.0/16"]), project=st.sampled_from(PROJECTS))
    def edit_network(self, subnet: str, project: str) -> None:
        self.wanted[f"{project}/network/default"] = NetworkSpec(subnet=subnet)
        self.submit()

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.wanted[data.draw(st.sampled_from(sorted(self.wanted)))]
        self.submit()

    @rule(project=st.sampled_from(PROJECTS))
    def break_file(self, project: str) -> None:
        self.frozen |= {f"{project}/compose.yaml"}
        before = set(self._of(project))
        self.submit()
        self.host.run(3)
        assert before <= set(self.host.loop.objects())
        assert not any(self.host.loop.objects()[key].deleting for key in self._wanted_keys(project))

    @rule()
    def mend_files(self) -> None:
        self.frozen = frozenset()
        self.submit()

    @rule(data=st.data())
    def operator(self, data: st.DataObject) -> None:
        keys = sorted(str(key) for key in self.host.loop.objects() if key.kind == "container")
        if not keys:
            return
        text = data.draw(st.sampled_from(keys))
        verb = data.draw(st.sampled_from(["restart", "suspend", "resume", "acknowledge", "sync"]))
        loop, key = self.host.loop, Key.parse(text)
        with contextlib.suppress(NotFound):  # its removal came first
            if verb == "acknowledge":
                self.host.do(loop.acknowledge_prune(loop.revision))
            elif verb == "sync":
                self.host.do(loop.sync())
            else:
                self.host.do(getattr(loop, verb)(key))

    @rule(data=st.data(), seconds=st.sampled_from([1.0, 30.0, 3600.0]))
    def override(self, data: st.DataObject, seconds: float) -> None:
        """Somebody takes a manifest's object into their own hands, and does something to its containers."""
        keys = sorted(str(k) for k, record in self.host.loop.objects().items() if record.owner == "git")
        keys = [text for text in keys if "/container/" in text]
        if not keys:
            return
        key = Key.parse(data.draw(st.sampled_from(keys)))
        verb = data.draw(st.sampled_from(["stop", "start", "pause", "resume"]))
        with contextlib.suppress(NotFound):  # its removal came first
            self.host.do(self.host.loop.override(key, seconds, f"test: {verb}"))
        for state in self.engine.list():
            if state.labels.get("setpoint.key") == str(key):
                more = (0,) if verb == "stop" else ()
                with contextlib.suppress(Conflict, NotFound, Temporary):
                    self.host.do(getattr(self.engine, verb)(state.id, *more))
                self.host.loop.look_at(state.id)

    # --- the world ----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.3, 2.0, 40.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.host.run(seconds)

    @rule(data=st.data(), code=st.sampled_from([137, 137, 143, 1]))
    def kill(self, data: st.DataObject, code: int) -> None:
        ours = sorted(id for id in self.host.running().values() if id != FOREIGN)
        if ours:
            self.engine.exit(data.draw(st.sampled_from(ours)), code)

    @rule(
        after=st.integers(1, 4),
        is_half=st.booleans(),
        error=st.sampled_from(
            [Temporary("do", "it", "not now"), Conflict("do", "it", "taken"), NotFound("do", "it", "gone")]
        ),
    )
    def fail(self, after: int, is_half: bool, error: Exception) -> None:
        where = self.engine.half_at if is_half else self.engine.fail_at
        where[self.engine.count + after] = error

    @rule(after=st.integers(0, 5), seconds=st.sampled_from([0.001, 0.05, 3.0, 40.0]))
    def crash(self, after: int, seconds: float) -> None:
        """kill -9 when `after` more operations are done, and one has begun."""
        self.engine.halt_before = self.engine.count + after
        self.host.run(seconds)
        self._reboot_agent()

    @rule(after=st.integers(0, 5))
    def crash_and_lose_the_database(self, after: int) -> None:
        self.engine.halt_before = self.engine.count + after
        self.host.run(1.0)
        self.host.crash()
        self.host.lose_database()
        self.engine.heal()
        self.host.boot()
        self.submit()

    @rule()
    def reboot_host(self) -> None:
        self.host.crash()
        self.engine.reboot()
        self.engine.foreign(FOREIGN)
        self._boot()

    def _reboot_agent(self) -> None:
        self.host.crash()
        self._boot()

    def _boot(self) -> None:
        self.engine.heal()
        self.host.boot()
        self.submit()

    @rule(is_there=st.booleans())
    def image(self, is_there: bool) -> None:
        if is_there:
            self.engine.images["other:1"] = _OTHER
        else:
            self.engine.images.pop("other:1", None)

    @rule(is_away=st.booleans())
    def registry(self, is_away: bool) -> None:
        self.engine.is_registry_away = is_away

    @rule(years=st.sampled_from([-10.0, -1.0, -1e-6, 1e-6, 1.0, 10.0]))
    def set_clock(self, years: float) -> None:
        self.host.set_clock(years * 365 * 86400)

    @rule(kind=st.sampled_from(["cgroup", "netns", "bridge", "firewall"]), data=st.data())
    def tamper(self, kind: str, data: st.DataObject) -> None:
        ours = sorted(id for id in self.host.running().values() if id != FOREIGN)
        names = sorted(network.name for network in self.engine.list_networks())
        subjects = {"bridge": names, "firewall": [""]}.get(kind, ours)
        if subjects:
            self.engine.tamper(Drift(kind, data.draw(st.sampled_from(subjects)), "is otherwise"))

    @rule(is_well=st.booleans())
    def health(self, is_well: bool) -> None:
        self.engine.exec_result = lambda id, argv: ExecResult(0 if is_well else 1, b"")

    # --- what holds always --------------------------------------------------------------------

    @invariant()
    def never_two_for_one(self) -> None:
        assert self.engine.violations == []

    @invariant()
    def what_is_not_ours_is_not_touched(self) -> None:
        state = self.engine.state(FOREIGN)
        assert state is not None and state.phase == "running"

    @invariant()
    def no_bugs(self) -> None:
        assert self.host.observer.bugs == []
        assert not self.host.agent.done()

    # --- what holds in the end ----------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.what_is_wanted_is_what_runs()
            self.take_all_away()
        finally:
            self.host.close()

    def come_to_rest(self) -> None:
        self.engine.heal()
        self.engine.images["other:1"] = _OTHER
        self.engine.exec_result = lambda id, argv: ExecResult(0, b"")
        self.frozen = frozenset()
        self.submit()
        self._for_all(self.host.loop.resume)
        self._for_all(self.host.loop.restart)
        self.host.do(self.host.loop.acknowledge_prune(self.host.loop.revision))
        self.host.settle(400)
        self.host.run(70)
        self.no_bugs()
        assert self.host.plan() == "", self.host.phases()
        assert self.host.loop.remembered_count() == 0
        self.never_two_for_one()
        calls = len(self.engine.calls)
        self.host.run(100)
        assert [c for c in self.engine.calls[calls:] if c[0] not in ("exec", "pull")] == []

    def _for_all(self, ask: Callable[[Key], object]) -> None:
        for key in list(self.host.loop.objects()):
            with contextlib.suppress(NotFound):  # its removal came first
                self.host.do(ask(key))  # type: ignore[arg-type]

    def what_is_wanted_is_what_runs(self) -> None:
        running: dict[str, int] = {}
        for state in self.engine.list():
            key = state.labels.get("setpoint.key", "")
            if state.phase == "running" and key and not key.startswith("@api/"):
                running[key] = running.get(key, 0) + 1
        for text, spec in self.wanted.items():
            if not isinstance(spec, ContainerSpec):
                continue
            count = running.pop(text, 0)
            wanted = spec.scale if spec.ensure == "running" else 0
            # A version from before may go on while a dependency holds back the new one.
            assert count == wanted or not self._can_start(text), (text, self.host.phases())
        assert running == {}

    def _can_start(self, text: str) -> bool:
        """Nothing that is missing, or never will run, holds it back."""
        project, spec = text.split("/")[0], self.wanted.get(text)
        if not isinstance(spec, ContainerSpec):
            return False
        if spec.ensure != "running":
            return True
        for name, dependency in spec.depends_on.items():
            other = self.wanted.get(f"{project}/container/{name}")
            if other is None and not dependency.required:
                continue
            if not isinstance(other, ContainerSpec) or other.ensure != "running" or not other.scale:
                return False
            if not self._can_start(f"{project}/container/{name}"):
                return False
        return True

    def take_all_away(self) -> None:
        self.wanted.clear()
        self.submit()
        self.host.do(self.host.loop.acknowledge_prune(self.host.loop.revision))
        self.host.settle(400)
        assert self.host.loop.objects() == {}, self.host.phases()
        assert [state.id for state in self.engine.list()] == [FOREIGN]
        assert self.engine.list_networks() == () and self.engine.list_sandboxes() == ()

    def _of(self, project: str) -> list[Key]:
        return [
            key
            for key, record in self.host.loop.objects().items()
            if key.project == project and not record.deleting
        ]

    def _wanted_keys(self, project: str) -> list[Key]:
        keys = [Key.parse(text) for text in self.wanted if text.startswith(f"{project}/container")]
        return [key for key in keys if key in self.host.loop.objects()]


_OTHER = replace(BUSYBOX, id="sha256:" + "c" * 64, names=("other:1",))
_AWAY = Temporary("ask registry", "registry.example", "connection refused", "", retry_after_seconds=5)

# Making a failing example small takes minutes: only when somebody looks for it.
PHASES = (Phase.reuse, Phase.generate, *((Phase.shrink,) if os.environ.get("SETPOINT_SIM_SHRINK") else ()))
EXAMPLES = int(os.environ.get("SETPOINT_SIM_EXAMPLES", "60"))
Anything.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestAnything = Anything.TestCase
