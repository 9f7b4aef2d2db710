"""The defences of `docker cp`, each taken away. See `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

THREAT, KERNEL = "tests/threats/test_b01_copies.py", "tests/kernel/engine/test_container_copies.py"
PLACES, TAKING, WORKER = "runtime/copies/places.py", "runtime/copies/taking.py", "runtime/copies/worker.py"
RUNNING = "runtime/copies/running.py"

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
        "B1", WORKER, "    landlock.restrict(\n", "    str(\n", f"{THREAT}::test_b1_the_worker_reaches_nothing_else",
    ),
    Mutation(
        "B1", WORKER, "    is_writing = capabilities == WRITES\n", "    is_writing = True\n",
        f"{THREAT}::test_b1_the_worker_reaches_nothing_else",
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
        "B5", TAKING, "        if disk.f_bavail * disk.f_frsize >= self._limits.free_bytes:\n", "        if True:\n",
        f"{THREAT}::test_b5_the_disk_keeps_some_room",
    ),
)  # fmt: skip
