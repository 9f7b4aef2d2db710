"""Mutations of what stands between a fault and its promise: each part taken away, and the test that must then
fail. Rows R of the list of faults. Taken in by `mutations`; what has none stands in README.md.
"""

from __future__ import annotations

from tests.threats.mutation import Mutation

CHECK, SERVER, STARTING = (
    "runtime/images/check.py",
    "runtime/supervisor/server.py",
    "runtime/supervisor/starting.py",
)
POLICY, CGROUPS = "agent/reconcile/policy.py", "runtime/cgroups.py"
ADDRESSES, NETWORKS = "runtime/network/addresses.py", "runtime/network/networks.py"
T, K, U = "tests/threats", "tests/kernel", "tests/unit"
_CHECKED, _LACKING = f"{K}/images/test_check.py", f"{T}/test_r38_missing_features.py"
_RUN_OUT = f"{K}/supervisor/test_scarce.py"

IMAGES = (
    Mutation(
        "R10", CHECK, "        if not self._content.is_whole(layer.digest):\n",
        "        if self._content.size(layer.digest) is None:\n",
        f"{_CHECKED}::test_a_damaged_blob_is_for_a_registry_to_give",
    ),
    Mutation(
        "R10", CHECK, "list(itertools.islice(differences(part / TREE, tree), _FILES_TOLD))", "[]",
        f"{_CHECKED}::test_a_damaged_file_is_named_and_repaired",
    ),
    Mutation("R10", CHECK, "        if key in self._busy_layers:\n", "        if False:\n", f"{_CHECKED}::test_a_tree_that_runs_is_left"),
)  # fmt: skip

PROCESSES = (
    Mutation(
        "R12", SERVER, "code not in (0, None) and container.was_oom_killed()", "False",
        f"{K}/supervisor/test_life.py::test_an_oom_kill_is_told_apart",
    ),
    Mutation(
        "R12", POLICY, 'self.by == "self" and not self.oom_killed and (', 'self.by == "self" and (',
        f"{U}/reconcile/test_policy.py::test_out_of_memory_is_no_kill_from_outside",
    ),
    Mutation(
        "R15", "runtime/supervisor/report.py", "errno.EMFILE, errno.ENFILE, ", "",
        f"{_RUN_OUT}::test_r15_a_start_fails_at_any_descriptor_and_leaves_nothing",
    ),
    Mutation(
        "R15", STARTING, "        container.close()\n        close(stdio)\n        raise\n", "        container.close()\n        raise\n",
        f"{_RUN_OUT}::test_r15_a_start_fails_at_any_descriptor_and_leaves_nothing",
    ),
    Mutation(
        "R15", SERVER, "            self._accept_later(listener)\n            return\n", "            raise\n",
        f"{_RUN_OUT}::test_r15_who_comes_when_there_is_none_is_heard_later",
    ),
    Mutation(
        "R15", "runtime/network/instance.py", "        self.table.open()\n", "",
        f"{K}/network/test_descriptors.py::test_the_firewall_changes_when_all_low_descriptors_are_taken",
    ),
    Mutation(
        "R24", SERVER, "        while True:\n            try:\n                found = os.waitid(os.P_ALL",
        "        for _ in range(1):\n            try:\n                found = os.waitid(os.P_ALL",
        f"{K}/supervisor/test_life.py::test_two_hundred_quick_exits_leave_no_zombie_and_no_descriptor",
    ),
    Mutation(
        "R24", "runtime/bundle.py", 'return (INIT_TARGET, "--", *argv) if config.init else argv', "return argv",
        "tests/e2e/test_many_processes.py::test_an_init_reaps_what_its_container_leaves",
    ),
    Mutation(
        "R30", POLICY, "    return min(LONGEST_DELAY_SECONDS, first * 2.0 ** min(failures - 1, 32))\n", "    return first\n",
        f"{U}/reconcile/test_policy.py::test_failures_in_a_row_wait_longer_up_to_a_minute",
    ),
    Mutation(
        "R30", POLICY, "    if failures + kills // KILLS_PER_ATTEMPT < restart.max_attempts:\n", "    if True:\n",
        f"{U}/reconcile/test_policy.py::test_too_many_failures_give_up_and_time_alone_does_not_help",
    ),
    Mutation(
        "R35", CGROUPS, "        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):\n", "        if True:\n",
        f"{K}/runtime/test_cgroups.py::test_r35_a_delete_waits_for_who_is_still_dying",
    ),
    Mutation(
        "R35", CGROUPS, "        make_anew(directory)\n        if name", "        _make(directory)\n        if name",
        f"{K}/runtime/test_cgroups.py::test_r35_what_an_earlier_life_left_is_made_anew_with_its_limits",
    ),
    Mutation(
        "R40", SERVER, "        record = self._exit_record(container, code)\n        container.close()\n",
        "        record = self._exit_record(container, code)\n",
        f"{K}/supervisor/test_life.py::test_two_hundred_quick_exits_leave_no_zombie_and_no_descriptor",
    ),
    Mutation(
        "R40", "store/event_caps.py", "        if self._untrimmed < TRIM_EVERY:\n", "        if True:\n",
        f"{U}/store/test_event_caps.py::test_events_are_trimmed_by_count",
    ),
)  # fmt: skip

NETWORK = (
    Mutation(
        "R28", "runtime/network/ports.py", "error.errno != errno.EADDRINUSE or kind != socket.SOCK_STREAM",
        "error.errno != errno.EADDRINUSE",
        f"{K}/network/test_published_ports.py::test_port_of_a_host_process_is_refused_with_its_name",
    ),
    Mutation(
        "R28", "runtime/network/instance.py", "                    self.reservations.take_again(self.book.bound(record))\n", "",
        f"{K}/network/test_published_ports.py::test_published_port_is_held_against_the_host_until_it_is_released",
    ),
    Mutation(
        "R28", "runtime/network/reservations.py", "        self._held[key] = ports.bind(subject, port, self._layout)\n", "",
        f"{K}/network/test_published_ports.py::test_port_of_a_host_process_is_refused_with_its_name",
    ),
    Mutation(
        "R29", ADDRESSES, "        for first, last in spans:\n", "        for first, last in ():\n",
        f"{U}/network/test_addresses.py::test_chosen_subnet_overlaps_nothing_that_is_taken",
    ),
    Mutation(
        "R29", ADDRESSES, "    start = after + 1 if low <= after < high else low\n", "    start = low\n",
        f"{U}/network/test_addresses.py::test_a_freed_address_is_not_given_at_once",
    ),
    Mutation(
        "R29", NETWORKS, "with range_lock.alone(self.layout.run_root):", "with contextlib.nullcontext():",
        "tests/kernel/network/test_subnets_at_once.py",
    ),
    Mutation(
        "R29", NETWORKS, "            if route.prefix and route.destination and route.index != skipped:\n", "            if False:\n",
        f"{K}/network/test_sandboxes.py::test_subnets_avoid_routes_and_each_other",
    ),
)  # fmt: skip

RACES = (
    Mutation(
        "R32", "agent/daemon.py", "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n",
        f"{K}/daemon/test_daemon.py::test_of_many_agents_one_runs_and_the_others_say_why",
    ),
    Mutation(
        "R32", "runtime/supervisor/serving.py", "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n",
        f"{K}/supervisor/test_survival.py::test_two_starters_make_one_supervisor",
    ),
    Mutation(
        "R33", "runtime/life.py", "        if holder is not None and holder not in config.replaces:\n", "        if False:\n",
        f"{K}/engine/test_containers.py::test_create_meets_itself_and_refuses_another",
    ),
    Mutation(
        "R33", "runtime/container_index.py", "        if holder != entry.config.id:\n", "        if False:\n",
        "tests/contract/test_engine.py",
    ),
)  # fmt: skip

VERSIONS = (
    Mutation(
        "R36", "runtime/network/records.py", 'int(data.get("ids", 0))', 'int(data["ids"])',
        f"{K}/engine/test_other_versions.py",
    ),
    Mutation(
        "R36", "runtime/supervisor/container.py", 'int(record.get("log_files", 3))', 'int(record["log_files"])',
        f"{K}/engine/test_other_versions.py",
    ),
    Mutation(
        "R36", "runtime/container_record.py", "{name: value for name, value in data.items() if name in names}", "dict(data)",
        f"{K}/engine/test_other_versions.py",
    ),
    Mutation(
        "R36", "store/store.py", "        if version not in tables.REVISIONS:\n", "        if False:\n",
        f"{U}/store/test_damage.py::test_a_newer_schema_is_refused_and_left_alone",
    ),
    Mutation(
        "R36", "store/migrate.py", "        command.upgrade(config, to)\n", "        command.stamp(config, to)\n",
        f"{U}/store/test_migrations.py",
    ),
    Mutation(
        "R38", "agent/cli/doctor_checks.py", "            if error.errno == errno.ENOSYS:\n", "            if False:\n",
        f"{_LACKING}::test_r38_the_doctor_names_what_is_missing[openat2]",
    ),
    Mutation(
        "R38", "agent/cli/doctor.py", '    return 1 if any(f["state"] == "missing" for f in findings) else 0\n', "    return 0\n",
        f"{_LACKING}::test_r38_the_doctor_names_what_is_missing[cgroups]",
    ),
    Mutation(
        "R38", "runtime/supervisor/process.py",
        "            sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)\n            _have_told(process.seccomp_told)\n        _set",
        "            with suppress(OSError):\n                sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)\n"
        "            _have_told(process.seccomp_told)\n        _set",
        f"{_LACKING}::test_r38_a_container_that_cannot_be_kept_in_does_not_run[seccomp]",
    ),
)  # fmt: skip

FAULTS = (*IMAGES, *PROCESSES, *NETWORK, *RACES, *VERSIONS)
