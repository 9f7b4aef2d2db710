"""Mutations of what keeps a hostile build in its place: rows D1, D3, D4, D5 and C4. Taken in by `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

B, T = "runtime/images/build", "tests/threats/test_d_builds.py"
PATHS, STEPS = f"{B}/paths.py", "runtime/build_steps.py"

BUILDS = (
    Mutation(
        "D1", PATHS, "_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS\n", "_RESOLVE = 0\n",
        f"{T}::test_d1_what_turned_into_a_link_after_it_was_looked_up_is_refused",
    ),
    Mutation(
        "D1", PATHS, '        if target.startswith("/"):\n            done = []\n',
        '        if target.startswith("/"):\n            return tuple([".."] * 20 + parts_of(target))\n',
        f"{T}::test_d1_a_link_in_the_image_is_the_images",
    ),
    Mutation(
        "D1", f"{B}/stubs.py", "        parent = paths.open_directory(root, parts[:-1])\n",
        '        parent = os.open("/".join(parts[:-1]) or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)\n',
        f"{T}::test_d1_stubs_are_removed_in_the_upper_directory_alone",
    ),
    Mutation(
        "D1", f"{B}/stubs.py", "            elif stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_nlink == 1:\n",
        "            elif stat.S_ISREG(found.st_mode):\n",
        f"{T}::test_d1_stubs_are_removed_in_the_upper_directory_alone",
    ),
    Mutation(
        "D3", f"{B}/http.py", "    if address.is_loopback and not reaches_host:\n", "    if False:\n",
        f"{T}::test_d3_nothing_of_this_machine_is_fetched",
    ),
    Mutation(
        "D3", f"{B}/http.py", "    if address.is_link_local or address.is_multicast or address.is_unspecified:\n",
        "    if False:\n", f"{T}::test_d3_nothing_of_this_machine_is_fetched",
    ),
    Mutation(
        "D3", f"{B}/http.py", "    if not address.is_global and not may_be_private:\n", "    if False:\n",
        f"{T}::test_d3_no_redirect_leads_from_the_world_to_a_private_network",
    ),
    Mutation(
        "D3", f"{B}/http.py", "    if not checksum or checksum == digest:\n", "    if True:\n",
        f"{T}::test_d3_a_checksum_is_held_to",
    ),
    Mutation(
        "D4", PATHS, '        if name == "..":\n            del done[-1:]\n            continue\n',
        '        if name == "..":\n            done.append(name)\n            continue\n',
        f"{T}::test_d4_a_path_above_the_context_is_the_contexts_top",
    ),
    Mutation(
        "D4", PATHS, "    if not stat.S_ISREG(os.fstat(descriptor).st_mode):\n", "    if False:\n",
        f"{T}::test_d4_what_would_block_or_is_no_file_is_not_opened",
    ),
    Mutation(
        "D4", f"{B}/sources.py", '        if kind == "device" and (not self.keeps_owner or found.st_rdev == 0):\n',
        "        if False:\n", f"{T}::test_d4_what_would_block_or_is_no_file_is_not_opened",
    ),
    Mutation(
        "D4", f"{B}/transfer.py", "        if not places or not _is_directory(", "        if not _is_directory(",
        "tests/unit/images/build/test_matching.py::test_where_nothing_can_fit_is_not_looked_at",
    ),
    Mutation(
        "D4", f"{B}/transfer.py", "            source.check(count, inner)\n", "",
        "tests/unit/images/build/test_matching.py::test_a_walk_has_bounds",
    ),
    Mutation(
        "D4", "agent/source/prints.py", "_WITHIN = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS\n", "_WITHIN = 0\n",
        "tests/unit/source/test_prints.py::test_d4_no_link_leads_out_and_none_is_followed_within",
    ),
    Mutation(
        "D4", "agent/source/contexts.py",
        "            found = open_below(Path(watch).absolute(), context, os.O_PATH | os.O_DIRECTORY)\n",
        "            found = os.open(Path(watch).absolute() / context, os.O_PATH | os.O_DIRECTORY)\n",
        "tests/e2e/test_building.py::test_d4_no_link_leads_a_context_out_of_a_plain_directory",
    ),
    Mutation(
        "D5", "runtime/builds.py", '                line = line.replace(secret, b"***")\n', "                pass\n",
        f"{T}::test_d5_a_secret_leaves_no_trace",
    ),
    Mutation(
        "D5", "runtime/container_record.py", "        if each.name == SECRET:\n            continue\n", "",
        "tests/kernel/build/test_build.py::test_what_a_killed_agent_left_is_removed",
    ),
    Mutation(
        "D5", f"{B}/stubs.py", "                os.unlink(parts[-1], dir_fd=parent)\n", "                pass\n",
        f"{T}::test_d5_a_secret_leaves_no_trace",
    ),
    Mutation(
        "D5", "agent/source/build_secrets.py",
        "        return openat2(root, rest, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)\n",
        "        return os.open(rest, flags, dir_fd=root)\n",
        "tests/unit/source/test_build_secrets.py::test_d5_no_link_leads_out_of_what_a_policy_allows",
    ),
    Mutation(
        "D5", "agent/source/build_secrets.py", "flags | os.O_NOFOLLOW)", "flags)",
        "tests/unit/source/test_build_secrets.py::test_d5_no_link_leads_out_of_what_a_policy_allows",
    ),
    Mutation(
        "D5", "agent/policy/judge.py",
        "        if secret.file and not any(bind.covers(secret.file) for bind in allow.binds):\n", "        if False:\n",
        "tests/unit/policy/test_judge.py::test_what_of_the_host_a_build_is_given",
    ),
    Mutation(
        "D4", "agent/api/build.py", '    if any(kind != "image" for kind, _ in order.contexts.values()):\n',
        "    if False:\n", "tests/e2e/test_build_verb.py::test_d4_who_is_not_root_names_nothing_of_this_host",
    ),
    Mutation(
        "C4", f"{B}/cache.py", "            if record is None or record.diff_id != layer.diff_id or not is_here:\n",
        "            if False:\n", f"{T}::test_c4_a_damaged_entry_is_a_miss",
    ),
    Mutation(
        "C4", "runtime/images/needs.py", "    yield from held(content.root)\n", "",
        f"{T}::test_c4_what_the_cache_holds_is_no_garbage_and_what_it_forgot_is",
    ),
)  # fmt: skip
