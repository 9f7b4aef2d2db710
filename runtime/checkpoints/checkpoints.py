"""The checkpoints of an instance's containers: made, listed, removed, chosen for the next start.

    create:  lock ─> freeze ─> its output is read ─> supervisor: criu dump ─> whole on the shelf ─> thaw, or
             left frozen for who stops it
    choose:  a note in the bundle, which `life` hands to the supervisor with the start, and drops when it runs

Called by the agent through the engine, and by `life`. A crash at any point leaves a container that runs, or a
note for the very start that was wanted: `open` tidies up.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import json
import os
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime import cgroups, disk
from runtime.assembly import Assembly
from runtime.checkpoints import criu, facts, outside
from runtime.checkpoints.shelf import Shelf, check_directory, check_name
from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.errors import Conflict, Invalid, SetpointError, Temporary, Unsupported
from runtime.layout import Layout
from runtime.supervisor.client import Client

NOTE = "restore.json"
FREEZE_SECONDS = 5.0
OUTPUT_SECONDS = 2.0  # for what was written before the freeze to be read, which takes milliseconds
_LOOK_SECONDS = 0.005


def refuse_without_criu(op: str, subject: str) -> str:
    """The program. Unsupported where this host has none."""
    program = criu.find_program()
    if not program:
        reason = "the program criu is not installed on this host"
        raise Unsupported(op, subject, reason, f"install the package {criu.PACKAGE}")
    return program


class Checkpoints:
    """open() when the index has been read and the supervisor is there."""

    def __init__(self, layout: Layout, index: ContainerIndex, assembly: Assembly, client: Client) -> None:
        self._layout = layout
        self._index = index
        self._assembly = assembly
        self._client = client

    async def open(self) -> None:
        """Tidy up after an agent that ended in the middle of something."""
        for entry in self._index:
            shelf = self._shelf(entry)
            if not shelf.is_there:  # of hundreds of containers few have any
                continue
            is_wanted = _read_note(self._note(entry)) is not None and not entry.is_running
            if not is_wanted:
                self._note(entry).unlink(missing_ok=True)
            shelf.clear(keep_taken=is_wanted)
            if shelf.is_frozen and not entry.is_running:
                shelf.unmark_frozen()
            elif shelf.is_frozen:
                with contextlib.suppress(SetpointError, OSError):
                    await self._thaw(entry)

    def list(self, id: str, directory: str = "") -> list[str]:
        """The names of a container's checkpoints, or of those in a directory of the caller's."""
        entry = self._index.get("list checkpoints", id)
        return self._shelf(entry).names(check_directory(directory))

    def remove(self, id: str, name: str, directory: str = "") -> None:
        """NotFound for one that there is not."""
        entry = self._index.get("remove checkpoint", id)
        try:
            self._shelf(entry).remove(check_name(name), check_directory(directory))
        except OSError as error:
            raise _failed("remove checkpoint", entry, error) from error

    # --- create

    async def create(self, id: str, name: str, directory: str = "", *, leaves_running: bool) -> None:
        """Keep its processes as they are now. Without leaves_running they stay frozen, for the caller to end
        before they do anything that the checkpoint does not know."""
        entry = self._index.get("checkpoint", id)
        check_name(name), check_directory(directory)
        program = refuse_without_criu("checkpoint", entry.config.name)
        facts.refuse_unfit(entry.config, "checkpoint")
        disk.check_room("checkpoint", entry.config.name, self._layout.data)
        async with entry.lock:
            _refuse_idle(entry)
            shelf = self._shelf(entry)
            shelf.refuse_taken(name, directory)
            try:
                await self._freeze(entry)
                await self._dump(entry, program, name, directory)
            except BaseException as error:
                shelf.give_up(name)
                await asyncio.shield(self._thaw(entry))
                if isinstance(error, OSError):
                    raise _failed("checkpoint", entry, error) from error
                raise
            if leaves_running:
                await self._thaw(entry)

    async def _freeze(self, entry: Entry) -> None:
        self._shelf(entry).mark_frozen()
        await asyncio.to_thread(cgroups.freeze, self._assembly.cgroup(entry.config.id), FREEZE_SECONDS)
        entry.is_paused = True
        await self._wait_output_read(entry)

    async def go_on(self, id: str) -> None:
        """Let one that `create` left frozen go on after all."""
        entry = self._index.find(id)
        if entry is not None and entry.is_running:
            async with entry.lock:
                await self._thaw(entry)

    def ended(self, entry: Entry) -> None:
        """One that `create` left frozen was stopped."""
        self._shelf(entry).unmark_frozen()

    async def _thaw(self, entry: Entry) -> None:
        await asyncio.to_thread(cgroups.thaw, self._assembly.cgroup(entry.config.id), FREEZE_SECONDS)
        entry.is_paused = False
        self._shelf(entry).unmark_frozen()

    async def _wait_output_read(self, entry: Entry) -> None:
        """What is in its pipes would be in the log now, and again after each start from the checkpoint."""
        run, deadline = self._assembly.run_directory(entry.config.id), time.monotonic() + OUTPUT_SECONDS
        while any(_unread(f"{run}/{stream}") for stream in ("stdout", "stderr")):
            if time.monotonic() > deadline:
                reason = "what it wrote is not read yet: somebody who is attached to it reads slowly"
                raise Temporary("checkpoint", entry.config.name, reason, "detach, and try again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _dump(self, entry: Entry, program: str, name: str, directory: str) -> None:
        config, shelf = entry.config, self._shelf(entry)
        oci = self._assembly.read_config(config.id)
        try:
            mounts = outside.find_mounts(entry.process[0], oci, self._assembly.bundle(config.id))
        except Unsupported as error:
            raise Unsupported("checkpoint", config.name, error.reason, error.hint) from error
        images = shelf.begin(name)
        answer = await self._client.call(
            "checkpoint", name=config.id, label=config.name, program=program, images=images,
            freezer=_freezer(self._assembly.cgroup(config.id)), mounts=[target for target, _ in mounts],
        )  # fmt: skip
        if "failure" in answer:
            words = str(answer["failure"])
            reason = f"criu could not keep its processes, which run on: {words}"
            raise Conflict("checkpoint", config.name, reason, criu.advice(words))
        found = facts.Facts(
            config.id, config.image, facts.fingerprint(config), time.time(), mounts, dict(answer["files"])
        )
        await asyncio.to_thread(shelf.finish, name, found, directory)

    # --- the next start

    async def choose(self, id: str, name: str, directory: str = "") -> None:
        """Have its next start begin from this checkpoint. NotFound; Conflict for one of another container's
        making, or one that somebody changed."""
        entry = self._index.get("start", id)
        check_name(name), check_directory(directory)
        refuse_without_criu("start", entry.config.name)
        facts.refuse_unfit(entry.config, "start")
        shelf = self._shelf(entry)
        async with entry.lock:
            try:
                images = await asyncio.to_thread(shelf.take, name, directory)
                found = shelf.read_facts(images, name)
                facts.refuse_other(found, entry.config, name)
                self._note(entry).write_text(json.dumps({"name": name, "images": images}))
            except OSError as error:
                shelf.put_back()
                raise _failed("start", entry, error) from error
            except SetpointError:
                shelf.put_back()
                raise

    def choose_none(self, id: str) -> None:
        """Have its next start begin anew."""
        entry = self._index.find(id)
        if entry is not None and os.path.exists(self._note_path(entry)):  # noqa: PTH110 (for every start)
            self._drop_note(entry)

    def chosen(self, entry: Entry) -> dict[str, Any] | None:
        """What the supervisor needs to start it from the chosen checkpoint; None to start it anew."""
        note = _read_note(self._note_path(entry))
        if note is None:
            return None
        program = refuse_without_criu("start", entry.config.name)
        found = self._shelf(entry).read_facts(note["images"], note["name"])
        return {
            "program": program,
            "images": note["images"],
            "mounts": [what for _, what in found.mounts],
            "files": dict(found.files),
        }

    def started(self, entry: Entry) -> None:
        """It runs, from what was `chosen`: what comes next begins anew."""
        self._drop_note(entry)

    def _drop_note(self, entry: Entry) -> None:
        self._note(entry).unlink(missing_ok=True)
        self._shelf(entry).put_back()

    # --- where

    def _note(self, entry: Entry) -> Path:
        return Path(self._note_path(entry))

    def _note_path(self, entry: Entry) -> str:
        return f"{self._assembly.bundle(entry.config.id)}/{NOTE}"

    def _shelf(self, entry: Entry) -> Shelf:
        key = self._layout.data / "checkpoint.key"
        return Shelf(self._assembly.bundle(entry.config.id), key, entry.config.name)


def _refuse_idle(entry: Entry) -> None:
    if not entry.is_running:
        raise Conflict("", "", f"container {entry.config.name} is not running")
    if entry.is_paused:
        raise Conflict("", "", f"container {entry.config.name} is paused", "unpause it first")


def _read_note(path: Path | str) -> dict[str, str] | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (for every start)
            found = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"name", "images"} <= found.keys() else None


def _freezer(path: str) -> str:
    """The directory whose file freezes a container: that which `cgroups.freeze` writes to."""
    found = cgroups.hierarchies()
    if found.unified and Path(f"{found.unified}{path}/cgroup.freeze").exists():
        return f"{found.unified}{path}"
    return f"{found.v1['freezer']}{path}"


def _unread(fifo: str) -> int:
    """How many bytes wait in a FIFO."""
    with contextlib.suppress(OSError), _opened(fifo) as fd:
        waiting = array.array("i", [0])
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
        return waiting[0]
    return 0


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _failed(op: str, entry: Entry, error: OSError) -> SetpointError:
    found = disk.explained(op, entry.config.name, error)
    return found or Invalid(op, entry.config.name, f"{error.filename or ''}: {os.strerror(error.errno or 0)}")
