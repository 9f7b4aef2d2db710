"""The defences of `docker cp`, each taken away. See `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

THREAT, KERNEL = "tests/threats/test_b01_copies.py", "tests/kernel/engine/test_container_copies.py"
PLACES, TAKING, WORKER = "runtime/copies/places.py", "runtime/copies/taking.py", "runtime/copies/worker.py"
RUNNING, INLET = "runtime/copies/running.py", "runtime/copies/inlet.py"
LENT, API = "tests/unit/runtime/test_inlet.py", "tests/api/test_copy.py"

COPIES = (
    Mutation(
        "B1", PLACES, "_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS\n",
        "_RESOLVE = syscalls.RESOLVE_NO_MAGICLINKS\n", f"{THREAT}::test_b1_no_path_leads_out",
    ),
    Mutation(
        "B1", PLACES, "    return syscalls.file_system(descriptor) in KERNEL_FILE_SYSTEMS\n", "    return False\n",
        f"{KERNEL}::test_into_what_is_no_directory",
    ),
    Mutation(
        "B1", TAKING, "_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS\n",
        "_IN_ROOT = syscalls.RESOLVE_NO_MAGICLINKS\n", f"{THREAT}::test_b1_in_while_names_change",
    ),
    Mutation(
        "B1", TAKING, "        if syscalls.mount_id(found) != syscalls.mount_id(parent):\n", "        if False:\n",
        f"{KERNEL}::test_what_is_mounted_is_not_replaced",
    ),
    Mutation(
        "B1", WORKER, "    landlock.restrict(reach)\n", "", f"{THREAT}::test_b1_the_worker_reaches_nothing_else",
    ),
    Mutation(
        "B1", WORKER, 'landlock.Reach(read=("/proc/self", *paths))', 'landlock.Reach(whole=("/proc/self", *paths))',
        f"{THREAT}::test_b1_the_worker_reaches_nothing_else",
    ),
    Mutation(
        "B1", WORKER, 'read=("/proc/self", told["upper"]), whole=(told["store"],)',
        'read=("/proc/self",), whole=(told["upper"], told["store"])',
        f"{THREAT}::test_b1_who_makes_an_image_reaches_nothing_else",
    ),
    Mutation(
        "B5", "runtime/container_files.py",
        "                await self._in_thread(functools.partial(remove_dead_stages, self._layout.images))\n",
        "                pass\n", "tests/kernel/engine/test_container_files.py::test_a_commit_whose_worker_is_ended",
    ),
    Mutation(
        "B1", WORKER, "    syscalls.capset(mask, mask, 0)\n", "",
        f"{THREAT}::test_b1_the_worker_reaches_nothing_else",
    ),
    Mutation(
        "B1", RUNNING, "        syscalls.setns(pidfd, syscalls.CLONE_NEWNS)\n        found.append(os.open(\"/\",",
        '        name = f"/proc/{int(open(f\'/proc/self/fdinfo/{pidfd}\').read().split(\'Pid:\')[1].split()[0])}/root"\n'
        "        found.append(os.open(name,",
        f"{THREAT}::test_b1_links_of_proc_and_a_root_of_its_own",
    ),
    Mutation(
        "A19", RUNNING, "        if records.start_time(pid) != start_time:", "        if False:",
        f"{THREAT}::test_a19_another_process_with_the_number",
    ),
    Mutation(
        "B2", TAKING, '                os.chmod(f"/proc/self/fd/{descriptor}", entry.mode)  # noqa: PTH101\n',
        "                os.chmod(base, entry.mode, dir_fd=parent)\n",
        f"{THREAT}::test_b2_owner_and_mode_through_a_link",
    ),
    Mutation(
        "B2", TAKING, "_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC\n",
        f"{THREAT}::test_b2_owner_and_mode_through_a_link",
    ),
    Mutation(
        "B2", TAKING, "        for count in range(1, len(parts)) if self._links else ():\n",
        "        for count in ():\n", f"{KERNEL}::test_refused_archives",
    ),
    Mutation(
        "B2", TAKING, "        if max(entry.uid, entry.gid) >= self._ids:\n", "        if False:\n",
        f"{KERNEL}::test_a_container_with_ids_of_its_own",
    ),
    Mutation(
        "B5", "runtime/container_copies.py", "                        await self._until_left(entry)\n", "",
        f"{KERNEL}::test_a_copy_waits_for_who_still_has_the_root_mounted",
    ),
    Mutation(
        "F5", "runtime/copies/nursery.py", "            await asyncio.shield(worker.gone)\n", "",
        f"{KERNEL}::test_who_goes_away_leaves_nothing",
    ),
    Mutation(
        "F5", "runtime/copies/nursery.py", "            if sent < len(line):  # else", "            if True:  # else",
        "tests/unit/runtime/test_nursery.py",
    ),
    Mutation(
        "F6", INLET, "        if not poll.poll(seconds * 1000):\n", "        poll.poll(seconds * 1000)\n        if False:\n",
        f"{LENT}::test_one_that_stays_out",
    ),
    Mutation(
        "F5", INLET, '                raise Invalid("read request", "body", "it broke off")\n', "                return 0\n",
        f"{LENT}::test_one_that_is_cut_off",
    ),
    Mutation("F6", INLET, "        self._pace.wait(time.monotonic() - begun)\n", "", f"{LENT}::test_one_that_drips"),
    Mutation("F6", INLET, "            self._pace.receive(size)\n", "", f"{LENT}::test_one_whose_link_is_slow"),
    Mutation(
        "F6", INLET, "        if not _SIZE.fullmatch(digits):\n", "        if False:\n",
        f"{LENT}::test_what_is_no_body",
    ),
    Mutation("F6", INLET, "                if text:\n", "                if False:\n", f"{LENT}::test_what_is_no_body"),
    Mutation(
        "F6", INLET, "        if len(self._line) > _LINE_BYTES:\n", "        if False:\n",
        f"{LENT}::test_what_is_no_body",
    ),
    Mutation(
        "F6", INLET, "                if self._trailers > _TRAILERS:\n", "                if False:\n",
        f"{LENT}::test_what_is_no_body",
    ),
    Mutation(
        "B2", "runtime/images/streams.py", 'b"".join(map(bytes, self.take(size)))', 'b"".join(self.take(size))',
        f"{LENT}::test_a_view_that_is_written_over_is_not_kept",
    ),
    Mutation(
        "F5", "agent/api/ways.py", "            arguments[1].force_close()\n", "            pass\n",
        f"{API}::test_the_connection_ends_with_an_archive",
    ),
    Mutation(
        "F1", "agent/api/lent_body.py",
        '    if transport is None or transport.get_extra_info("sslcontext") is not None:\n',
        "    if transport is None:\n", "tests/api/test_access.py::test_the_docker_cli_does_its_work",
    ),
    Mutation(
        "B5", TAKING, "        if disk.f_bavail * disk.f_frsize >= self._limits.free_bytes:\n", "        if True:\n",
        f"{THREAT}::test_b5_the_disk_keeps_some_room",
    ),
)  # fmt: skip
