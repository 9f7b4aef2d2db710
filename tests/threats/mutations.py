"""What each test here is for: the defence taken away, and the test that must then fail.

Run by ops/mutate in a scratch copy of the checkout. old must occur exactly once in the file. A mutation
that no test notices is a defence that could be lost without a word.
"""

from __future__ import annotations

from tests.threats.access_mutations import ACCESS
from tests.threats.adoption_mutations import ADOPTION
from tests.threats.api_image_mutations import API_IMAGES
from tests.threats.archive_mutations import ARCHIVES
from tests.threats.broken_call_mutations import BROKEN_CALLS
from tests.threats.build_mutations import BUILDS
from tests.threats.checkpoint_mutations import CHECKPOINTS
from tests.threats.copy_mutations import COPIES
from tests.threats.docker_build_mutations import DOCKER_BUILDS
from tests.threats.dockerfile_mutations import DOCKERFILES
from tests.threats.drift_mutations import DRIFT
from tests.threats.fault_mutations import FAULTS
from tests.threats.image_mutations import IMAGE_GATE
from tests.threats.keeping_mutations import KEEPING
from tests.threats.log_mutations import LOGS
from tests.threats.mutation import Mutation
from tests.threats.quota_mutations import QUOTAS
from tests.threats.source_fault_mutations import SOURCE_FAULTS
from tests.threats.spoofing_mutations import SPOOFING
from tests.threats.start_mutations import STARTS
from tests.threats.stream_mutations import STREAMS
from tests.threats.unmount_mutations import UNMOUNTS
from tests.threats.volume_mutations import VOLUMES
from tests.threats.wish_mutations import WISHES
from tests.threats.worker_mutations import WORKERS

LAUNCH, CHILD = "runtime/supervisor/launch.py", "runtime/supervisor/child.py"
PROCESS, ROOTFS = "runtime/supervisor/process.py", "runtime/supervisor/rootfs.py"
RANGES, RANGES_TEST = "runtime/seccomp_ranges.py", "tests/unit/runtime/test_seccomp_ranges.py"
CAPABILITY_SETS = "tests/kernel/runtime/test_capability_sets.py"
MOUNTS, USERS, SECURITY = "runtime/mounts.py", "runtime/users.py", "runtime/security.py"
BUNDLE, PREPARE = "runtime/bundle.py", "runtime/supervisor/prepare.py"
T, U, F = "tests/threats", "tests/unit/runtime", "tests/faults"
JOURNAL, UNIT_JOURNAL = "agent/reconcile/journal.py", "tests/unit/reconcile/test_journal.py"

MUTATIONS = (
    Mutation("A1", PROCESS, "            if _is_there(path, 4):\n", "            if True:\n", f"{T}/test_a01_host_binary.py"),
    Mutation(
        "A1", "runtime/supervisor/interpreter.py", "syscalls.MOUNT_ATTR_RDONLY)", "0)",
        f"{T}/test_a01_host_binary.py::test_a1_nothing_of_the_host_is_to_be_written_to_through_the_mount",
    ),
    Mutation(
        "A1", "agent/cli/main.py", "        interpreter.be_read_only()\n", "        pass\n",
        "tests/kernel/runtime/test_oci.py::test_a1_what_is_forked_into_a_container_runs_from_a_read_only_mount",
    ),
    Mutation(
        "A2", PROCESS,
        "        if may_make:\n            directory = mounts.open_target(root, process.cwd, True)\n        else:\n            directory = mounts.open_in_root(root, process.cwd, os.O_PATH | os.O_DIRECTORY)\n        os.fchdir(directory)\n"
        "        os.close(directory)\n        inside = os.getcwd()\n",
        '        os.chdir(process.cwd)\n        inside = "/"\n',
        f"{T}/test_a02_leaked_descriptors.py",
    ),
    Mutation(
        "A2", PROCESS, "    _close_others(keep, {profile, channel.fileno()})\n", "",
        "tests/kernel/runtime/test_launch.py::test_only_the_three_descriptors_are_inside",
    ),
    Mutation(
        "A3", ROOTFS, '    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)\n    found = os.fstat(null)\n',
        '    null = os.open("/proc/version", os.O_PATH | os.O_CLOEXEC)\n    found = os.stat("/dev/null")\n',
        f"{T}/test_a03_masked_paths.py",
    ),
    Mutation(
        "A3", ROOTFS, "    mounts.mask(tree, [path for path in plan.masked if path.startswith(prefix)], null, prefix, empty)\n",
        "", f"{T}/test_e05_kernel_files.py::test_e5_hidden_paths_show_nothing",
    ),
    Mutation(
        "A4", "runtime/supervisor/console.py", "        if sys_.file_system(directory) != DEVPTS_MAGIC:\n", "        if False:\n",
        f"{T}/test_a04_console.py::test_a4_what_is_no_devpts_is_not_even_opened",
    ),
    Mutation(
        "A5", MOUNTS, "    if sys_.file_system(target) != PROC_MAGIC:\n        return\n", "    return\n",
        f"{T}/test_a05_procfs.py",
    ),
    Mutation(
        "A6", ROOTFS, 'plain = sys_.RESOLVE_NO_SYMLINKS if mount.target in ("/sys", "/dev") else 0', "plain = 0",
        f"{T}/test_a05_procfs.py::test_a5_a6_a_link_in_place_of_a_system_directory_is_refused",
    ),
    Mutation(
        "A7", MOUNTS,
        "    return sys_.openat2(root, path, flags, 0, sys_.RESOLVE_IN_ROOT | sys_.RESOLVE_NO_MAGICLINKS | resolve)\n",
        '    return sys_.openat2(root, path.strip("/") or ".", flags, 0, sys_.RESOLVE_NO_MAGICLINKS | resolve)\n',
        f"{T}/test_a07_mount_targets.py",
    ),
    Mutation(
        "A8", MOUNTS,
        "    return sys_.openat2(root, path, flags, 0, sys_.RESOLVE_IN_ROOT | sys_.RESOLVE_NO_MAGICLINKS | resolve)\n",
        '    return sys_.openat2(root, path.strip("/") or ".", flags, 0, sys_.RESOLVE_NO_MAGICLINKS | resolve)\n',
        f"{T}/test_a08_made_on_the_host.py",
    ),
    Mutation("A9", LAUNCH, "syscalls.PR_SET_DUMPABLE, 0)", "syscalls.PR_SET_DUMPABLE, 1)", f"{T}/test_a09_tracing.py"),
    Mutation("A10", USERS, "int(text) > MAX_ID", "False", f"{T}/test_a10_users.py::test_a10_what_is_no_user_is_refused"),
    Mutation(
        "A10", USERS, "        if not stat.S_ISREG(status.st_mode):\n", "        if stat.S_ISDIR(status.st_mode):\n",
        f"{T}/test_a10_users.py::test_a10_a_fifo_for_a_user_file_does_not_hang",
    ),
    Mutation(
        "A10", USERS, "    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC\n",
        "    flags = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC\n",
        f"{T}/test_a10_users.py::test_a10_a_lease_on_a_user_file_does_not_hang",
    ),
    Mutation("A11", PROCESS, "    os.setgroups(groups)\n", "", f"{T}/test_a10_users.py"),
    Mutation(
        "A12", PROCESS, "    sys_.drop_bounding(process.drop)\n", "    pass\n",
        f"{T}/test_a12_capabilities.py",
    ),
    Mutation(
        "A12", PROCESS, "sys_.capset(effective & permitted, permitted, inheritable)\n    except",
        "sys_.capset(effective & permitted, permitted, permitted)\n    except", f"{T}/test_a12_capabilities.py",
    ),
    Mutation(
        "A12", PROCESS, "        permitted &= held\n        sys_.capset(effective & permitted, permitted, inheritable & held)\n",
        "", CAPABILITY_SETS,
    ),
    Mutation(
        "A12", PROCESS, "            if os.geteuid():  #", "            if False:  #",
        "tests/kernel/runtime/test_seccomp_filter.py::test_it_is_loaded_in_a_container",
    ),
    Mutation(
        "A13", "runtime/seccomp.py", "smaller(_unknown_is_enosys(profile, highest) + _export(made))", "smaller(_export(made))",
        "tests/kernel/runtime/test_seccomp_filter.py::test_a_call_from_the_future_does_not_exist",
    ),
    Mutation(
        "A13", RANGES, "found > value if code == _GREATER else found >= value", "found >= value", RANGES_TEST,
    ),
    Mutation(
        "A13", RANGES, "place = self._if(_EQUAL, number, self._place(answer), place)\n", "pass\n", RANGES_TEST,
    ),
    Mutation("A13", RANGES, "                mask &= found.value\n", "                pass\n", RANGES_TEST),
    Mutation(
        "A13", RANGES, "                if loaded < _FIRST_ARGUMENT:\n                    raise _Unknown\n",
        "                pass\n", RANGES_TEST,
    ),
    Mutation(
        "A13", "runtime/seccomp.py", "    made.set_attr(2, _errno(pyseccomp, ENOSYS))\n",
        "    made.set_attr(2, pyseccomp.ALLOW)\n",
        "tests/kernel/runtime/test_seccomp_filter.py::test_a13_the_32_bit_door_is_shut",
    ),
    Mutation(
        "A14", PREPARE, '        raise Unsupported("start", f"apparmor profile {profile}", "this kernel has no AppArmor on", "")\n',
        '        return ""\n', f"{T}/test_a14_apparmor.py",
    ),
    Mutation(
        "A14", PROCESS, "    if label in (\"\", \"unconfined\") or (is_plain and label != process.apparmor):\n",
        "    if False:\n", f"{U}/test_apparmor.py::test_a14_the_label_is_read_back",
    ),
    Mutation(
        "A14", BUNDLE, "security_.apparmor or (\"\" if security_.privileged else host.apparmor)", "security_.apparmor",
        f"{U}/test_apparmor.py::test_a_container_that_names_no_profile_gets_the_hosts",
    ),
    Mutation(
        "A14", "runtime/apparmor.py", "    if done.returncode:\n", "    if False:\n",
        f"{U}/test_apparmor.py::test_a14_what_cannot_be_loaded_is_an_error",
    ),
    Mutation(
        "A14", "runtime/confinement.py", "        if self._loaded is None or not self._loaded.is_there():\n",
        "        if self._loaded is None:\n",
        f"{U}/test_apparmor.py::test_a14_a_start_waits_for_it_and_fails_without_it",
    ),
    Mutation(
        "A15", PREPARE, "environment=dict(each.split(\"=\", 1) for each in environment if each.find(\"=\") > 0)",
        "environment=dict((each if \"=\" in each else f\"{each}={__import__('os').environ.get(each)}\").split(\"=\", 1) for each in environment)",
        f"{T}/test_a15_environment.py::test_a15_none_of_the_host_is_inside",
    ),
    Mutation(
        "A15", "runtime/images/config.py", "        if not _VARIABLE.fullmatch(entry):\n", "        if False:\n",
        f"{T}/test_a15_environment.py::test_a15_an_entry_of_an_image_that_asks_for_one_is_refused",
    ),
    Mutation(
        "A16", BUNDLE, "if not key.startswith(RESERVED)}", "}",
        f"{T}/test_a16_labels.py::test_a16_an_annotation_does_not_steer_the_runtime",
    ),
    Mutation(
        "A16", "runtime/images/config.py", "if not key.startswith(RESERVED_LABELS)}", "}",
        f"{T}/test_a16_labels.py::test_a16_an_image_has_no_label_of_ours",
    ),
    Mutation(
        "A17", SECURITY, 'if not _SYSCTL_KEY.fullmatch(key) or ".." in key:', "if False:", f"{T}/test_a17_sysctls.py",
    ),
    Mutation(
        "A17", "runtime/network/namespaces.py",
        "    return security.sysctl_path(name, own_network=True, own_ipc=False, own_uts=False)\n",
        '    return name.translate(str.maketrans("./", "/."))\n',
        f"{T}/test_a17_sysctls.py::test_a17_none_gets_by_the_network_of_a_container",
    ),
    Mutation(
        "A18", PROCESS, "    uid, gid, groups, home = who\n", "    import colorsys\n    uid, gid, groups, home = who\n",
        f"{T}/test_a18_poisoned_programs.py",
    ),
    Mutation(
        "A19", "runtime/supervisor/adoption.py", '    if records.start_time(record["pid"]) != record.get("start_time"):\n',
        "    if False:\n", f"{T}/test_a19_pid_reuse.py",
    ),
    Mutation(
        "A19", LAUNCH, "        _confirm_joined(config)\n", "", f"{T}/test_a19_pid_reuse.py",
    ),
    Mutation(
        "B1", "runtime/removal.py", "_HERE = syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_SYMLINKS", "_HERE = 0",
        f"{T}/test_b01_removal.py",
    ),
    Mutation(
        "B2", "runtime/images/directories.py", "RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV",
        "RESOLVE = RESOLVE_NO_MAGICLINKS", "tests/kernel/images/test_hostile_layers.py",
    ),
    Mutation(
        "B2", "runtime/images/names.py", '    if b".." in parts:\n', "    if False:\n",
        "tests/kernel/images/test_hostile_layers.py",
    ),
    Mutation(
        "B2", "runtime/images/tree.py", "_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC", "tests/kernel/images/test_hostile_layers.py",
    ),
    Mutation(
        "B3", "runtime/images/tree.py", "        if entry.major == 0 and entry.minor == 0:\n", "        if False:\n",
        "tests/kernel/images/test_hostile_layers.py::test_refused",
    ),
    Mutation(
        "B3", "runtime/images/names.py", '    if hidden in (b"", b".", b".."):\n', "    if False:\n",
        "tests/kernel/images/test_hostile_layers.py::test_refused",
    ),
    Mutation(
        "B4", "runtime/images/xattrs.py", "    return key.startswith(_USER) and key != _USER and not key.startswith(_OVERLAY)\n",
        "    return True\n",
        "tests/kernel/images/test_hostile_layers.py::test_xattrs_that_steer_the_host_are_dropped",
    ),
    Mutation(
        "B5", "runtime/images/streams.py", "produced > consumed * limits.ratio:", "False:",
        "tests/kernel/images/test_hostile_layers.py::test_ratio",
    ),
    Mutation(
        "B5", "runtime/images/sparse.py", "    if found.size > max(limits.ratio_free_bytes, stored * limits.ratio):\n",
        "    if False:\n", "tests/kernel/images/test_hostile_layers.py::test_b5_sparse_files_that_lie",
    ),
    Mutation(
        "B5", "runtime/images/sparse.py", "        if offset < end:\n", "        if False:\n",
        "tests/kernel/images/test_hostile_layers.py::test_b5_sparse_files_that_lie",
    ),
    Mutation(
        "B5", "runtime/images/tarheaders.py", "            if holes > limits.unpacked_bytes:\n",
        "            if False:\n",
        "tests/kernel/images/test_hostile_layers.py::test_b5_many_holes_are_a_bomb_together",
    ),
    Mutation(
        "B5", "runtime/images/unpackers.py", "        if self._ended_by == _BROKEN:\n", "        if False:\n",
        "tests/kernel/images/test_unpackers.py::test_a_file_that_does_not_come_whole",
    ),
    Mutation(
        "B5", "runtime/images/tarheaders.py", "        if count > limits.entries:\n", "        if False:\n",
        "tests/kernel/images/test_hostile_layers.py::test_too_many_entries",
    ),
    Mutation("B7", "runtime/engine.py", "            self.layout.data.chmod(0o700)\n", "            self.layout.data.chmod(0o755)\n", f"{T}/test_b07_state.py"),
    Mutation(
        "B8", "runtime/images/config.py", '        if clean in _RESERVED_TARGETS or clean.startswith(("/proc/", "/sys/", "/dev/")):\n',
        "        if False:\n", f"{T}/test_b08_image_volumes.py::test_b8_a_target_that_is_none_is_refused",
    ),
    Mutation(
        "B9", "runtime/images/compare.py", " or _hash(left) == _hash(right) else", " or True else",
        f"{T}/test_b09_damaged_layers.py",
    ),
    Mutation(
        "B9", "runtime/images/check.py", "        if key in self._busy_layers:\n", "        if False:\n",
        "tests/kernel/images/test_check.py::test_a_tree_that_runs_is_left",
    ),
    Mutation(
        "B9", "runtime/images/check.py", "        if not self._content.is_whole(layer.digest):\n", "        if False:\n",
        "tests/kernel/images/test_check.py::test_a_damaged_blob_is_for_a_registry_to_give",
    ),
    Mutation(
        "B10", PROCESS, "        sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)\n", "        pass\n",
        f"{T}/test_b10_weak_images.py::test_b10_set_user_id_is_without_effect",
    ),
    Mutation(
        "E1", "runtime/seccomp_default.py", "AF_ALG, AF_VSOCK = 38, 40", "AF_ALG, AF_VSOCK = 138, 40",
        "tests/kernel/runtime/test_seccomp_filter.py::test_e1_socket_families",
    ),
    Mutation(
        "A13", PROCESS, "            sys_.seccomp_set_filter(program, sys_.SECCOMP_FILTER_FLAG_LOG)\n", "            pass\n",
        "tests/kernel/engine/test_denials.py::test_the_first_refusal_is_named",
    ),
    Mutation(
        "E2", BUNDLE, 'access = "rw" if privileged else "ro"', 'access = "rw"',
        f"{T}/test_e05_kernel_files.py::test_e2_e5_by_the_engines_own_defaults",
    ),
    Mutation(
        "E5", BUNDLE, '        linux["maskedPaths"] = security.MASKED_PATHS\n', "",
        f"{T}/test_e05_kernel_files.py::test_e2_e5_by_the_engines_own_defaults",
    ),
    Mutation("E4", PROCESS, "    sys_.keyctl_join_session_keyring()\n", "", f"{T}/test_e04_keyring.py"),
    Mutation(
        "E5", ROOTFS, "            _cover_read_only(tree, path[len(prefix) :])\n", "            pass\n",
        f"{T}/test_e05_kernel_files.py::test_e5_nothing_of_the_kernel_is_to_be_changed",
    ),
    Mutation(
        "E6", "runtime/cgroups.py", "        _limit_devices(path, device_writes(resources, found))\n", "        pass\n",
        "tests/kernel/runtime/test_cgroup_devices.py::test_what_no_rule_allows_is_refused",
    ),
    Mutation(
        "E8", "runtime/supervisor/server.py", "if uid != os.geteuid() or", "if",
        f"{T}/test_e08_sockets.py::test_e8_the_supervisor_answers_root_alone",
    ),
    Mutation(
        "E8", "runtime/supervisor/serving.py", "    os.chmod(temporary, 0o600)\n", "    os.chmod(temporary, 0o666)\n",
        f"{T}/test_e08_sockets.py",
    ),
    Mutation("F5", "agent/api/things.py", "file.read(MAX_COMMAND_BYTES)", "file.read()", f"{T}/test_f05_processes.py"),
    Mutation("F8", "agent/cli/output.py", "    return text.isascii() or not any(", "    return True or not any(", f"{T}/test_f08_terminal.py"),
    Mutation(
        "F10", "runtime/network/hosts.py", "os.pread(descriptor, len(wanted), 0) != wanted",
        "not os.pread(descriptor, 1 << 31, 0).startswith(wanted)",
        f"{T}/test_f10_shared_files.py::test_f10_an_endless_hosts_file_is_not_read",
    ),
    Mutation(
        "F10", "runtime/network/hosts.py", "    return status.st_blocks * 512 > MAX_BYTES + wanted_bytes\n", "    return False\n",
        f"{T}/test_f10_shared_files.py::test_f10_a_container_does_not_keep_the_hosts_memory",
    ),
    Mutation(
        "F10", "runtime/network/hosts.py", "_READ = os.O_RDONLY | os.O_NONBLOCK |", "_READ = os.O_RDONLY |",
        f"{T}/test_f10_shared_files.py::test_f10_a_lease_on_the_hosts_file_holds_nobody_up",
    ),
    Mutation(
        "F10", "runtime/network/hosts.py", "_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK |", "_WRITE = os.O_WRONLY | os.O_CREAT |",
        f"{T}/test_f10_shared_files.py::test_f10_a_lease_on_the_hosts_file_holds_nobody_up",
    ),
    Mutation(
        "H1", "agent/source/remote.py", "    if not is_known or len(url) > 2048 or", "    if",
        "tests/unit/source/test_remote.py::test_urls_that_are_refused",
    ),
    Mutation(
        "H1", "agent/source/sandbox.py", "                landlock.restrict(held)\n", "",
        f"{T}/test_h01_git_sandbox.py::test_h1_nothing_of_the_host_is_reached",
    ),
    Mutation(
        "H1", "runtime/landlock.py", "BIND_TCP | (0 if reach.network else CONNECT_TCP) if abi >= 4 else 0", "0",
        f"{T}/test_h01_git_sandbox.py::test_h1_reading_a_repository_writes_nothing_and_calls_nobody",
    ),
    Mutation(
        "H1", "agent/source/sandbox.py", "                _drop()\n",
        "                syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)\n",
        f"{T}/test_h01_git_sandbox.py::test_h1_it_can_do_little_by_its_rights",
    ),
    Mutation(
        "H7", "agent/source/sandbox.py", "                cgroups.join([file], threading.get_native_id())\n",
        "                pass\n", f"{T}/test_h01_git_sandbox.py::test_h7_it_grows_in_a_group_of_its_own",
    ),
    Mutation(
        "H2", "agent/source/git_program.py", '        "GIT_CONFIG_GLOBAL": "/dev/null",\n', "",
        f"{T}/test_h02_configuration.py::test_h2_the_users_configuration_is_not_read",
    ),
    Mutation(
        "H2", "agent/source/git_program.py", '"GIT_ALLOW_PROTOCOL": protocols or "none",',
        '"GIT_ALLOW_PROTOCOL": "https:ssh:file",', f"{T}/test_h02_configuration.py",
    ),
    Mutation(
        "H3", "agent/source/tree.py", "resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |", "resolve = RESOLVE_NO_MAGICLINKS |",
        "tests/unit/source/test_directory.py::test_hostile_trees",
    ),
    Mutation(
        "H4", "agent/manifest/yaml_nodes.py", "            self.grow(size)\n            return node\n", "            return node\n",
        f"{T}/test_h04_yaml.py",
    ),
    Mutation(
        "H6", "agent/policy/judge.py", "    if spec.privileged and not allow.privileged:\n", "    if False:\n",
        "tests/unit/policy/test_judge.py",
    ),
    Mutation(
        "H6", "agent/policy/judge.py", '        if not _has_device(allow, "/dev"):',
        "        if False:", "tests/unit/policy/test_judge.py",
    ),
    Mutation(
        "H6", "agent/policy/judge.py", '        if bare and "masked_paths" not in allow.unconfined:\n',
        "        if False:\n", "tests/unit/policy/test_judge.py",
    ),
    Mutation(
        "E5", "runtime/security.py", '    if not is_plain or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:\n',
        "    if False:\n", "tests/unit/runtime/test_bundle.py::test_paths_to_hide_of_ones_own",
    ),
    Mutation(
        "H6", "agent/policy/judge.py", "        if full not in DEFAULT_CAPABILITIES and full not in allow.capabilities:\n",
        "        if False:\n", "tests/unit/policy/test_judge.py",
    ),
    Mutation(
        "H6", "agent/policy/policy.py", 'return path == self.path or path.startswith(self.path.rstrip("/") + "/")',
        "return path.startswith(self.path)", "tests/unit/policy/test_judge.py",
    ),
    Mutation(
        "H6", "agent/policy/policy.py", 'if rule is None or (rule.below and not f"/{file}".startswith(f"/{rule.below}/")):',
        "if rule is None:", "tests/unit/policy/test_judge.py::test_a_project_is_not_its_name_alone",
    ),
    Mutation(
        "H6", "agent/policy/gate.py", "        for directory in {*path.resolve().parents, *path.absolute().parents}:\n",
        "        for directory in ():\n", "tests/unit/policy/test_gate.py",
    ),
    Mutation(
        "H6", "agent/policy/gate.py", "objects={}, errors=(*problems, *manifest.errors), is_withheld=True", "errors=problems",
        "tests/unit/policy/test_gate.py::test_an_unreadable_policy_lets_nothing_through",
    ),
    Mutation(
        "H6", "agent/reconcile/loop.py", "if self._is_going_down or manifest.is_withheld:", "if self._is_going_down:",
        "tests/unit/api/test_policy.py::test_a_policy_that_cannot_be_read_applies_nothing_and_stops_nothing",
    ),
    Mutation(
        "H6", "agent/daemon.py", "    default = STRICT if settings.git_url else OPEN\n", "    default = OPEN\n",
        "tests/unit/api/test_policy.py::test_without_a_policy_a_remote_repository_is_not_root",
    ),
    Mutation(
        "H6", "runtime/bundle.py", "    if mount.below and (rest := below(mount)):", "    if False and (rest := below(mount)):",
        f"{T}/test_h06_policy.py::test_h6_nor_one_that_is_planted_later",
    ),
    Mutation(
        "H6", "runtime/assembly.py", "    if mount.below:\n        _check_bind_below(config, mount)\n        return\n", "",
        f"{T}/test_h06_policy.py::test_h6_a_link_does_not_lead_a_bind_out",
    ),
    Mutation(
        "H7", "agent/source/git_program.py", "            if len(output) > MAX_OUTPUT:\n                raise OverflowError\n", "",
        f"{T}/test_h07_git_server.py",
    ),
    Mutation("H7", "agent/source/git_program.py", "            if left <= 0:\n                raise TimeoutError\n", "            left = 1\n", f"{T}/test_h07_git_server.py::test_h7_an_answer_in_drops_ends_in_time"),
    Mutation(
        "R1", "agent/daemon.py", "    await follower.wait_first_look(SOURCE_SECONDS)\n", "",
        "tests/unit/source/test_first_look_before_work.py",
    ),
    Mutation(
        "R2", "runtime/supervisor/server.py", "        self._write_exit(container, record)\n        _reap(zombie)\n",
        "        _reap(zombie)\n        self._write_exit(container, record)\n",
        "tests/unit/supervisor/test_exit_order.py",
    ),
    Mutation(
        "R2", "runtime/supervisor/starting.py", "        try:\n            records.prepare(container.directory, records.STATE, container.to_record())\n",
        "        try:\n            self._channel.send(b\"start\", socket.MSG_NOSIGNAL)\n"
        "            records.prepare(container.directory, records.STATE, container.to_record())\n",
        f"{F}/test_orders.py",
    ),
    Mutation(
        "R4", "runtime/images/writeback.py", "            syncfs(descriptor)\n", "            pass\n",
        f"{F}/test_power_loss.py::test_an_image_is_whole_or_absent",
    ),
    Mutation(
        "R4", "runtime/images/content.py", "            os.fsync(file.fileno())\n", "            pass\n",
        f"{F}/test_power_loss.py::test_an_image_is_whole_or_absent",
    ),
    Mutation(
        "R5", "store/store.py", '"synchronous = FULL"', '"synchronous = NORMAL"',
        f"{F}/test_power_loss.py::test_the_database",
    ),
    Mutation("R5", JOURNAL, "                self._sync_soon()  # whether it can be stored is known then\n", "                pass\n", UNIT_JOURNAL),
    Mutation(
        "R6", "agent/room.py", "        self._works.note(DISK, \"Normal\", \"DiskWritable\", message)\n        self._works.try_failed_again()\n",
        "        self._works.note(DISK, \"Normal\", \"DiskWritable\", message)\n", f"{F}/test_disk_failing.py::test_read_write_again",
    ),
    Mutation(
        "R6", "runtime/mounts.py", "    if overlay.upper and os.fstatvfs(tree).f_flag & os.ST_RDONLY:", "    if not overlay.lower:",
        f"{F}/test_disk_steps.py",
    ),
    Mutation(
        "R6", "runtime/volumes.py", "            if is_new:  # a directory", "            if False:  # a directory",
        f"{F}/test_disk_steps.py",
    ),
    Mutation(
        "R7", "agent/reconcile/apply.py", "    return disk.explained(action.verb, str(action.key), error) or error\n", "    return error\n",
        "tests/sim/test_stories.py::test_r7_a_disk_that_gives_no_room_is_nobodys_bug",
    ),
    Mutation(
        "R7", "runtime/disk.py", "        _allocate(proof, PROOF_BYTES)\n        proof.unlink()\n", "",
        f"{F}/test_disk_full.py::test_a_quota_that_is_used_up",
    ),
    Mutation(
        "R7", "agent/room.py", "            if error.errno == errno.EDQUOT:\n", "            if False:\n",
        f"{F}/test_disk_full.py::test_a_quota_that_is_used_up",
    ),
    Mutation(
        "R8", "agent/room.py", "            if error.errno == errno.EROFS:\n                return self._read_only()\n", "",
        f"{F}/test_disk_failing.py",
    ),
    Mutation(
        "R9", "store/store.py", "        except Damaged:\n            self._leave_standin(engine, connection, self._standin)\n",
        "        except Damaged:\n            self._standin = None\n", "tests/unit/store/test_damage.py",
    ),
    Mutation(
        "R9", "store/store.py", "        except Damaged as error:\n            self._begin_afresh(error)\n\n", "        except Damaged:\n            raise\n\n",
        "tests/unit/store/test_damage.py",
    ),
    Mutation(
        "R11", "store/store.py", "                except rows.BAD_ROW as error:\n                    bad.append((dict(row), str(error)))\n",
        "                except RecursionError as error:\n                    bad.append((dict(row), str(error)))\n", "tests/unit/store/test_damage.py",
    ),
    Mutation(
        "R13", BUNDLE, "config.resources.oom_score_adj or 0,", "config.resources.oom_score_adj or -900,",
        f"{U}/test_bundle.py::test_r13_a_container_is_not_spared_with_its_supervisor",
    ),
    Mutation(
        "R14", "runtime/cgroup_limits.py", '[Write("pids", "pids.max", _maximum(limit))] if limit else []', "[]",
        f"{T}/test_r14_fork_bombs.py::test_r14_each_is_held_by_its_own_limit_and_ends_when_told",
    ),
    Mutation(
        "R14", "runtime/model.py", "    pids: int | None = 2048  #", "    pids: int | None = None  #",
        f"{T}/test_r14_fork_bombs.py::test_r14_who_asks_for_no_limit_has_one",
    ),
    Mutation(
        "R27", ROOTFS, '    sys_.umount2(".", sys_.MNT_DETACH)\n', "",
        f"{T}/test_r27_busy_mounts.py::test_r27_a_disk_of_the_host_is_not_held",
    ),
    Mutation(
        "R27", "runtime/network/namespaces.py", "syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW", "syscalls.UMOUNT_NOFOLLOW",
        f"{T}/test_r27_busy_mounts.py::test_r27_who_holds_its_namespaces_and_files_does_not_keep_it",
    ),
    Mutation(
        "R26", "runtime/network/building.py", "dataclasses.replace(each, aliases=())", "each",
        "tests/kernel/network/test_sandboxes.py::test_a_removed_ones_aliases_leave_its_peers",
    ),
    Mutation(
        "R26", "runtime/engine.py", "            await self._clear_leftovers(stack)\n", "",
        "tests/kernel/engine/test_leftovers.py",
    ),
    Mutation(
        "R26", "runtime/network/instance.py", "        self._remove_strays()\n", "",
        "tests/kernel/engine/test_leftovers.py",
    ),
    Mutation(
        "R16", "agent/reconcile/exits.py", "state.finished_at if state.ended_at is None else state.ended_at",
        "state.finished_at", "tests/sim/test_clock.py",
    ),
    Mutation(
        "R16", "agent/reconcile/policy.py", "self.started_at if self.began_at is None else self.began_at",
        "self.started_at", "tests/sim/test_clock.py",
    ),
    Mutation(
        "R16", "agent/reconcile/knowledge.py", "by_this_clock(memory, self.clock.now())", "memory",
        "tests/sim/test_clock.py",
    ),
    Mutation(
        "R3", "runtime/life.py", "        container_record.mark_run(bundle)  # always", "        pass  # always",
        "tests/kernel/daemon/test_reboot.py::test_after_a_reboot_it_is_as_restart_policies_say",
    ),
    Mutation(
        "R25", "runtime/life.py", "        cgroups.thaw_below(path)\n", "        pass\n",
        "tests/kernel/engine/test_unkillable.py::"
        "test_frozen_below_its_own_cgroup_is_thawed_and_killed",
    ),
    Mutation(
        "R25", "agent/reconcile/account.py", '        (Unkillable, "unkillable"),\n', "",
        "tests/kernel/daemon/test_unkillable.py",
    ),
    Mutation(
        "R34", "runtime/supervisor/server.py", "        except Exception as error:  # whatever",
        "        except OSError as error:  # whatever",
        "tests/unit/supervisor/test_start_answers.py::test_r34_a_bug_in_what_was_asked_for_is_an_answer",
    ),
    Mutation(
        "R34", LAUNCH, "            if end not in own:\n                os.close(end)\n", "            pass\n",
        "tests/kernel/runtime/test_launch.py::test_those_that_are_forked_together_hold_nothing_of_each_other",
    ),
    Mutation(
        "R34", LAUNCH, "    except Exception as error:  # of this one alone: others",
        "    except OSError as error:  # of this one alone: others",
        "tests/unit/supervisor/test_start_answers.py::test_r34_a_bug_in_one_fork_leaves_the_others_their_answers",
    ),
    Mutation(
        "R34", "runtime/supervisor/starting.py",
        "        self._deadline = server.loop.call_later(EXECUTE_SECONDS, self._on_deadline)\n",
        "        self._deadline = server.loop.call_later(9e9, self._on_deadline)\n",
        "tests/unit/supervisor/test_start_answers.py::test_r34_a_child_that_never_gets_to_its_program",
    ),
    Mutation(
        "R2", "runtime/execs.py", "        await self._client.wait_up(WAIT_SECONDS)\n        process = self._process(\"exec\", id, argv, user, working_dir, environment)\n        return await processes.run_captured",
        "        process = self._process(\"exec\", id, argv, user, working_dir, environment)\n        return await processes.run_captured",
        "tests/kernel/supervisor/test_survival.py::test_who_runs_a_command_as_it_dies_waits_for_the_next",
    ),
    Mutation(
        "R39", "runtime/answering.py", "        if path in self._stuck:\n", "        if path in ():\n",
        "tests/kernel/engine/test_hung_mounts.py",
    ),
    Mutation(
        "R31", "agent/api/logs.py", "BATCHES = 4 ", "BATCHES = 4096 ",
        "tests/kernel/daemon/test_hard_times.py::"
        "test_readers_that_do_not_read_block_no_container_and_cost_little",
    ),
    Mutation(
        "R31", "runtime/logs.py", "                    previous.close()", "                    pass",
        "tests/unit/runtime/test_follow_logs.py",
    ),
    Mutation(
        "E2u", CHILD, "    sys_.unshare(plan.flags & _OWNED)\n", "    sys_.unshare(plan.flags & (_OWNED & ~sys_.CLONE_NEWNS))\n",
        f"{T}/test_e02_user_namespaces.py::test_e2_root_inside_is_an_id_without_rights",
    ),
    Mutation(
        "E2u", CHILD, "        if users >= 0:\n", "        if users >= 1 << 30:\n",
        f"{T}/test_e02_user_namespaces.py::test_e2_all_capabilities_and_nothing_hidden_change_nothing_of_the_host",
    ),
    Mutation(
        "E2u", "runtime/mapped_mounts.py", "            _map(tree, users)\n            sys_.move_mount", "            sys_.move_mount",
        "tests/kernel/runtime/test_own_ids.py::test_what_is_made_inside_is_zero_on_the_disk",
    ),
    Mutation(
        "E2u", "runtime/id_ranges.py", "        except FileExistsError:\n            return False\n",
        "        except FileExistsError:\n            return True\n", "tests/unit/runtime/test_id_ranges.py",
    ),
    Mutation(
        "E2u", "runtime/container_ids.py", "    if config.security.privileged:\n", "    if False:\n",
        f"{T}/test_e02_user_namespaces.py::test_e2_what_would_take_the_boundary_away_is_refused",
    ),
    Mutation(
        "E2u", "runtime/container_ids.py", "    if not is_same:\n", "    if False:\n",
        f"{T}/test_e02_user_namespaces.py::test_e2_what_would_take_the_boundary_away_is_refused",
    ),
    Mutation(
        "E2u", "runtime/user_namespaces.py", "        if os.fstat(descriptor).st_ino == own:\n", "        if False:\n",
        "tests/kernel/runtime/test_own_ids.py::test_a_user_namespace_of_ones_own_is_no_boundary",
    ),
    Mutation(
        "C1", 'runtime/images/registry/repository.py', '            if is_digest(said) and said != digest:\n',
        '            if False:\n', f"{T}/test_c01_registry_documents.py",
    ),
    Mutation(
        "C1", 'runtime/images/pull.py', '        if (document.media_type, len(document.data)) != (entry.media_type, entry.size):\n',
        '        if False:\n', f"{T}/test_c01_registry_documents.py",
    ),
    Mutation(
        "C1", 'runtime/images/documents.py', '    if not isinstance(layers, list) or "manifests" in value:\n',
        '    if not isinstance(layers, list):\n', f"{T}/test_c01_registry_documents.py",
    ),
    Mutation(
        "C1", 'runtime/images/pull.py', '    if len(config) != descriptor.size or digest_of(config) != descriptor.digest:\n',
        '    if False:\n', f"{T}/test_c01_registry_documents.py",
    ),
    Mutation(
        "C2", 'runtime/images/registry/repository.py', 'if authorization and is_own else {}',
        'if authorization else {}', f"{T}/test_c02_credentials.py::test_c2_a_password_does_not_go_along_to_another_host",
    ),
    Mutation(
        "C2", 'runtime/images/registry/tokens.py', '        if self._credential is not None and not may:\n',
        '        if False:\n', f"{T}/test_c02_credentials.py::test_f7_a_token_server_that_wants_it_sent_away_is_told_nothing",
    ),
    Mutation(
        "C2", 'runtime/images/registry/transport.py', '        _refuse(self._dns_host)  # type: ignore[attr-defined]\n',
        '', f"{T}/test_c02_credentials.py::test_c2_no_connection_is_tried_to_where_clouds_keep_secrets",
    ),
    Mutation(
        "C2", 'runtime/images/registry/transport.py', '        if scheme == "https" or (scheme',
        '        if scheme in ("http", "https") or (scheme', f"{T}/test_c02_credentials.py::test_c2_an_http_realm_of_an_https_registry",
    ),
    Mutation(
        "C2", "runtime/images/registry/transport.py", '            _refuse(urlsplit(f"//{host}").hostname or "")', "            pass",
        f"{T}/test_c02_pushes_and_proxies.py::test_c2_a_proxy_is_not_sent_to_where_clouds_keep_secrets",
    ),
    Mutation(
        "C2", "runtime/images/registry/upload.py", "        if said and said != self._blob.digest:\n", "        if False:\n",
        f"{T}/test_c02_pushes_and_proxies.py::test_c2_a_registry_that_lies_about_what_it_took_is_not_believed",
    ),
    Mutation(
        "C2", 'runtime/images/registry/repository.py', 'if authorization and is_own else {}', 'if authorization else {}',
        f"{T}/test_c02_pushes_and_proxies.py::test_c2_a_password_does_not_go_along_with_the_bytes",
    ),
    Mutation(
        "C2", "runtime/images/images.py", "    if is_digest(text) or not _is_name_of(record, text):\n", "    if False:\n",
        f"{T}/test_c02_pushes_and_proxies.py::test_c2_nothing_is_pushed_under_a_name_that_nobody_gave",
    ),
    Mutation(
        'F7', 'runtime/images/registry/tokens.py', '            text = text.replace(secret, "***")\n',
        '            pass\n', f"{T}/test_c02_credentials.py::test_f7_a_registry_that_says_a_password_back_is_not_repeated",
    ),
    Mutation(
        "C3", 'runtime/images/registry/transport.py', '        context.minimum_version = ssl.TLSVersion.TLSv1_2\n',
        '        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n', f"{T}/test_c03_tls.py",
    ),
    Mutation(
        "C3", 'runtime/images/registry/transport.py', 'else _context(Endpoint(self._endpoint.host))',
        'else self._context', f"{T}/test_c03_tls.py::test_c3_the_authority_of_one_registry_does_not_count_for_where_it_sends_us",
    ),
    Mutation(
        "C5", 'runtime/images/registry/transport.py', '= time.monotonic() + patience, math.inf\n',
        '= math.inf, math.inf\n', f"{T}/test_c05_registry_hard_times.py::test_c5_a_head_has_an_end_of_its_own",
    ),
    Mutation(
        "C5", 'runtime/images/registry/patience.py', '        if self.left < 0:\n',
        '        if False:\n', f"{T}/test_c05_registry_hard_times.py::test_c5_an_answer_that_costs_nothing_but_a_moment[layer-endless trailers]",
    ),
    Mutation(
        "C5", 'runtime/images/registry/patience.py', '            if self._received < SLOW_BYTES:\n',
        '            if False:\n', f"{T}/test_c05_registry_hard_times.py::test_c5_a_layer_that_drips_is_given_up_for_that",
    ),
    Mutation(
        "C5", 'runtime/images/registry/blob_reader.py', '        self._failures = 1 if self._at - self._broke_at >= GETS_ON_BYTES else self._failures + 1\n',
        '        self._failures = 1\n', f"{T}/test_c05_registry_hard_times.py::test_c5_a_layer_that_comes_in_crumbs_over_a_connection_each",
    ),
    Mutation(
        "C5", 'runtime/images/registry/repository.py', 'range(MAX_REDIRECTS + 1)',
        'range(MAX_REDIRECTS * 100)', f"{T}/test_c05_registry_hard_times.py::test_c5_one_that_goes_in_circles",
    ),
    Mutation(
        "C5", 'runtime/images/error_view.py', '        fields.append(error.retry_after_seconds)\n',
        '        pass\n', f"{T}/test_c05_registry_hard_times.py::test_c5_when_to_try_again_is_told_by_the_worker_too",
    ),
    Mutation(
        'H6', 'agent/api/images.py', '    context.loop.check_image("pull image", reference)\n',
        '', "tests/unit/api/test_policy.py",
    ),
    *API_IMAGES,
    *ACCESS,
    *QUOTAS,
    *UNMOUNTS,
    *VOLUMES,
    *ARCHIVES,
    *COPIES,
    *CHECKPOINTS,
    *BROKEN_CALLS,
    *BUILDS,
    *DRIFT,
    *DOCKERFILES,
    *DOCKER_BUILDS,
    *FAULTS,
    *SOURCE_FAULTS,
    *IMAGE_GATE,
    *KEEPING,
    *ADOPTION,
    *SPOOFING,
    *STARTS,
    *STREAMS,
    *WORKERS,
    *LOGS,
    *WISHES,
)  # fmt: skip
