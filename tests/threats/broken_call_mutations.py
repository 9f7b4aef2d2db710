"""Mutations of what calls leave whose client has gone, or whose wish cannot be."""

from __future__ import annotations

from tests.threats.mutation import Mutation

ATTEMPTS, CONTAINERS = "agent/api/docker/attempts.py", "agent/api/docker/containers.py"
REMOVAL, LIFE = "agent/api/docker/auto_remove.py", "agent/api/docker/container_life.py"
EXECS = "agent/api/docker/execs.py"
OVERRIDE = "agent/api/override.py"
_SIM = "tests/sim/test_broken_calls.py"
_DIRECT = "tests/sim/test_broken_direct_calls.py"
_NOT_FOR_EVER = f"{_SIM}::test_what_cannot_be_is_not_wanted_for_ever"

BROKEN_CALLS = (
    Mutation("F5", ATTEMPTS, "            self._go_on_alone()\n", "", _NOT_FOR_EVER),
    Mutation("F5", ATTEMPTS, "            await completed(self.undo(why))\n", "", _NOT_FOR_EVER),
    Mutation("F5", ATTEMPTS, "            other.cancel()\n", "            pass\n", f"{_SIM}::test_few_wait_alone"),
    Mutation(
        "F5", ATTEMPTS, "alone.pop(self.key) if alone.get(self.key) is done else None", "None",
        f"{_SIM}::test_few_wait_alone",
    ),
    Mutation(
        "F5", ATTEMPTS, "self._generation() != wished or self.is_so()", "self.is_so()",
        f"{_SIM}::test_what_somebody_else_wishes_meanwhile_is_his",
    ),
    Mutation(
        "F5", CONTAINERS, " and not context.loop.is_at_work(key)\n", "\n",
        f"{_SIM}::test_a_create_that_fails_late_is_told",
    ),
    Mutation(
        "F5", CONTAINERS, "            await wishes.put(context, key, old)\n", "            pass\n",
        f"{_SIM}::test_what_cannot_be_is_not_wanted_for_ever[update]",
    ),
    Mutation(
        "F5", CONTAINERS, "        await wishes.change(context, key, container_name=state.name)\n", "        pass\n",
        f"{_SIM}::test_what_cannot_be_is_not_wanted_for_ever[rename]",
    ),
    Mutation(
        "F5", CONTAINERS, "    except BaseException as error:\n        # Also when", "    except Exception as error:\n        # Also when",
        f"{_SIM}::test_a_create",
    ),
    Mutation(
        "F5", "agent/reconcile/inventory.py", 'if key.kind == "container" and is_api(key) else ""',
        'if key.kind == "container" and is_api(key) and not record.deleting else ""',
        f"{_SIM}::test_the_name_of_what_is_not_there_yet_and_is_not_wanted_any_more",
    ),
    Mutation(
        "F5", CONTAINERS, "    with contextlib.suppress(SetpointError):  # the name is taken, then\n", "    if True:\n",
        f"{_SIM}::test_a_name_that_does_not_come_free_is_taken",
    ),
    Mutation(
        "F5", REMOVAL, "    names, id = anonymous_volumes(context, key, record), container_id(context, key)\n",
        "    names, id = anonymous_volumes(context, key, record), container_id(context, key)\n"
        "    names = tuple(name for name in names if any(name == each.name for each in context.engine.list_volumes()))\n",
        f"{_SIM}::test_a_create",
    ),
    Mutation(
        "F5", "agent/api/docker/hijack.py", "    await connection.wait_taken(HEAD_SECONDS)\n", "    return\n",
        "tests/api/test_attach.py::test_who_reads_late_reads_the_head_first",
    ),
    Mutation("F5", REMOVAL, 'return verdict.phase == "Stalled" and ', "return False and ", f"{_SIM}::test_a_start_that_cannot_be"),
    Mutation(
        "F5", "agent/api/docker/attached.py", "        await asyncio.wait(set(pending), timeout=LONGEST_SECONDS)\n", "        return\n",
        "tests/unit/docker_api/test_attached.py",
    ),
    Mutation(
        "F5", "agent/api/docker/attached.py", ", timeout=LONGEST_SECONDS", "",
        "tests/unit/docker_api/test_attached.py::test_who_does_not_read_holds_up_nobody_for_long",
    ),
    Mutation(
        "F5", "agent/api/docker/event_feed.py", "if unsent := self._unsent(events):", "if unsent := set[asyncio.Future[None]]():",
        "tests/unit/docker_api/test_events.py::test_an_end_is_told_after_what_was_printed_last",
    ),
    Mutation(
        "F5", OVERRIDE, "await completed(_begin_and_carry_out(", "await (_begin_and_carry_out(",
        f"{_DIRECT}::test_an_override",
    ),
    Mutation(
        "F5", OVERRIDE, "        if state.phase not in DONE_ALREADY.get(what, ()):\n", "        if True:\n",
        f"{_DIRECT}::test_an_override",
    ),
    Mutation(
        "F5", "agent/api/docker/finding.py", "    if record is None:\n        raise Conflict(\n",
        "    if False:\n        raise Conflict(\n",
        f"{_DIRECT}::test_what_an_agent_does_not_know_yet_is_left_alone",
    ),
    Mutation(
        "F5", "agent/api/docker/image_commit.py", "await completed(work)", "await work",
        f"{_DIRECT}::test_a_commit",
    ),
    Mutation(
        "F5", "agent/api/docker/images.py", "await completed(_prune(", "await (_prune(",
        f"{_DIRECT}::test_images_that_nobody_needs",
    ),
    Mutation(
        "F5", "agent/api/docker/checkpoints.py", "await completed(_keep_and_stop(", "await (_keep_and_stop(",
        f"{_DIRECT}::test_a_checkpoint_with_which_a_container_stops",
    ),
    Mutation(
        "F5", EXECS, "        each.leave()\n    return Upgraded()", "        pass\n    return Upgraded()",
        f"{_DIRECT}::test_an_exec_that_is_listened_to",
    ),
    Mutation(
        "F5", EXECS, "        elif told.cancelled():\n            each.leave()\n", "",
        f"{_DIRECT}::test_an_exec_that_is_listened_to",
    ),
    Mutation(
        "F5", LIFE, "        await _give_up_start(context, key, message_of(why))\n", "        return\n",
        f"{_SIM}::test_a_start_that_cannot_be",
    ),
)  # fmt: skip
