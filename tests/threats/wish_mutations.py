"""Mutations of how wishes are begun, stored and told of; see `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

JOURNAL, UNIT_JOURNAL = "agent/reconcile/journal.py", "tests/unit/reconcile/test_journal.py"
FEED, UNIT_EVENTS = "agent/api/docker/event_feed.py", "tests/unit/docker_api/test_events.py"
WAYS, UNIT_AT_ONCE = "agent/api/ways.py", "tests/unit/api/test_at_once.py"
LOOP = "agent/reconcile/loop.py"
APPLYING, STORE = "agent/reconcile/applying.py", "store/store.py"
SYNCS, UNIT_SYNCS = "runtime/kernel_syncs.py", "tests/unit/runtime/test_kernel_syncs.py"
UNIT_AT_ONCE_STORE, UNIT_VOLUMES = "tests/unit/store/test_at_once.py", "tests/sim/test_volume_wishes.py"
SIM = "tests/sim/test_api_changes.py"

WISHES = (
    Mutation("R5", JOURNAL, " or not batch.is_history)\n", ")\n", UNIT_JOURNAL),
    Mutation("R5", JOURNAL, "        elif is_synced and self._is_unsynced:\n", "        elif False:\n", UNIT_JOURNAL),
    Mutation(
        "R5", APPLYING, "is_first = not isinstance(action, do.StopContainer)\n", "is_first = True\n",
        f"{SIM}::test_followers_hear_of_an_end_when_it_is_stored_and_of_all_else_at_once",
    ),
    Mutation("R5", JOURNAL, "            store.sync()\n    except", "    except", UNIT_JOURNAL),
    Mutation("R5", JOURNAL, "replace(write.batch, events=()) if write.storing.is_kept else write.batch", "write.batch", UNIT_JOURNAL),
    Mutation("R5", LOOP, "            await stored\n", "            pass\n", "tests/unit/reconcile/test_meanwhile.py"),
    Mutation("R5", JOURNAL, "        if write.is_synced:\n            self._writing", "        if False:\n            self._writing", UNIT_JOURNAL),
    Mutation("R5", JOURNAL, "        if self._writing.is_slow:\n            return False\n", "", UNIT_JOURNAL),
    Mutation("R5", JOURNAL, "        reached = self._written  #", "        reached = self._synced = self._written  #", UNIT_JOURNAL),
    Mutation("R5", JOURNAL, "        if self._current is not None and self._current.storing.is_kept:\n            return\n", "", UNIT_JOURNAL),
    Mutation("R5", SYNCS, "done(None if result >= 0 else OSError(-result, os.strerror(-result)))", "done(None)", UNIT_SYNCS),
    Mutation("R5", SYNCS, "            self._is_missing = True\n", "            pass\n", UNIT_SYNCS),
    Mutation("R5", STORE, "        is_turn = self._at_once >= most or self._is_patient\n", "        is_turn = self._at_once >= most\n", UNIT_AT_ONCE_STORE),
    Mutation("R5", STORE, "self._standin is not None or self._caps.is_due_after(len(batch.events))", "self._standin is not None", UNIT_AT_ONCE_STORE),
    Mutation("R5", STORE, '"busy_timeout = 0"', '"busy_timeout = 5000"', UNIT_AT_ONCE_STORE),
    Mutation("R5", STORE, '"synchronous = NORMAL", ', '"synchronous = OFF", ', UNIT_AT_ONCE_STORE),
    Mutation("R5", "agent/api/docker/volumes.py", "is_done_meanwhile=is_empty)", "is_done_meanwhile=True)", UNIT_VOLUMES),
    Mutation("R5", "runtime/volumes.py", " or volume.options or volume.is_filled:\n", " or volume.options:\n", "tests/unit/runtime/test_volume_removal.py"),
    Mutation("R5", FEED, " or event.id != before + 1:\n", ":\n", UNIT_EVENTS),
    Mutation(
        "R5", FEED, " and (after >= self._complete_after or after < self._store.last_event_id):\n", ":\n",
        UNIT_EVENTS,
    ),
    Mutation("R5", STORE, "                last = max(last + 1, record.id)\n", "                last += 1\n",
             f"{UNIT_EVENTS}::test_what_is_told_has_the_number_that_it_is_stored_under"),
    Mutation(
        "F6", WAYS, "        if self._busy is not None:\n            self._hold(data)\n            return\n", "",
        f"{UNIT_AT_ONCE}::test_who_asks_while_his_wish_is_being_stored_gets_its_answer_first",
    ),
    Mutation("F6", WAYS, "        self._messages.append(self._reader.waits)\n", "", UNIT_AT_ONCE),
)  # fmt: skip
