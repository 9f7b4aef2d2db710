"""Carries out a plan: stages side by side, each step from the cache or run, and kept as a layer.

    stage ─ thread ─ step: key ─ cached? ─ COPY: files into a mounted root     ─┐
                                         ─ RUN: asked of the engine's process   ├─> upper ─> layer ─> cache
                                         ─ WORKDIR: a directory                ─┘

Called by the build's process, once. Decides nothing about the plan; an error names the line it came from.
"""

from __future__ import annotations

import contextlib
import itertools
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.errors import Invalid, SetpointError
from runtime.images.build import paths
from runtime.images.build.asks import Asks
from runtime.images.build.bases import Bases
from runtime.images.build.cache import Cache, Cached
from runtime.images.build.copy import Copier
from runtime.images.build.downloads import Downloads
from runtime.images.build.keep import NO_ROOT, Keeper
from runtime.images.build.order import BuildOrder
from runtime.images.build.roots import Roots
from runtime.images.build.sources import Digests, SourceTree
from runtime.images.build.states import State, key_of
from runtime.images.build.step_mounts import Prepared, StepMounts
from runtime.images.build.stubs import remove_stubs
from runtime.images.build.transfer import Transfer, owner_in
from runtime.images.dockerfile.plan import BuildPlan, StagePlan
from runtime.images.dockerfile.steps import (
    BindMount,
    CacheMount,
    FromContext,
    FromImage,
    FromStage,
    Origin,
    PathSource,
    RunAction,
    Scratch,
    Step,
    TransferAction,
    WorkdirAction,
)

AT_ONCE = 4  # stages


@dataclass(frozen=True, slots=True)
class Places:
    """root: of the image store. directory: the build's own there. run: its own in memory. caches: the
    directories of cache mounts."""

    root: Path
    directory: Path
    run: Path
    caches: Path


@dataclass(slots=True)
class Solver:
    """One plan. named: directories beside the context. now: RFC 3339, the time of all that is made.
    now_ns: the same for files."""

    plan: BuildPlan
    order: BuildOrder
    places: Places
    roots: Roots
    cache: Cache
    keeper: Keeper
    bases: Bases
    context: SourceTree
    named: Mapping[str, SourceTree]
    asks: Asks
    downloads: Downloads
    name: str
    now: str
    now_ns: int
    _states: dict[int, Future[State]] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _mounts: StepMounts | None = None
    _given: dict[str, Digests] = field(default_factory=dict)  # the context is ""

    def run(self) -> State:
        """The state of the target. Raises the first error of any stage."""
        self._given = {name: Digests(tree) for name, tree in {"": self.context, **self.named}.items()}
        self._mounts = StepMounts(
            self.order, self.places.directory, self.places.run, self.places.caches, self.now_ns, self.asks.ask
        )  # fmt: skip
        pool = ThreadPoolExecutor(AT_ONCE, "stage")
        works: list[Future[None]] = []
        try:
            # In the plan's order: whatever a stage waits for was begun before it, so one of them can go on.
            self._states = {stage.index: Future() for stage in self.plan.stages}
            works = [pool.submit(self._stage, stage) for stage in self.plan.stages]
            done, _ = wait(works, return_when=FIRST_EXCEPTION)
            for work in done:
                work.result()
            return self._states[self.plan.stages[-1].index].result()
        except BaseException:
            # No thread may be at work in a directory, or below a mount, that is about to be removed.
            self._stopping.set()
            with contextlib.suppress(SetpointError):
                self.asks.ask("cancel")
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            pool.shutdown(wait=False)

    # --- a stage

    def _stage(self, stage: StagePlan) -> None:
        future = self._states[stage.index]
        try:
            state = self._begin(stage)
            for position, step in enumerate(stage.steps, 1):
                if self._stopping.is_set():
                    raise Invalid("build image", self.name, "another stage failed")
                state = self._told(stage, position, step, state)
        except BaseException as error:
            self._stopping.set()
            future.set_exception(error)
            raise
        future.set_result(state)

    def _begin(self, stage: StagePlan) -> State:
        match stage.base:
            case Scratch():
                return State(self._key("scratch"))
            case FromStage(index):
                return self._states[index].result()
            case FromImage():
                return self.bases.state(stage.base)

    def _told(self, stage: StagePlan, position: int, step: Step, state: State) -> State:
        """One step, with a word at its beginning and at its end."""
        number = next(self._numbers)
        self.asks.tell(
            kind="step", step=number, stage=stage.name or str(stage.index), position=position,
            count=len(stage.steps), line=step.place.first, text=step.place.text,
        )  # fmt: skip
        began = time.monotonic()
        try:
            after, how = self._step(number, stage, step, state)
        except SetpointError as error:
            self.asks.tell(kind="end", step=number, how="failed", seconds=time.monotonic() - began)
            raise self._placed(error, step) from error
        except OSError as error:
            self.asks.tell(kind="end", step=number, how="failed", seconds=time.monotonic() - began)
            found = Invalid("build image", str(error.filename or ""), str(error.strerror))
            raise self._placed(found, step) from error
        self.asks.tell(kind="end", step=number, how=how, seconds=time.monotonic() - began)
        return after

    def _key(self, kind: str, *parts: object) -> str:
        return key_of(kind, self.order.epoch, *parts)

    def _placed(self, error: SetpointError, step: Step) -> SetpointError:
        """With the line of the Dockerfile before it; one of another stage has its own."""
        if error.op == "build":
            return error
        place = f"{self.name}:{step.place.first}"
        subject = f"{place}: {step.keyword}"
        reason = f"{error.op} {error.subject}: {error.reason}" if error.subject else error.reason
        if error.op == "run":
            reason = error.reason
        error.op, error.subject, error.reason = "build", subject, reason
        error.args = (error.op, error.subject, error.reason, error.hint, *error.args[4:])
        return error

    # --- a step

    def _step(self, number: int, stage: StagePlan, step: Step, state: State) -> tuple[State, str]:
        action = step.action
        for index in step.needs:
            self._states[index].result()
        match action:
            case None:
                return self._with_history(state, step, None, ""), "config"
            case RunAction():
                return self._run(number, step, action, state)
            case TransferAction():
                return self._transfer(number, step, action, state)
            case WorkdirAction():
                return self._workdir(number, step, action, state)

    def _made(
        self, number: int, step: Step, state: State, key: str, make: Callable[[], Cached]
    ) -> tuple[State, str]:
        """From the cache, or made now."""
        cached = None if self.order.no_cache else self.keeper.get(key)
        how = "cached"
        if cached is None:
            cached, how = make(), "done"
        return self._with_history(state, step, cached, key), how

    def _with_history(self, state: State, step: Step, cached: Cached | None, key: str) -> State:
        layer = cached.layer if cached is not None else None
        entry: dict[str, Any] = {"created_by": step.history.created_by}
        if cached is not None and layer is not None:
            entry["created"] = cached.created
        else:
            entry["empty_layer"] = True  # its time is the image's (`result`)
        return replace(
            state,
            key=key or state.key,
            layers=(*state.layers, layer) if layer is not None else state.layers,
            history=(*state.history, entry),
        )

    def _keep(self, upper: Path, state: State, key: str, *, is_alone: bool = False) -> Cached:
        before = NO_ROOT if is_alone else self.roots.stack(state).root
        return self.keeper.keep(upper, before, key, created=self.now, epoch=self.order.epoch)

    # --- WORKDIR

    def _workdir(self, number: int, step: Step, action: WorkdirAction, state: State) -> tuple[State, str]:
        user = step.before.user
        key = self._key("workdir", state.key, action.path, user)

        def make() -> Cached:
            with self.roots.writable(state) as step_root:
                parts = paths.real_path(step_root.root, action.path)
                found = paths.status(step_root.root, parts)
                if found is None:
                    owner = _owner_of_user(step_root.root, user)
                    Copier(step_root.root, owner, None, self.now_ns).make_parents(parts)
                elif not stat.S_ISDIR(found.st_mode):
                    raise Invalid("make directory", action.path, "it is there, and is no directory")
                return self._keep(step_root.upper, state, key)

        return self._made(number, step, state, key, make)

    # --- COPY, ADD

    def _transfer(self, number: int, step: Step, action: TransferAction, state: State) -> tuple[State, str]:
        got = self.downloads.fetch(action)
        with contextlib.ExitStack() as stack:
            digests = self._digests(stack, action.origin) if _takes_paths(action) else None
            transfer = Transfer(
                action, digests, got, lambda: self.places.directory / f"archive-{next(self._numbers)}",
                self.now_ns,
            )  # fmt: skip
            parent = "link" if action.is_link else state.key
            described = self._described(action, transfer)
            key = self._key(
                "copy", parent, action.is_add, action.destination, action.is_directory, action.owner,
                action.mode, action.keeps_parents, list(action.exclude), action.unpack, described,
            )  # fmt: skip

            def make() -> Cached:
                with self.roots.writable(state, is_alone=action.is_link) as step_root:
                    owner = self._owner(action, state, step_root.root)
                    transfer.carry_out(step_root.root, owner)
                    return self._keep(step_root.upper, state, key, is_alone=action.is_link)

            return self._made(number, step, state, key, make)

    def _described(self, action: TransferAction, transfer: Transfer) -> object:
        """What it takes, in words. Of layers, that follows from their digests: it is looked at once."""
        state = self._origin_state(action.origin)
        if state is None or not _takes_paths(action):
            return transfer.describe()
        memo = key_of(
            "files", list(state.diff_ids), [_path_of(source) for source in action.sources],
            list(action.exclude), action.keeps_parents,
        )  # fmt: skip
        known = self.cache.get_value(memo)
        if known is None:
            known = key_of("described", transfer.describe())
            self.cache.put_value(memo, known)
        return known

    def _owner(self, action: TransferAction, state: State, root: int) -> tuple[int, int] | None:
        """By the users of the root; a layer of its own (--link) has none, so by those of what is below."""
        if not action.is_link or not action.owner:
            return owner_in(root, action.owner)
        with self.roots.view(state) as below:
            return owner_in(below, action.owner)

    # --- RUN

    def _run(self, number: int, step: Step, action: RunAction, state: State) -> tuple[State, str]:
        with contextlib.ExitStack() as stack:
            sources = self._mount_sources(stack, action)
            key = self._run_key(action, state, sources)

            def make() -> Cached:
                assert self._mounts is not None
                with self._mounts.ready(number, action.mounts, action.script, sources) as prepared:
                    return self._run_now(number, action, state, key, prepared)

            return self._made(number, step, state, key, make)

    def _mount_sources(self, stack: contextlib.ExitStack, action: RunAction) -> dict[int, Digests]:
        found: dict[int, Digests] = {}
        for place, mount in enumerate(action.mounts):
            is_from = isinstance(mount, BindMount) or (
                isinstance(mount, CacheMount) and not isinstance(mount.origin, Scratch)
            )
            if is_from:
                assert isinstance(mount, BindMount | CacheMount)
                found[place] = self._digests(stack, mount.origin)
        return found

    def _run_key(self, action: RunAction, state: State, sources: dict[int, Digests]) -> str:
        """Without proxies, secrets and what a cache mount holds: those leave nothing in the layer by rule."""
        mounts = []
        for place, mount in enumerate(action.mounts):
            content: object = None
            if isinstance(mount, BindMount):
                source = sources[place].source
                content = sources[place].digest(source.items(source.real(mount.source)))
            words = repr(mount)
            if isinstance(mount, BindMount | CacheMount):  # its content says more than where it is from
                words = repr(replace(mount, origin=Scratch()))
            mounts.append([words, content])
        script = [action.script.path, action.script.content] if action.script is not None else None
        return self._key(
            "run", state.key, list(action.argv), sorted(action.environment), action.working_dir,
            action.user, mounts, action.network, script,
            *([self.order.space] if self.order.space else []),
        )  # fmt: skip

    def _run_now(self, number: int, action: RunAction, state: State, key: str, prepared: Prepared) -> Cached:
        environment = dict(entry.partition("=")[::2] for entry in (*action.environment, *action.proxies))
        stack = self.roots.stack(state)
        ended = self.asks.ask(
            "run",
            step=number,
            argv=list(action.argv),
            environment=environment | prepared.environment,
            secrets=prepared.secrets,
            working_dir=action.working_dir,
            user=action.user,
            lower=list(stack.lower),
            root=list(stack.root),
            mounts=prepared.mounts,
            network=action.network,
        )
        try:
            if ended["exit_code"] != 0:
                reason = f"the command ended with exit code {ended['exit_code']}"
                if ended.get("oom_killed"):
                    reason = "the command was ended: it used too much memory"
                raise Invalid("run", "", reason, "its output is above")
            upper = Path(ended["upper"])
            if prepared.mounts:
                with self.roots.view(state) as below:
                    remove_stubs(upper, below, [mount["target"] for mount in prepared.mounts])
            return self._keep(upper, state, key)
        finally:
            self.asks.ask("forget", step=number)

    # --- where files come from

    def _origin_state(self, origin: Origin) -> State | None:
        """None for the context, and for directories beside it."""
        match origin:
            case FromStage(index):
                return self._states[index].result()
            case FromImage():
                return self.bases.state(origin)
            case FromContext():
                return None
            case Scratch():
                return State()

    def _digests(self, stack: contextlib.ExitStack, origin: Origin) -> Digests:
        if isinstance(origin, FromContext):
            return self._given[origin.name]
        state = self._origin_state(origin)
        assert state is not None
        name = origin.reference if isinstance(origin, FromImage) else "the stage"
        root = stack.enter_context(self.roots.view(state))
        return Digests(SourceTree(root, name, keeps_owner=True))


def _takes_paths(action: TransferAction) -> bool:
    return any(isinstance(source, PathSource) for source in action.sources)


def _path_of(source: object) -> Sequence[object]:
    if isinstance(source, PathSource):
        return [source.path, source.has_pattern, source.pivot]
    return [repr(source)]


def _owner_of_user(root: int, user: str) -> tuple[int, int]:
    """Of a new working directory: root's where the user in force is not known."""
    try:
        return owner_in(root, user.partition(":")[0] if user else "") or (0, 0)
    except SetpointError:
        return 0, 0
