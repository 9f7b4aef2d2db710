"""Looks on a schedule for what is newer than the images that manifests name, where they ask for that, and
says so on the objects. Made and run by the daemon; changes nothing that runs.

    objects with update: ─> the registry's tags, what they mean ─> decide ─> a condition UpdateAvailable

What a tag means is remembered with the time when it was seen first. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import ValidationError

from agent.images.notes import Notes
from agent.manifest.spec import UpdateSpec
from agent.updates.policy import Update, candidates, decide
from runtime.errors import SetpointError
from runtime.images.reference import Reference, parse_reference
from runtime.model import ImageInfo
from store.image_memory import TagRecord
from store.records import Condition, Key, ObjectRecord

log = logging.getLogger("setpoint.updates")

FIRST_LOOK_SECONDS = 60.0
MOST_TAGS = 20_000
MOST_ASKED = 10  # newer tags whose digests are asked for; of more the oldest are no news
KEPT_TAGS_SECONDS = 90 * 86400.0  # what a tag meant that nobody names any more
TYPE: Final = "UpdateAvailable"


class Registries(Protocol):
    async def tags(self, reference: str, most: int) -> list[str]: ...
    async def digest(self, reference: str) -> str: ...


class Engine(Protocol):
    @property
    def registries(self) -> Registries: ...
    def image(self, reference: str) -> ImageInfo | None: ...


class Loop(Protocol):
    """What the reconcile loop is to the watcher."""

    def objects(self) -> Mapping[Key, ObjectRecord]: ...
    def image_of(self, key: Key) -> ImageInfo | None: ...
    def tell_news(self, key: Key, news: tuple[Condition, ...]) -> None: ...
    def note(self, key: Key, type: str, reason: str, message: str) -> None: ...
    @property
    def journal(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one object. image: the tag that it names, familiar. error: why nobody knows."""

    key: Key
    file: str
    line: int
    image: str
    policy: UpdateSpec
    update: Update | None = None
    error: str = ""

    def view(self) -> dict[str, Any]:
        update = self.update
        return {
            "key": str(self.key), "file": self.file, "line": self.line, "image": self.image,
            "policy": self.policy.policy, "error": self.error, "available": update is not None,
            "tag": update.tag if update else "", "digest": update.digest if update else "",
            "why": update.why if update else "", "waits": update.waits if update else "",
            "seen_at": update.seen_at if update else None,
        }  # fmt: skip


class UpdateWatcher:
    def __init__(
        self,
        engine: Engine,
        loop: Loop,
        look_seconds: float,
        clock: Callable[[], float] = time.time,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._look_seconds = look_seconds
        self._clock = clock
        self._local = local
        self._found: dict[Key, Found] = {}
        self._turn = asyncio.Lock()

    def found(self) -> tuple[Found, ...]:
        """Of the last look."""
        return tuple(self._found[key] for key in sorted(self._found))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(min(FIRST_LOOK_SECONDS, self._look_seconds))
        while True:
            try:
                await self.look()
            except Exception:  # a bug in here must not end the agent
                log.exception("a bug in looking for updates")
            await asyncio.sleep(self._look_seconds)

    async def look(self) -> tuple[Found, ...]:
        """Ask the registries, one after the other, and say what is new."""
        async with self._turn:
            asked = _Asked(self._engine.registries)
            found = {each.key: await self._look_at(each, asked) for each in self._subjects()}
            for key in self._found.keys() | found.keys():
                self._tell(key, self._found.get(key), found.get(key))
            self._found = found
            self._tidy()
            return self.found()

    def _subjects(self) -> Iterator[Found]:
        for key, record in sorted(self._loop.objects().items()):
            given = record.spec.get("update")
            if not given or record.deleting:
                continue
            with contextlib.suppress(ValidationError, SetpointError):
                policy = UpdateSpec.model_validate(given)
                image = parse_reference(str(record.spec.get("image", "")))
                name = f"{image.familiar_repository}:{image.tag}" if image.tag else image.familiar
                yield Found(key, record.file, record.line, name, policy)

    async def _look_at(self, subject: Found, asked: _Asked) -> Found:
        record = self._loop.objects().get(subject.key)
        if record is None:
            return subject
        try:
            image = parse_reference(str(record.spec["image"]))
            update = await self._update_of(subject, image, asked)
        except SetpointError as error:
            return Found(**_fields(subject), error=error.reason)
        return Found(**_fields(subject), update=update)

    async def _update_of(self, subject: Found, image: Reference, asked: _Asked) -> Update | None:
        if not image.tag:
            return None  # it has a digest alone, which nothing is newer than
        policy, repository, now = subject.policy, image.repository, self._clock()
        tags = await asked.tags(repository) if policy.policy != "digest" else []
        *newer, present_tag = candidates(policy, image.tag, tags)
        offered = [(tag, await asked.digest(f"{repository}:{tag}")) for tag in newer[:MOST_ASKED]]
        offered.append((present_tag, await asked.digest(f"{repository}:{present_tag}")))
        known = self._notes.tags()
        for tag, digest in offered:
            name = f"{repository}:{tag}"
            if digest and (name, digest) not in known:
                self._notes.put(TagRecord(name, digest, now))
        seen = {
            (tag, digest): record.seen_at
            for tag, digest in offered
            if (record := self._notes.tags().get((f"{repository}:{tag}", digest))) is not None
        }
        present = image.digest or self._digest_of(subject.key, repository, offered[-1][1])
        return decide(policy, image.tag, present, offered, seen, now, self._local(now))

    @property
    def _notes(self) -> Notes:
        notes: Notes = self._loop.journal.notes
        return notes

    def _digest_of(self, key: Key, repository: str, digest: str) -> str:
        """What is wanted now: the registry's digest where that is the image that is here (an index's, which
        the image itself does not know), else the image's own."""
        image = self._loop.image_of(key)
        if image is None:
            return ""
        same = self._engine.image(f"{repository}@{digest}") if digest else None
        return digest if same is not None and same.id == image.id else image.digest

    def _tell(self, key: Key, before: Found | None, now: Found | None) -> None:
        """The condition; and an event for what was not there at the last look."""
        if now is None:
            self._loop.tell_news(key, ())
            return
        since = self._clock()
        if now.error:
            unknown = Condition(TYPE, "Unknown", "RegistryFailed", now.error, since)
            self._loop.tell_news(key, (unknown,))
            return
        update = now.update
        if update is None:
            self._loop.tell_news(key, ())
            return
        reason = "NewerTag" if not now.image.endswith(f":{update.tag}") else "NewDigest"
        message = f"{update.why}{'; it ' + update.waits if update.waits else ''}"
        self._loop.tell_news(key, (Condition(TYPE, "True", reason, message, update.seen_at),))
        last = before.update if before is not None else None
        if last is None or (last.tag, last.digest) != (update.tag, update.digest):
            self._loop.note(key, "Normal", TYPE, message)

    def _tidy(self) -> None:
        """Forget what tags meant that nobody asks for."""
        named = {parse_reference(found.image).repository for found in self._found.values()}
        for record in list(self._notes.tags().values()):
            is_named = record.reference.rpartition(":")[0] in named
            if not is_named and self._clock() - record.seen_at > KEPT_TAGS_SECONDS:
                self._notes.drop(record)


class _Asked:
    """What one look asks registries, each thing once."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._tags: dict[str, list[str]] = {}
        self._digests: dict[str, str] = {}

    async def tags(self, repository: str) -> list[str]:
        if repository not in self._tags:
            self._tags[repository] = await self._registries.tags(repository, MOST_TAGS)
        return self._tags[repository]

    async def digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = await self._registries.digest(name)
        return self._digests[name]


def _fields(found: Found) -> dict[str, Any]:
    return {
        "key": found.key, "file": found.file, "line": found.line, "image": found.image,
        "policy": found.policy,
    }  # fmt: skip
