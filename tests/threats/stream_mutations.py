"""Mutations of what bounds streams of the Docker API, and lets go of them when a client breaks off."""

from __future__ import annotations

from tests.threats.mutation import Mutation

LOGS, REGISTRY = "agent/api/docker/logs.py", "agent/api/docker/exec_registry.py"
UPGRADE, ANSWERING = "agent/api/upgrade.py", "agent/api/answering.py"
BLOCKS, CONTAINER = "runtime/log_blocks.py", "runtime/supervisor/container.py"
_BREAKS = "tests/threats/test_f_streams.py::test_f5_clients_that_break_off_leave_nothing"
_UNIT = "tests/unit/docker_api/test_exec_registry.py"
_PARTING, WAYS = "tests/unit/api/test_parting.py::test_nothing_is_left_for_the_collector", "agent/api/ways.py"
PUMPS, _PUMPS = "agent/api/docker/pumps.py", "tests/unit/docker_api/test_pumps.py"
_TAKEN = "tests/unit/api/test_taken_over.py"
_ATTACHING = "tests/unit/runtime/test_attaching.py"
EXECS, _TURNS = "agent/api/docker/execs.py", "tests/unit/docker_api/test_exec_turns.py"

PROTOCOL = "runtime/supervisor/protocol.py"
_HUGE = "tests/threats/test_f05_huge_execs.py::test_f5_execs_of_megabytes_harm_no_other"

STREAMS = (
    Mutation("F5", LOGS, "        except asyncio.CancelledError:\n            self._close_soon()\n            raise\n", "        finally:\n            pass\n", _BREAKS),
    Mutation("F5", REGISTRY, "        process.close_stdin()\n        drain = ", "        drain = ", _BREAKS),
    Mutation("F5", REGISTRY, "Drain({process.stdout, process.stderr} - {-1}, self", "Drain((), self", f"{_UNIT}::test_whom_its_client_leaves_is_read_to_its_end_and_then_freed"),
    Mutation("F5", REGISTRY, "        while len(self._all) >= MAX_EXECS or self._bytes + size_bytes > MAX_BYTES:\n", "        while self._bytes + size_bytes > MAX_BYTES:\n", _UNIT),
    Mutation("F5", REGISTRY, "        if len(self._ended) > MAX_ENDED:\n", "        if False:\n", _UNIT),
    Mutation("F5", REGISTRY, "len(self._all) >= MAX_EXECS or self._bytes + size_bytes > MAX_BYTES", "len(self._all) >= MAX_EXECS", _UNIT),
    Mutation("F5", REGISTRY, "        if len(self._waiting) > MAX_WAITING:\n", "        if False:\n", _UNIT),
    Mutation("F5", REGISTRY, "        for each_at, seconds in ((self._ended, KEPT_SECONDS), (self._waiting, WAITING_SECONDS)):\n", "        for each_at, seconds in ((self._ended, KEPT_SECONDS),):\n", _UNIT),
    Mutation("F5", REGISTRY, "        self._sweeping = None\n        self._forget_old()\n", "        self._sweeping = None\n", _UNIT),
    Mutation("F5", EXECS, "        async with context.execs.turns.of(each.container):\n", "        if True:\n", _TURNS),
    Mutation("F5", EXECS, "    await context.execs.turns.come(state.id)\n", "", _TURNS),
    Mutation("F5", "runtime/execs.py", "        await self._attaching.acquire()\n", "", _ATTACHING),
    Mutation("F5", "runtime/execs.py", "            answer.add_done_callback(_close)\n", "", _ATTACHING),
    Mutation("F5", "runtime/execs.py", "return await asyncio.shield(answer)", "return await answer", _ATTACHING),
    Mutation("F5", UPGRADE, "        asyncio.get_running_loop().add_reader(self._hangup.fileno(), self._transport.abort)\n", "", "tests/threats/test_f_streams.py::test_f5_clients_that_listened_to_silence_leave_nothing"),
    Mutation("F5", UPGRADE, "    connection.hold_writers()\n", "", f"{_PUMPS}::test_both_streams_of_a_client_that_reads_late_are_whole"),
    Mutation("F5", UPGRADE, "        if self._transport.get_write_buffer_size():\n", "        if False:\n", f"{_PUMPS}::test_an_answer_that_was_not_read_yet_holds_the_stream_too"),
    Mutation("F5", PUMPS, "    FRAME.pack_into(buffer, 0, stream, count)\n", "    FRAME.pack_into(buffer, 0, stream, count)\n    _put_back(buffer)\n", f"{_PUMPS}::test_who_does_not_read_gets_nothing_of_others"),
    Mutation("F5", ANSWERING, "        if isinstance(error, ConnectionError) and _is_gone(request):\n            raise  # aiohttp", "        if False:\n            raise  # aiohttp", _BREAKS),
    Mutation("F5", WAYS, "        self._reader = self._body = None\n", "        self._reader = None\n", f"{_PARTING}[a body]"),
    Mutation("F5", WAYS, "        self._reader = self._body = None\n", "        self._body = None\n", f"{_PARTING}[at once]"),
    Mutation("F5", WAYS, "        transport.set_write_buffer_limits(high=HELD_BYTES)\n", "", "tests/unit/api/test_slow_readers.py"),
    Mutation("F5", WAYS, "        forget_place(exc)\n", "", f"{_PARTING}[broken]"),
    Mutation("F5", WAYS, "        except ConnectionError:\n            return web.StreamResponse(), True\n", "        finally:\n            pass\n", f"{_PARTING}[gone meanwhile]"),
    Mutation("F5", WAYS, "            forget_place(getattr(message, \"exc\", None))  # of what is no HTTP\n", "", f"{_PARTING}[no HTTP]"),
    Mutation("F5", BLOCKS, "            if is_last and not self._is_followed and file.offset >= self._end:\n", "            if False:\n", "tests/unit/runtime/test_log_blocks.py"),
    Mutation(
        "F5", CONTAINER, "        if not self.is_running:  # its terminal may not be there yet, to take what is typed ahead\n            attachment.hold_input(held=True)\n",
        "        attachment.hold_input(held=False)\n",
        "tests/kernel/engine/test_streams.py::test_what_is_typed_before_the_start_is_not_lost",
    ),
    Mutation("F5", "agent/api/trimming.py", "        if self._ended >= CONNECTIONS and self._timer is None:\n", "        if False:\n", "tests/unit/api/test_trimming.py"),
    Mutation("F6", "runtime/images/staging_directory.py", "            with contextlib.suppress(OSError):  # its own load may end at this moment, and remove it\n", "            if True:\n", "tests/unit/images/test_staging_directory.py"),
    Mutation("F6", "agent/api/docker/body_networks.py", "    return {name: map_of(endpoints, name) for name in endpoints}\n", "    return endpoints\n", "tests/unit/docker_api/test_container_body.py"),
    Mutation("F6", "runtime/container_files.py", "            work.add_done_callback(lambda done: done.cancelled() or done.exception())\n", "", "tests/kernel/engine/test_container_files.py::test_nobody_waits_for_a_commit_that_fails"),
    Mutation("F5", "agent/api/trimming.py", "            self._free()\n", "            pass\n", "tests/unit/api/test_trimming.py"),
    Mutation("F5", "store/store.py", "            self._connection.exec_driver_sql(\"PRAGMA shrink_memory\")\n", "            pass\n", "tests/unit/store/test_store.py::test_the_pages_that_it_keeps_are_given_back"),
    Mutation("F5", "agent/api/docker/events.py", "            shared_lines.cache_clear()\n", "            pass\n", "tests/unit/docker_api/test_events.py::test_what_was_written_for_many_goes_with_the_last_of_them"),
    Mutation("F5", REGISTRY, "            waiters.discard(mine)\n", "", f"{_UNIT}::test_whoever_waits_for_a_start_is_told_and_nobody_is_kept"),
    Mutation("F5", PROTOCOL, "            raise TooLong(", "            raise Closed(", f"{_HUGE}[what is longer on the way]"),
    Mutation("F5", PROTOCOL, "            raise TooMuch(", "            raise Closed(", "tests/unit/supervisor/test_protocol.py"),
    Mutation("F5", "runtime/supervisor/client.py", "        except TooLong as error:\n", "        except KeyError as error:\n", f"{_HUGE}[what is longer on the way]"),
    Mutation("F5", REGISTRY, "        if self.process is None:  # the agent ends\n", "        if False:\n", f"{_UNIT}::test_an_agent_that_ends_says_nothing_of_what_runs_on"),
    Mutation("F6", UPGRADE, "    request[BEGUN] = True\n", "", f"{_TAKEN}::test_a_bug_breaks_it_off_and_writes_no_second_head[fails_later]"),
    Mutation("F6", WAYS, "        if self._held and (response is None or isinstance(response, web.StreamResponse)):\n", "        if False:\n", f"{_TAKEN}::test_an_upgrade_that_is_refused_goes_on_in_http"),
    Mutation("F6", WAYS, "            self._hold_early()\n", "            pass\n", f"{_TAKEN}::test_what_comes_with_an_upgrade_is_for_who_takes_it"),
    Mutation("F6", WAYS, "        if found < 0:\n", "        if found - len(self._last) + len(_END_OF_HEAD) <= 0:\n", f"{_TAKEN}::test_what_comes_with_an_upgrade_is_for_who_takes_it"),
    Mutation("F5", WAYS, "        if self._busy is not None:\n            self._next_keepalive", "        if False:\n            self._next_keepalive", f"{_TAKEN}::test_bytes_go_both_ways_for_longer_than_an_idle_connection_is_kept"),
    Mutation("F5", "agent/api/ways.py", "        self._early += early\n", "", "tests/api/test_execs.py::test_input_that_comes_with_the_request[True-1]"),
)  # fmt: skip
