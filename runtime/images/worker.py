"""A load or a pull in a process of its own, bounded in memory: what the agent uses, against bombs.

    IsolatedImages.load(path) ─> python -m runtime.images.worker ... ─> JSON lines on its stdout

The parent reads `{"progress": ...}` lines and at the end one `{"found": [...]}` or `{"error": ...}`. In
between `{"ask": facts}` waits for a line on stdin, `{}` or `{"error": ...}`: the rules are the parent's. Its
own children (`unpackers`) unpack layers side by side, under the same limits and in the same control groups
(`runtime.fence`). The worker is killed when the thread that waits for it ends, or when it is given up, and
what it had staged is removed by the next load.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runtime import oom_score, worker_bounds
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.fence import Fence
from runtime.images.error_view import to_error, to_view
from runtime.images.facts import EVERYTHING, Admission, ImageFacts, facts_from_json, facts_to_json
from runtime.images.gate import Gate
from runtime.images.images import Images
from runtime.images.info import ImageInfo
from runtime.images.reference import parse_reference
from runtime.images.registry.proxies import proxies
from runtime.images.reporter import Reporter
from runtime.images.staging_directory import remove_dead_stages
from runtime.images.stop import Stop
from runtime.layout import Layout
from runtime.supervisor import interpreter
from runtime.syscalls import PR_SET_PDEATHSIG, prctl

if TYPE_CHECKING:
    from runtime.images.check import Finding
    from runtime.images.progress import Progress
    from runtime.images.pushed import Pushed
    from runtime.images.registry.origin import Origin

MEMORY_BYTES = 1024 * 1024 * 1024  # of address space: decoders take up to 128 MiB, threads reserve more
_MOVES_NAMES = "moves-names"
_REPOSITORY = Path(__file__).resolve().parent.parent.parent


class IsolatedImages(Images):
    """`Images` that pull, load and import in a process of their own. They block: call them in a thread.
    Images of containers are made by `container_files`.

    A path is opened by that process: it cannot be one of /dev/stdin or /proc/self/fd. fence: what goes
    around those processes.
    """

    def __init__(self, layout: Layout, admission: Admission = EVERYTHING, fence: Fence | None = None) -> None:
        super().__init__(layout, admission)
        self._workers = _Workers(layout, self._gate, fence or Fence())

    def judged(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a worker's `{"ask": facts}`: `{}`, or `{"error": ...}`. Blocks."""
        return self._workers.judged(asked)

    def give_up(self) -> None:
        """End what is under way at once, with `Temporary` for who waits for it, and begin nothing more."""
        self._workers.end()

    def load(
        self,
        path: Path,
        progress: Callable[[Progress], None] | None = None,
        *,
        moves_names: bool = False,
        kept: Collection[str] = (),
    ) -> tuple[ImageInfo, ...]:
        words = ["load", str(path), *([_MOVES_NAMES] if moves_names else [])]
        return self._run(words, progress, json.dumps({"kept": sorted(kept)}).encode())

    def pull(
        self,
        reference: str,
        origins: Sequence[Origin],
        progress: Callable[[Progress], None] | None = None,
        *,
        platform: str = "",
        stop: Stop | None = None,
    ) -> ImageInfo:
        """Who we are goes over a pipe: arguments can be read by everybody on the host."""
        name = parse_reference(reference).canonical
        self._gate.check_image("pull image", name)
        wants = ["signatures"] if self._gate.wants_signatures(name) else []
        told = json.dumps([asdict(origin) for origin in origins]).encode()
        found = self._workers.run(["pull", reference, platform, *wants], progress, told, stop)[0]
        info = ImageInfo(**_with_tuples(found))
        return self.get(info.id) or info

    def push(
        self,
        reference: str,
        origin: Origin,
        progress: Callable[[Progress], None] | None = None,
        stop: Stop | None = None,
    ) -> Pushed:
        from runtime.images.pushed import Pushed

        told = json.dumps([asdict(origin)]).encode()
        return Pushed(**self._workers.run(["push", reference], progress, told, stop)[0])

    def ask(
        self, what: str, subject: str, origins: Sequence[Origin], stop: Stop | None = None, **more: object
    ) -> list[dict[str, Any]]:
        """What registries say: `what` is a function of `runtime.images.remote`."""
        told = json.dumps({"origins": [asdict(origin) for origin in origins], "more": more}).encode()
        return self._workers.run(["ask", subject, what], None, told, stop)

    def import_rootfs(
        self,
        path: Path,
        reference: str,
        config: Mapping[str, object] | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        moves_names: bool = False,
        platform: str = "",
        comment: str = "",
    ) -> ImageInfo:
        words = ["import", str(path), reference, *([_MOVES_NAMES] if moves_names else [])]
        told = {"config": dict(config or {}), "platform": platform, "comment": comment}
        return self._run(words, progress, json.dumps(told).encode())[0]

    def _run(
        self, arguments: Sequence[str], progress: Callable[[Progress], None] | None, told: bytes = b""
    ) -> tuple[ImageInfo, ...]:
        found = [ImageInfo(**_with_tuples(image)) for image in self._workers.run(arguments, progress, told)]
        return tuple(self.get(info.id) or info for info in found)

    def check(
        self,
        image_ids: Sequence[str],
        *,
        repair: bool,
        busy: Sequence[str],
        progress: Callable[[Progress], None] | None = None,
        bytes_per_second: float = 0.0,
    ) -> tuple[Finding, ...]:
        """As `check.check_images`, of all images when image_ids is empty. bytes_per_second: in nobody's way,
        and not faster than that; 0 is as fast as it can be."""
        from runtime.images.check import Finding

        wanted = {
            "image_ids": list(image_ids),
            "repair": repair,
            "busy": list(busy),
            "pace": bytes_per_second,
        }
        told = json.dumps(wanted).encode()
        found = self._workers.run(["check", "images"], progress, told)
        return tuple(Finding(**finding) for finding in found)


class _Workers:
    """The workers that live. One that is blocked in a read would keep its thread, and so the agent's end."""

    def __init__(self, layout: Layout, gate: Gate, fence: Fence) -> None:
        self._layout = layout
        self._gate = gate
        self._fence = fence
        self._lock = threading.Lock()
        self._living: set[subprocess.Popen[bytes]] = set()
        self._is_ended = False

    def end(self) -> None:
        with self._lock:
            self._is_ended = True
            for process in self._living:
                process.kill()

    def run(
        self,
        arguments: Sequence[str],
        progress: Callable[[Progress], None] | None,
        told: bytes,
        stop: Stop | None = None,
    ) -> list[dict[str, Any]]:
        last: dict[str, Any] = {}
        oom_kills = self._fence.oom_kills()
        with self._begun(arguments) as process:
            if stop is not None:
                stop.hold(process)
            assert process.stdin is not None and process.stdout is not None
            _tell(process.stdin, told)  # less than a pipe holds
            for line in process.stdout:
                last = json.loads(line)
                if "ask" in last:
                    _tell(process.stdin, json.dumps(self.judged(last)).encode())
                if progress is not None and "progress" in last:
                    progress(_to_progress(last["progress"]))
        if process.returncode not in (0, 1) and not self._is_ended:  # what it had staged may be large
            with contextlib.suppress(OSError, SetpointError):
                remove_dead_stages(self._layout.images)
        if "error" in last:
            error = to_error(last["error"])
            if isinstance(error, Temporary):  # of an unpacker that the kernel ended, perhaps
                raise self._fence.explained(error, oom_kills)
            raise error
        if "found" not in last:
            if self._is_ended:
                raise _given_up(arguments)
            if stop is not None and stop.is_asked:
                raise Temporary(f"{arguments[0]} image", arguments[1], "given up: nobody waits for it")
            reason = f"the worker ended with status {process.returncode}"
            hint = "it may have used too much memory"
            raise self._fence.explained(
                Temporary(f"{arguments[0]} image", arguments[1], reason, hint), oom_kills
            )
        return list(last["found"])

    def judged(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._gate.admit_image(asked["op"], facts_from_json(asked["ask"]))
        except SetpointError as error:
            return {"error": to_view(error)}
        return {}

    @contextlib.contextmanager
    def _begun(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        command = [
            sys.executable, "-P", "-m", "runtime.images.worker",
            self._layout.instance, str(self._layout.data_root), str(self._layout.run_root), *arguments,
        ]  # fmt: skip
        with self._lock:
            if self._is_ended:
                raise _given_up(arguments)
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=environment() | self._fence.environment(),
            )  # fmt: skip
            self._living.add(process)
        oom_score.unprotect(process.pid)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._living.discard(process)


def _given_up(arguments: Sequence[str]) -> Temporary:
    return Temporary(
        f"{arguments[0]} image", arguments[1], "given up: the agent stops", "ask again when it runs"
    )


def _with_tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}


def environment() -> dict[str, str]:
    """Nothing of the caller's but the way to this package."""
    return {"PYTHONPATH": str(_REPOSITORY), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
            **interpreter.environment(), **proxies()}  # fmt: skip


def _tell(pipe: IO[bytes], line: bytes) -> None:
    """A worker that has ended is told nothing; why it did is read."""
    with contextlib.suppress(BrokenPipeError):
        pipe.write(line + b"\n")
        pipe.flush()


def _to_progress(value: Mapping[str, Any]) -> Progress:
    from runtime.images.progress import Progress

    return Progress(**value)


# --- the worker's side ------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    instance, data_root, run_root, verb, path, *rest = arguments
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if interpreter.FAILPOINTS in os.environ:
        from runtime import failpoints

        failpoints.install("images")
    worker_bounds.enter(MEMORY_BYTES)
    layout = Layout(instance, Path(data_root), Path(run_root))
    told = sys.stdin.readline()
    images = Images(layout, _Asker(wants_signatures="signatures" in rest))
    found: Sequence[Any]
    try:
        if verb in ("load", "pull"):
            from runtime.images import unpackers

            unpackers.start()
        if verb != "check":  # of all images, that takes as long as the store is large
            worker_bounds.limit_cpu(f"{verb} image", path, lambda error: _print({"error": to_view(error)}))
        if verb == "load":
            kept = json.loads(told or "{}").get("kept", ())
            moves = _MOVES_NAMES in rest
            found = images.load(Path(path), Reporter(_print), moves_names=moves, kept=kept)
        elif verb == "pull":
            found = (images.pull(path, _read_origins(told), Reporter(_print), platform=rest[0]),)
        elif verb == "push":
            found = (images.push(path, _read_origins(told)[0], Reporter(_print)),)
        elif verb == "ask":
            found = _ask(rest[0], path, told)
        elif verb == "check":
            found = _check(layout, told)
        else:
            moves = _MOVES_NAMES in rest[1:]
            found = (
                images.import_rootfs(
                    Path(path), rest[0], progress=Reporter(_print), moves_names=moves, **json.loads(told)
                ),
            )
    except SetpointError as error:
        _print({"error": to_view(error)})
        return 1
    except MemoryError:
        bomb = Invalid(f"{verb} image", path, "it takes too much memory", "the archive looks like a bomb")
        _print({"error": to_view(bomb)})
        return 1
    except (BlockingIOError, RuntimeError) as error:  # no more processes (fork(2)), or threads
        if isinstance(error, RuntimeError) and "new thread" not in str(error):
            raise
        reason = "no more processes may work on images now"
        _print({"error": to_view(Temporary(f"{verb} image", path, reason, "it is tried again", 10))})
        return 1
    _print({"found": [asdict(each) for each in found]})
    return 0


def _check(layout: Layout, told: str) -> Sequence[Finding]:
    from runtime.images.check import check_images

    wanted, report = json.loads(told), Reporter(_print)
    slowly: Callable[[Progress], None] = report
    if wanted["pace"]:
        from runtime.images.slowly import Pace, become_idle

        become_idle()
        slowly = Pace(report, wanted["pace"])
    return check_images(
        layout.images, wanted["image_ids"], slowly, repair=wanted["repair"], busy=wanted["busy"]
    )


def _ask(what: str, subject: str, told: str) -> Sequence[Any]:
    from runtime.images import remote

    wanted = json.loads(told)
    return remote.ask(what, subject, _read_origins(json.dumps(wanted["origins"])), wanted["more"])


def _read_origins(told: str) -> list[Origin]:
    from runtime.images.registry.credentials import Credential
    from runtime.images.registry.endpoints import Endpoint
    from runtime.images.registry.origin import Origin

    return [
        Origin(
            Endpoint(**_with_tuples(each["endpoint"])),
            Credential(**each["credential"]) if each["credential"] else None,
        )
        for each in json.loads(told)
    ]


class _Asker:
    """Asks the parent, which knows the rules, and waits for its answer. When the parent has none, it says
    yes."""

    def __init__(self, *, wants_signatures: bool) -> None:
        self._wants_signatures = wants_signatures

    def has_image_rules(self) -> bool:
        return True

    def wants_signatures(self, name: str) -> bool:
        return self._wants_signatures

    def check_image(self, op: str, name: str) -> None:
        """The parent has, before there was a worker."""

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        _print({"ask": facts_to_json(facts), "op": op})
        answer = json.loads(sys.stdin.readline() or "null")
        if answer is None:
            raise Temporary(op, facts.name, "given up: nobody is there to allow it")
        if "error" in answer:
            raise to_error(answer["error"])


def _print(value: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")  # in one piece: threads report, too
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
