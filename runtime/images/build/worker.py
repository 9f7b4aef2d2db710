"""One build, in a process of its own: reads an order from its stdin, and says on stdout what becomes of it.

    python -m runtime.images.build.worker INSTANCE DATA_ROOT RUN_ROOT        (see `asks` for the lines)

Started by `runtime.builds`, as root. Bounded in memory, in its own mount namespace, and killed with its
parent: what it had staged goes with the next load, what it ran is ended by who ran it.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from runtime import worker_bounds
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.build.asks import Asks, error_to, start_listening
from runtime.images.build.bases import Bases, check_platform
from runtime.images.build.cache import Cache
from runtime.images.build.context import (
    DOCKERFILE,
    Context,
    open_context,
    open_named,
    read_dockerfile_of,
    read_ignore_of,
    read_own_ignore,
)
from runtime.images.build.context_paths import context_paths, named_contexts
from runtime.images.build.downloads import Downloads
from runtime.images.build.exchange import export_document
from runtime.images.build.image_document import write_config
from runtime.images.build.keep import Keeper, check_config
from runtime.images.build.order import LOCK, BuildOrder, from_json
from runtime.images.build.roots import Roots, leave_host
from runtime.images.build.solve import Places, Solver
from runtime.images.build.sources import SourceTree
from runtime.images.build.states import State, key_of
from runtime.images.content import digest_of
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.plan import BuildPlan, BuildRequest, StagePlan, make_plan, missing_bases
from runtime.images.dockerfile.platforms import normal_platform
from runtime.images.dockerfile.problems import Mistake
from runtime.images.dockerfile.stages import Dockerfile, read_dockerfile
from runtime.images.dockerfile.steps import FromImage, FromStage
from runtime.images.documents import Platform
from runtime.images.facts import ImageFacts, facts_to_json
from runtime.images.images import Images, host_platform
from runtime.images.index import prepare_root
from runtime.images.reference import Reference, parse_reference
from runtime.images.staging_directory import staging_directory
from runtime.layout import Layout
from runtime.supervisor import interpreter
from runtime.syscalls import PR_SET_PDEATHSIG, prctl

MEMORY_BYTES = 2 * 1024 * 1024 * 1024  # of address space: threads and decoders reserve more than they use


def build(layout: Layout, order: BuildOrder, asks: Asks) -> str:
    """The id of the image. Raises `SetpointError`."""
    names = tuple(map(_name, order.tags))
    prepare_root(layout.images)
    run = layout.run_builds / order.id
    run.mkdir(mode=0o700, parents=True)
    lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with staging_directory(layout.images) as directory:
            context = open_context(order, directory)
            try:
                return _Build(layout, order, asks, directory, run, context).run(names)
            finally:
                context.close()
    finally:
        shutil.rmtree(run, ignore_errors=True)
        os.close(lock)


class _Build:
    def __init__(
        self, layout: Layout, order: BuildOrder, asks: Asks, directory: Path, run: Path, context: Context
    ) -> None:
        self._root = layout.images
        self._order = order
        self._asks = asks
        self._directory = directory
        self._context = context
        self._images = Images(layout)
        self._cache = Cache(layout.images)
        self._keeper = Keeper(layout.images, directory, self._cache, self._admit)
        self._platform = host_platform()
        self._now_ns = time.time_ns() if order.epoch is None else order.epoch * 10**9
        self._now = _rfc3339(self._now_ns)
        self._places = Places(layout.images, directory, run, layout.builds / "mounts")
        self._bases = Bases(
            layout.images, self._images, self._platform, asks, self._keeper,
            lambda diff_ids: key_of("image", order.epoch, diff_ids), pull=order.pull,
        )  # fmt: skip

    def _admit(self, facts: ImageFacts) -> None:
        """The rules are the engine's."""
        self._asks.ask("admit", facts=facts_to_json(facts))

    def run(self, names: tuple[Reference, ...]) -> str:
        name, data = read_dockerfile_of(self._order, self._context)
        ignore = read_ignore_of(self._order, name, self._context)
        plan = self._plan(read_dockerfile(data, name))
        self._take_files(plan)
        with contextlib.ExitStack() as stack:
            named = {each: self._named(stack, each) for each in named_contexts(plan)}
            solver = Solver(
                plan, self._order, self._places, Roots(self._keeper, self._directory), self._cache,
                self._keeper, self._bases,
                self._context.tree(ignore), named, self._asks,
                Downloads(self._directory, self._asks, reaches_host=self._order.network == "host"),
                name, self._now, self._now_ns,
            )  # fmt: skip
            try:
                state = solver.run()
            except SetpointError:
                self._keeper.give_up()
                raise
        image_id = self._finish(plan, state, names)
        self._export()
        return image_id

    def _named(self, stack: contextlib.ExitStack, name: str) -> SourceTree:
        context = open_named(self._order, name, self._directory)
        stack.callback(context.close)
        return context.tree(read_own_ignore(context))

    def _take_files(self, plan: BuildPlan) -> None:
        """Those that the plan takes, of a caller who keeps the context."""
        paths = context_paths(plan)
        if self._order.context_kind != "caller" or paths == ():
            return
        place = self._asks.ask("context", paths=None if paths is None else list(paths))
        self._context.put(Path(place), self._directory / "context")

    def _plan(self, dockerfile: Dockerfile) -> BuildPlan:
        ours = _shown(self._platform)
        request = BuildRequest(
            self._wanted_platform() or ours, ours, self._order.target, self._order.arguments,
            self._order.labels, self._order.network, _images_of(self._order),
        )  # fmt: skip
        bases: dict[FromImage, ImageConfig] = {}
        while missing := missing_bases(dockerfile, request, bases):
            for wanted in missing:
                bases[wanted] = self._config(wanted)
        plan = make_plan(dockerfile, request, bases)
        self._asks.tell(kind="plan", stages=list(map(_stage, plan.stages)))
        for remark in plan.remarks:
            self._asks.tell(kind="remark", line=remark.line, text=remark.text)
        for argument in plan.unused_arguments:
            self._asks.tell(kind="remark", line=0, text=f"--build-arg {argument}: no ARG asks for it")
        return plan

    def _wanted_platform(self) -> str:
        """Looked at before any base is, since one of FROM scratch would say that it is for this machine."""
        if not self._order.platform:
            return ""
        platform = _normal(self._order.platform)
        subject = next(iter(self._order.tags), self._order.dockerfile or DOCKERFILE)
        check_platform(platform, self._platform, subject)
        return platform

    def _config(self, wanted: FromImage) -> ImageConfig:
        self._asks.tell(kind="base", reference=wanted.reference)
        return self._bases.config(wanted)

    def _finish(self, plan: BuildPlan, state: State, names: tuple[Reference, ...]) -> str:
        config = self._document(plan, state)
        check_config(config)
        image_id = digest_of(config)
        known = self._images.get(image_id)
        if known is not None:
            self._keeper.give_up()  # of stages that are no part of it
            for name in names:
                if name.familiar not in known.names:
                    self._images.tag(image_id, name.canonical)
            return image_id
        return self._keeper.finish(config, state.layers, names).info.id

    def _export(self) -> None:
        """The image that takes the cache to others; its push is the agent's part."""
        if self._order.cache_to:
            document, layers = export_document(self._keeper.used, self._platform)
            self._keeper.finish(document, layers, (parse_reference(self._order.cache_to),))

    def _document(self, plan: BuildPlan, state: State) -> bytes:
        """With the time at which this very image was made first: built again, it is the same."""
        wanted = plan.stages[-1].config
        memo = key_of("made", self._order.epoch, state.key, repr(wanted), list(map(dict, state.history)))
        created = None if self._order.no_cache else self._cache.get_value(memo)
        if created is None:
            created = self._now
            self._cache.put_value(memo, created)
        history = [{"created": created, **entry} for entry in state.history]
        return write_config(
            wanted, base=state.document, platform=self._platform, diff_ids=state.diff_ids,
            history=history, created=created,
        )  # fmt: skip


def _normal(platform: str) -> str:
    try:
        return normal_platform(platform)
    except Mistake as mistake:
        raise Invalid("build image", "", mistake.text, mistake.hint) from None


def _images_of(order: BuildOrder) -> dict[str, str]:
    return {name: where if kind == "image" else "" for name, (kind, where) in order.contexts.items()}


def _stage(stage: StagePlan) -> dict[str, object]:
    """As the event of the plan has it."""
    match stage.base:
        case FromImage(reference=reference):
            base = reference
        case FromStage(index):
            base = f"stage {index}"
        case _:
            base = "scratch"
    acts = [place for place, step in enumerate(stage.steps, 1) if step.action is not None]
    return {"stage": stage.name or str(stage.index), "base": base, "count": len(stage.steps), "acts": acts}


def _name(tag: str) -> Reference:
    reference = parse_reference(tag)
    if reference.digest:
        raise Invalid("build image", tag, "a new name has no digest", "write NAME:TAG")
    return reference


def _rfc3339(now_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(now_ns // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(platform: Platform) -> str:
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def _tell_at_once(error: SetpointError) -> None:
    """Past whoever has the lock."""
    os.write(1, json.dumps({"error": error_to(error)}).encode() + b"\n")


def main(arguments: Sequence[str]) -> int:
    instance, data_root, run_root = arguments
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0o022)
    if interpreter.FAILPOINTS in os.environ:
        from runtime import failpoints

        failpoints.install("images")
    worker_bounds.enter(MEMORY_BYTES)
    leave_host()
    layout = Layout(instance, Path(data_root), Path(run_root))
    output = sys.stdout.buffer
    asks = Asks(lambda line: (output.write(line), output.flush()))
    code = 1
    try:
        line = sys.stdin.buffer.readline()
        if not line:  # a spare one that nobody needed
            return 0
        order = from_json(json.loads(line))
        worker_bounds.limit_cpu("build image", next(iter(order.tags), order.id[:12]), _tell_at_once)
        start_listening(asks, sys.stdin.buffer)
        asks.say(found=build(layout, order, asks))
        code = 0
    except SetpointError as error:
        asks.say(error=error_to(error))
    except MemoryError:
        bomb = Invalid("build image", "", "it takes too much memory", "is a file or an archive a bomb?")
        asks.say(error=error_to(bomb))
    except OSError as error:
        asks.say(error=error_to(Temporary("build image", str(error.filename or ""), str(error), "", 10)))
    except Exception as error:  # a bug of ours: said where it is heard, and shown where it is looked for
        traceback.print_exc()
        reason = f"internal error, please report it: {error!r}"
        asks.say(error=error_to(SetpointError("build image", "", reason)))
    # Threads of other stages may wait for answers that nobody gives any more.
    output.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
