"""Who waits for a container's end hears of it, and nothing is kept of those that went without one."""

from __future__ import annotations

import asyncio

from agent.api.docker.exits import Exits
from agent.reconcile.policy import Exit
from store.records import Key

KEY = Key("@api", "container", "0123456789ab")


async def test_all_who_wait_hear_of_one_end() -> None:
    exits = Exits()
    waiting = exits.next_of("one")
    assert exits.next_of("one") is waiting
    exits.add(KEY, Exit(1, "one", None, 1.0, 7))
    assert (await waiting).code == 7 and exits.next_of("one") is not waiting


async def test_one_that_goes_without_an_end_is_not_waited_for() -> None:
    exits = Exits()
    waiting = exits.next_of("one")
    exits.give_up("one")
    assert waiting.cancelled() and exits._waiting == {}
    await asyncio.sleep(0)
