"""What was made through a scoped socket with a time to live goes when that is over: containers first, then
what they used. The time is in a label of the object's own row, so a new agent knows it too. Run by
the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

from agent.api.context import Context
from agent.api.docker import auto_remove, wishes
from agent.api.sockets.scope import expires_at
from agent.manifest.spec import VolumeSpec
from agent.reconcile.api_objects import API_OWNER
from runtime.errors import SetpointError
from store.records import Key, ObjectRecord

log = logging.getLogger("setpoint.api")

RETRY_SECONDS = 5.0
LONGEST_SECONDS = 600.0  # between two looks, should a clock jump
PATIENCE_SECONDS = 30.0
GATHER_SECONDS = 0.25  # news of a burst are one
ORDER = ("container", "network", "volume")


class Expiry:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._news = asyncio.Event()

    def look_soon(self) -> None:
        """Something was made."""
        self._news.set()

    async def run(self) -> None:
        while True:
            self._news.clear()
            wait = await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
                await asyncio.sleep(GATHER_SECONDS)

    async def _look(self) -> float:
        """Let go of what is due; how long until the next is."""
        now, wait = time.time(), LONGEST_SECONDS
        due: list[tuple[Key, ObjectRecord]] = []
        for key, record, at in dated(self._context):
            if at <= now:
                due.append((key, record))
            else:
                wait = min(wait, at - now)
        for kind in ORDER:
            ends = [self._remove(key, record) for key, record in due if key.kind == kind]
            if not all(await asyncio.gather(*ends)):
                wait = min(wait, RETRY_SECONDS)
        return wait

    async def _remove(self, key: Key, record: ObjectRecord) -> bool:
        """False when it is to be tried again. One that waits for who uses it is let go of already."""
        name = record.spec.get("container_name") or key.name
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._let_go(key, record)
        except TimeoutError:
            pass
        except SetpointError as error:
            log.warning("%s, whose time is over, stays for now: %s", key, error)
            return False
        self._context.loop.note(key, "Normal", "Expired", f"{name}: its time to live is over")
        return True

    async def _let_go(self, key: Key, record: ObjectRecord) -> None:
        if key.kind == "container":
            await auto_remove.remove_now(self._context, key, record, with_volumes=True)
            return
        is_volume = key.kind == "volume"  # it goes with what is in it
        last = VolumeSpec.model_validate({**record.spec, "keep": False}) if is_volume else None
        await wishes.let_go(self._context, key, last)


def dated(context: Context) -> Iterator[tuple[Key, ObjectRecord, int]]:
    """The objects of the API that have an end."""
    for key, record in context.loop.objects().items():
        if record.owner != API_OWNER or record.deleting or key.kind not in ORDER:
            continue
        if (at := expires_at(record.spec.get("labels", {}))) is not None:
            yield key, record, at
