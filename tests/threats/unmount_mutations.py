"""What lets go of a container's root where nobody waits, and of its namespace, each part taken away. See `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

KERNEL, STORE = "tests/kernel/engine/test_roots.py", "tests/unit/store/test_write_ahead.py"
SIM = "tests/sim"
SUPERVISED, LIFE, ROOTS = "runtime/supervised.py", "runtime/life.py", "runtime/roots.py"
RUBBISH = "runtime/rubbish.py"
CONTAINER, WRITE_AHEAD = "runtime/supervisor/container.py", "store/write_ahead.py"


def _waits(file: str, op: str, name: str, test: str) -> Mutation:
    line = f'await self._{name}roots.wait_gone("{op}", '
    return Mutation(
        "R27", file, line, f'await self._{name}roots.wait_gone("{op}", "" and ', f"{KERNEL}::{test}"
    )


def _behind(file: str, old: str, new: str, test: str) -> Mutation:
    return Mutation("R27", file, old, new, f"tests/kernel/engine/test_rubbish.py::{test}")


UNMOUNTS = (
    Mutation(
        "R27", "runtime/supervisor/starting.py", "        if container.wants_root and prepared.built is not None:\n",
        "        if False:\n", f"{KERNEL}::test_an_end_is_heard_before_the_unmount",
    ),
    _waits(LIFE, "start", "client.", "test_whoever_needs_its_layers_again_waits"),
    _waits(LIFE, "delete", "client.", "test_a_removal_waits_for_the_room_on_the_disk"),
    _waits("runtime/container_copies.py", "copy", "", "test_a_copy_of_one_that_ended_waits"),
    Mutation(
        "R27", ROOTS, "timeout=GONE_SECONDS)", "timeout=None)",
        f"{KERNEL}::test_a_disk_that_stands_still_is_told",
    ),
    Mutation(
        "R27", SUPERVISED, "        if not entry.is_running:\n            self.client.roots.let_go(id)\n",
        "        if not entry.is_running:\n", f"{KERNEL}::test_an_end_is_heard_before_the_unmount",
    ),
    Mutation(
        "R27", SUPERVISED, "            self.client.roots.let_go(entry.config.id)\n", "            pass\n",
        f"{KERNEL}::test_an_answer_that_is_taken_after_the_end",
    ),
    Mutation(
        "R27", SUPERVISED, "        self._chore(self._open_roots())\n", "",
        f"{KERNEL}::test_the_next_agent_holds_them_too",
    ),
    Mutation(
        "R27", "runtime/supervisor/operations.py", "        reply.error(error, tuple(root.values()))\n",
        "        reply.error(error)\n", f"{KERNEL}::test_a_program_that_is_not_there_holds_nothing_and_nobody",
    ),
    Mutation(
        "R27", CONTAINER, "            callback(error)\n        self._close_root()\n", "            callback(error)\n",
        f"{KERNEL}::test_none_is_held_by_who_did_not_ask",
    ),
    Mutation(
        "R27", "runtime/supervisor/client.py", "        self.roots.close()\n", "",
        f"{KERNEL}::test_an_agent_that_goes_holds_none",
    ),
    _behind(
        LIFE, "if not is_quick or not is_little(self._assembly.bundle(id))", "if not is_quick",
        "test_the_room_of_what_was_written_is_back_with_the_answer",
    ),
    _behind(
        RUBBISH, " + _bytes_of(current) <= LITTLE_BYTES", " <= LITTLE_BYTES",
        "test_the_room_of_what_was_written_is_back_with_the_answer",
    ),
    _behind(
        RUBBISH, "    if os.fstat(directory).st_size > _MOST_DIRECTORY_BYTES:\n        return None\n", "",
        "test_a_directory_that_once_held_much_is_read_by_a_thread",
    ),
    _behind(
        RUBBISH, "                entries += len(found)\n", "",
        "test_the_room_of_what_was_written_is_back_with_the_answer",
    ),
    _behind(
        RUBBISH, "                size += sum(", "                size += 0 * sum(",
        "test_the_room_of_what_was_written_is_back_with_the_answer",
    ),
    _behind(
        LIFE, "not entry.config.pid_mode and ", "",
        "test_whose_processes_another_container_keeps_alive_is_waited_for",
    ),
    _behind(
        LIFE, "entry.config.pid_mode and self._rubbish.has_room()", "entry.config.pid_mode",
        "test_nobody_removes_faster_than_the_disk_does",
    ),
    _behind(
        LIFE, '                await self._rubbish.wait_gone("create", config.id, config.name)\n', "",
        "test_the_same_container_is_made_anew_when_nothing_is_left_of_it",
    ),
    _behind(
        RUBBISH, "                unmounted.result()\n", "                pass\n",
        "test_a_removal_waits_for_no_unmount_where_nothing_was_written",
    ),
    _behind(
        LIFE, "        await self._rubbish.close()\n", "",
        "test_an_engine_that_ends_finishes_it",
    ),
    _behind(
        LIFE, '            log.warning("the control group of a container that is gone stays for now: %s", error)\n',
        "            return\n", "test_what_cannot_be_removed_is_said_and_keeps_nothing_else",
    ),
    Mutation(
        "R27", "runtime/network/namespaces.py", "            if error.errno != errno.EBUSY or not is_mounted:\n",
        "            if True:\n", "tests/kernel/network/test_going.py::test_a_namespace_that_was_bound_twice_goes",
    ),
    Mutation("R5", WRITE_AHEAD, "bytes(WAL_BYTES - size), size)", "bytes(WAL_BYTES - size), 0)", STORE),
    Mutation("R5", WRITE_AHEAD, "        if space.f_bavail * space.f_frsize >= SPARE_BYTES and ", "        if ", STORE),
    Mutation("R5", WRITE_AHEAD, " | os.O_NOFOLLOW)", ")", STORE),
    Mutation(
        "R5", "store/store.py", '                make_room(Path(f"{path}-wal"))\n', "                pass\n",
        f"{STORE}::test_it_is_as_large_as_it_gets_and_does_not_grow",
    ),
    Mutation(
        "R27", "agent/reconcile/knowledge.py", "            places += [sandboxes[id].place for id in actual.orphan_sandboxes]\n", "",
        f"{SIM}/test_stories.py::test_a_namespace_of_which_all_else_is_lost_goes",
    ),
    Mutation(
        "R27", "agent/reconcile/knowledge.py", "            if not place and not is_left_over and (", "            if not place and (",
        f"{SIM}/test_api_changes.py::test_a_namespace_of_a_container_that_is_lost_goes",
    ),
    Mutation(
        "R27", "agent/reconcile/removal.py", "    failure = blocking_failure(memory, 0, token, now) if sandboxes else None\n",
        "    failure = None\n", f"{SIM}/test_stories.py::test_a_namespace_that_does_not_go_is_tried_ever_less_often",
    ),
)  # fmt: skip
