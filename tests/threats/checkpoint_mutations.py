"""Mutations of what keeps a checkpoint from being anything but what this instance wrote."""

from __future__ import annotations

from tests.threats.mutation import Mutation

SHELF, SEAL, FACTS = (
    "runtime/checkpoints/shelf.py",
    "runtime/checkpoints/seal.py",
    "runtime/checkpoints/facts.py",
)
CRIU, OUTSIDE = "runtime/checkpoints/criu.py", "runtime/checkpoints/outside.py"
_SHELF, _FACTS = "tests/unit/checkpoints/test_shelf.py", "tests/unit/checkpoints/test_facts.py"
_SEALED = f"{_SHELF}::test_a16_from_outside_only_what_was_sealed_is_taken_and_as_a_copy"

CHECKPOINTS = (
    Mutation("A16", SHELF, "    if not _NAME.fullmatch(name):\n", "    if not name:\n", f"{_SHELF}::test_a16_a_name_that_is_no_plain_one_is_refused"),
    Mutation("A16", SHELF, "    if not _NAME.fullmatch(name):\n", "    if not _NAME.match(name):\n", f"{_SHELF}::test_a16_a_name_that_is_no_plain_one_is_refused"),
    Mutation("A16", SHELF, """ or ".." in directory.split("/")""", "", f"{_SHELF}::test_a16_a_directory_that_is_no_absolute_path_is_refused"),
    Mutation("A16", SHELF, "            inner = os.open(part, _OPEN, dir_fd=place)\n", "            inner = os.open(part, _OPEN & ~os.O_NOFOLLOW, dir_fd=place)\n", f"{_SHELF}::test_a16_no_link_is_followed_to_a_directory_of_the_callers"),
    Mutation("A16", SEAL, "    if not hmac.compare_digest(seal.encode(), claimed):\n", "    if not claimed:\n", _SEALED),
    Mutation("A16", SEAL, "        whole.update(_framed(os.fsencode(name)) + content)\n", "        whole.update(content)\n", _SEALED),
    Mutation("A16", FACTS, "    elif facts.fingerprint != fingerprint(config):\n", "    elif False:\n", f"{_FACTS}::test_a16_another_config_is_refused"),
    Mutation("A16", FACTS, "    if facts.image != config.image:\n", "    if False:\n", f"{_FACTS}::test_a16_another_image_is_refused"),
    Mutation("A16", CRIU, " and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)", "", "tests/unit/checkpoints/test_criu.py::test_a16_only_a_program_that_root_alone_can_write_is_run"),
    Mutation("A16", "agent/api/docker/beginning.py", "    if (scope := scope_of(request)) is not None:\n", "    if False and (scope := scope_of(request)):\n", "tests/api/test_scoped_sockets.py::test_no_checkpoint_is_made_or_begun_from"),
    Mutation("A7", OUTSIDE, "    what = sources.get(_identity(line, root))\n", "    what = next((each for each in sources.values() if each.startswith(BIND)), None)\n", "tests/kernel/engine/test_checkpoints.py::test_a_mount_of_the_containers_own_making_is_refused"),
)  # fmt: skip
