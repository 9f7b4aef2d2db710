"""Mutations of what bounds the logs of containers, of what is done for hundreds of them, and of what ends an
alarm."""

from __future__ import annotations

from tests.threats.mutation import Mutation

FILE, OUTPUT, READ = "runtime/supervisor/log_file.py", "runtime/supervisor/output.py", "runtime/logs.py"
BLOCKS, _BLOCKS = "runtime/log_blocks.py", "tests/unit/runtime/test_log_blocks.py"
_F10 = "tests/threats/test_f10_logs.py::test_f10"

LOGS = (
    Mutation("F10", FILE, "        if self.size and self.size + length > self.max_bytes:\n", "        if False:\n", f"{_F10}_a_flood_has_bounds_that_nobody_asked_for_and_holds_nobody_up"),
    Mutation("F10", OUTPUT, "        if size > limit:\n", "        if False:\n", f"{_F10}_lines_that_cost_more_than_they_bring_have_the_same_bounds[empty]"),
    Mutation("F10", FILE, "os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC", "os.O_APPEND | os.O_CLOEXEC", f"{_F10}_a_link_in_place_of_a_log_is_not_written_through"),
    Mutation("F10", READ, "os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC", "os.O_RDONLY | os.O_CLOEXEC", f"{_F10}_a_link_beside_a_log_is_not_read"),
    Mutation("F10", READ, "        if error.errno in (errno.ENOENT, errno.ELOOP):", "        if error.errno == errno.ENOENT:", f"{_F10}_a_link_beside_a_log_is_not_read"),
    Mutation("F10", BLOCKS, "os.O_RDONLY | os.O_NOFOLLOW, 0, syscalls", "os.O_RDONLY, 0, syscalls", f"{_BLOCKS}::test_what_lies_elsewhere_is_for_a_reader"),
    Mutation("F10", BLOCKS, "        if data and os.preadv(fd, [data], start, os.RWF_NOWAIT) != len(data):\n            return None\n", "        os.preadv(fd, [data], start)\n", f"{_BLOCKS}::test_what_is_not_in_memory_is_for_a_thread"),
    Mutation("F10", BLOCKS, "        if begins_at > 0:\n            return data[begins_at:]\n        return data if is_whole and", "        return data[begins_at:] if is_whole or", f"{_BLOCKS}::test_what_is_found_without_a_wait_is_what_a_reader_finds"),
    Mutation("R39", "runtime/assembly.py", "if self._volumes.get(name) is not None)", "if name)", "tests/kernel/engine/test_hung_mounts.py::test_a_volume_that_is_yet_to_be_made_sends_nobody"),
    Mutation("R37", "runtime/supervisor/serving.py", "        adoption.adopt_all(server)\n", "", "tests/e2e/test_mass_recovery.py::test_r37_agent_and_supervisor_are_killed"),
    Mutation("R6", "agent/images/keeper.py", "            if self.alarm is not None and await self._has_room_again():\n", "            if False:\n", "tests/unit/agent_images/test_keeper.py"),
)  # fmt: skip
