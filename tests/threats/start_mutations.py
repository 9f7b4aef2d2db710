"""Mutations of what keeps a program from running before its network is there: see `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

LIFE = "runtime/life.py"
OPERATIONS, STARTING = "runtime/supervisor/operations.py", "runtime/supervisor/starting.py"
_STARTS, _PREPARE = "tests/kernel/engine/test_prepared_starts.py", "tests/kernel/supervisor/test_prepare.py"
_FIREWALL = "test_its_program_runs_when_the_firewall_is_there_and_its_first_packet_comes_back"

STARTS = (
    Mutation(
        "E7",
        OPERATIONS,
        "starting.start(server, container, holder)",
        "starting.start(server, container)",
        f"{_STARTS}::{_FIREWALL}",
    ),
    Mutation(
        "E7",
        STARTING,
        "        server.prepared[container.name] = pending\n",
        "        server.prepared[container.name] = pending\n        fork_soon(server, pending)\n",
        f"{_STARTS}::{_FIREWALL}",
    ),
    Mutation(
        "E7",
        "runtime/supervisor/server.py",
        "            if pending.holder is connection:\n                starting.give_up(self, pending)\n",
        "            pass\n",
        f"{_PREPARE}::test_it_ends_with_who_asked",
    ),
    Mutation(
        "E7",
        OPERATIONS,
        "pending if pending is not None and pending.holder is reply.connection else None",
        "pending",
        f"{_PREPARE}::test_another_has_no_word_in_it",
    ),
    Mutation(
        "E7",
        LIFE,
        "            await self._drop(config.id, prepared)\n",
        "",
        f"{_STARTS}::test_a_network_that_fails_leaves_nothing",
    ),
    Mutation(
        "E7",
        LIFE,
        "            is_waiting = False  # it may be made all the same\n",
        "",
        f"{_STARTS}::test_a_start_that_is_given_up_leaves_nothing_that_waits",
    ),
    Mutation(
        "A17",
        LIFE,
        ' and "restore" not in fields and not has_sysctls',
        ' and "restore" not in fields',
        f"{_STARTS}::test_sysctls_of_an_interface_wait_for_it",
    ),
    Mutation(
        "R36",
        "runtime/supervisor/client.py",
        'self.can_prepare = bool(told.get("can_prepare"))',
        "self.can_prepare = True",
        "tests/kernel/supervisor/test_upgrade.py::test_one_of_an_older_release_is_asked_for_what_it_knows",
    ),
)
