"""The world that a walk kills in: one instance, and a container that nobody may touch.

After each death `agent.checker` says whether anything is lost, wrong, doubled, leaked, stuck or touched. What
is asked here is what it cannot know: what this world is to be made of, that no program of it ends by itself,
what they write, and that the page is served.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from agent import checker
from agent.checker import Snapshot
from agent.checker.disk import read_disk
from runtime.layout import Layout
from runtime.logs import LogQuery, read_logs
from tests.faults.control import Seen
from tests.faults.instance import Instance, free_port, until
from tests.faults.points import Point
from tests.faults.stories import LINES, Story

SOON_SECONDS = 3.0
GONE_SECONDS = 15.0  # what ends by itself may take this long to be gone where others have the processors
QUIET_SECONDS = 0.3  # after the last answer: the journal writes a little later


class World:
    """Made without an agent: `begin` starts one. archive: the busybox image."""

    def __init__(self, layout: Layout, scratch: Path, archive: Path) -> None:
        self._layout = layout
        self._scratch = scratch
        self._archive = archive
        self._port = free_port()  # the same in every round: it is part of what containers are named by
        self._has_begun = threading.Event()
        self._rounds = 0
        self.instance: Instance | None = None
        self._expected: frozenset[str] = frozenset()

    @property
    def _here(self) -> Instance:
        assert self.instance is not None
        return self.instance

    def begin(self) -> None:
        self._rounds += 1
        scratch = self._scratch / f"round-{self._rounds}"
        scratch.mkdir()
        self.instance = Instance(self._layout, scratch, self._port)
        self.instance.start_agent()
        self.instance.settle()
        list(self.instance.client.load_image(self._archive))

    def begin_anew(self) -> None:
        """After a failure nothing of the old instance is to be trusted."""
        self.close()
        self.begin()

    def close(self) -> None:
        if self.instance is not None:
            self.instance.close()
            self.instance = None

    # --- without a kill

    def record(self, story: Story) -> list[Seen]:
        """The points that a story passes. What the world is like then is what it must be like each time."""
        here = self._here
        self.go_back(story)
        before = checker.take(self._layout)
        story.first(here)
        here.control.record()
        story.forth(here).join()
        here.settle()
        self._await_logs(story)
        time.sleep(QUIET_SECONDS)  # there is no condition for: it has nothing more to write
        seen = here.control.seen()
        self._expected = parts(here.layout)
        self.check(story, before)
        return seen

    def go_back(self, story: Story) -> None:
        story.back(self._here)
        self._here.settle()

    # --- with one

    def visit(self, story: Story, point: Point, *, both: bool) -> bool:
        """Kill at a point, and look at what became of it. False: nobody came by."""
        here = self._here
        self.go_back(story)
        before = checker.take(self._layout)
        story.first(here)
        here.control.arm(point.name, point.nth)
        self._has_begun.clear()
        worker = threading.Thread(target=self._work, args=(story,))
        worker.start()
        try:
            if not self._await_parked(worker):
                here.control.release()
                worker.join()
                self.check(story, before)
                return False
            self._has_begun.wait(SOON_SECONDS)
            self._kill_at(point, both=both)
        finally:
            here.control.release()
        if here.agent is not None and here.agent.has_ended():
            here.start_agent()
        worker.join()
        self._finish(story)
        self.check(story, before)
        return True

    def _work(self, story: Story) -> None:
        with contextlib.suppress(AssertionError):
            asked = story.forth(self._here)
            self._has_begun.set()
            asked.join()
            self._here.settle_until_death()

    def _await_parked(self, worker: threading.Thread) -> bool:
        quiet_from = 0.0
        while not self._here.control.is_parked:
            if not worker.is_alive():
                quiet_from = quiet_from or time.monotonic()
                if time.monotonic() > quiet_from + QUIET_SECONDS:
                    return False
            time.sleep(0.001)
        return True

    def _kill_at(self, point: Point, *, both: bool) -> None:
        here = self._here
        at_agent = point.role in ("agent", "images")
        own = here.control.parked_pid if point.role == "supervisor" else 0
        here.kill(agent=both or at_agent, supervisor=both or not at_agent, supervisor_pid=own)

    def _finish(self, story: Story) -> None:
        """What was asked for was perhaps never heard: ask again, if that is how it was asked."""
        if story.is_wish:
            story.forth(self._here).join()
        self._here.settle()

    # --- what became of it

    def check(self, story: Story, before: Snapshot) -> None:
        here = self._here
        self._await_logs(story)
        problems, here.complaints = here.complaints, []
        problems += self._page(story)
        found = checker.check(here.layout, before, patience_seconds=GONE_SECONDS)
        problems += map(str, found)
        problems += [*self._other_parts(), *self._ended(story, before), *self._unplanned()]
        problems += self._lost_output(story)
        assert not problems, "\n".join([*problems, here.tail()])

    def _other_parts(self) -> Iterator[str]:
        """The rows say what is wanted; here it is known without them."""
        now = parts(self._layout)
        yield from (f"lost {each}: no row wants it any more" for each in sorted(self._expected - now))
        yield from (f"leaked {each}: and a row wants it" for each in sorted(now - self._expected))

    def _ended(self, story: Story, before: Snapshot) -> Iterator[str]:
        """Whoever's doing it was: no program here ends by itself, and each is begun once."""
        now = checker.take(self._layout).containers
        for name in ("still-clock-1", *(f"shop-{each}-1" for each in story.kept)):
            if name not in now or now[name].process != before.containers[name].process:
                yield f"touched {name}: {before.containers[name]} -> {now.get(name)}"
        for each in self._here.client.status()["objects"]:
            if each["restarts"] and each["key"].rpartition("/")[2] not in story.may_restart:
                yield f"touched {each['key']}: {each['restarts']} restarts"

    def _page(self, story: Story) -> Iterator[str]:
        """It may take its time on a busy machine; how long it took is told then."""
        begun = time.monotonic()
        try:
            until(lambda: not story.word or fetch(self._here.port) == story.word, "the page")
        except AssertionError:
            yield f"wrong page: {fetch(self._here.port)!r}"
        if (seconds := time.monotonic() - begun) > SOON_SECONDS:
            print(f"the page came after {seconds:.1f} s", flush=True)

    def _unplanned(self) -> Iterator[str]:
        """By the agent's word: a world that is as wanted leaves nothing to do."""
        for action in self._here.client.plan()["actions"]:
            yield f"stuck: to do still: {action}"

    def _await_logs(self, story: Story) -> None:
        """The shop's containers have said all that they have to say."""
        for each in self._here.containers("shop").values() if story.word else ():
            last = f"line {LINES - 1}".encode()
            with contextlib.suppress(AssertionError):  # what is missing is told by _lost_output
                until(partial(self._has_said, each["id"], last), "the log is whole", GONE_SECONDS)

    def _has_said(self, id: str, last: bytes) -> bool:
        return self._lines(id)[-1:] == [last]

    def _lost_output(self, story: Story) -> Iterator[str]:
        for each in self._here.containers("shop").values() if story.word else ():
            expected = [b"line %d" % number for number in range(LINES)]
            if (lines := self._lines(each["id"])) != expected:
                yield f"lost or doubled output of {each['name']}: {_gaps(lines)}"
        clock = self._here.containers("still")["clock"]
        lines = self._lines(clock["id"])
        if lines != [b"tick %d" % number for number in range(len(lines))]:
            yield f"lost or doubled output of clock: {_gaps(lines)}"

    def _lines(self, id: str) -> list[bytes]:
        directory = self._layout.containers / id / "log"
        return [record.text for record in read_logs(directory, LogQuery())]


def parts(layout: Layout) -> frozenset[str]:
    """Names of what is there: of containers that run and of those that do not, networks and volumes."""
    disk = read_disk(layout)
    states = {True: "running", False: "ended"}
    return frozenset(
        [
            *(f"{states[each.is_live]} container {each.name}" for each in disk.bundles.values()),
            *(f"network {name}" for name in disk.networks),
            *(f"volume {name}" for name in disk.volumes),
        ]
    )


def fetch(port: int) -> str:
    """The page of a published port, "" when nobody answers."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while piece := sock.recv(4096):
            data += piece
        return data.decode(errors="replace").partition("\r\n\r\n")[2].strip()
    return ""


def _gaps(lines: list[bytes]) -> str:
    """Where the numbers do not go up by one."""
    numbers = [int(line.split()[-1]) for line in lines if line.split()[-1:] and line.split()[-1].isdigit()]
    pairs = zip([-1, *numbers], numbers, strict=False)
    breaks = [f"{had} then {has}" for had, has in pairs if has != had + 1]
    return f"{len(lines)} lines; {'; '.join(breaks[:5])}"
