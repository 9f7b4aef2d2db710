"""The defences of what goes out of containers and images, and of names, each taken away. See `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

T, K = "tests/threats", "tests/kernel"
WALK, WRITER = "runtime/images/walk.py", "runtime/images/layer_writer.py"

ARCHIVES = (
    Mutation(
        "B1", WALK, "_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV\n",
        "_RESOLVE = RESOLVE_NO_MAGICLINKS\n",
        f"{T}/test_b01_export.py::test_b1_directories_and_links_that_change_places",
    ),
    Mutation(
        "B1", WALK, "_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC\n", "_NAME = os.O_PATH | os.O_CLOEXEC\n",
        f"{T}/test_b01_export.py::test_b1_links_that_lead_out_are_only_links",
    ),
    Mutation(
        "B1", WALK, "_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "_NAME = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        f"{T}/test_b01_export.py::test_b1_no_device_or_fifo_is_opened",
    ),
    Mutation(
        "B1", "runtime/images/tarwriter.py", "min(size, _CHUNK_BYTES)) or bytes(min(size, _CHUNK_BYTES))\n",
        "min(size, _CHUNK_BYTES))\n        if not data:\n            return\n",
        f"{T}/test_b01_export.py::test_b1_a_file_that_grows_and_shrinks",
    ),
    Mutation(
        "B1", WRITER, "    if base.startswith(WHITEOUT_PREFIX):\n", "    if False:\n",
        f"{T}/test_b01_export.py::test_b1_names_that_only_a_layer_understands",
    ),
    Mutation(
        "B3", WRITER, "    if found.is_whiteout:\n", "    if False:\n",
        f"{K}/images/test_layer_writer.py::test_all_kinds_of_changes",
    ),
    Mutation(
        "B4", WRITER, "        allowed, _ = allowed_xattrs(values, self._limits)\n",
        "        allowed = [(os.fsdecode(name), value) for name, value in values.items()]\n",
        f"{K}/images/test_layer_writer.py::test_attributes_that_steer_are_left_out",
    ),
    Mutation(
        "B5", WRITER, "        if self._bytes > self._limits.unpacked_bytes:\n", "        if False:\n",
        f"{K}/images/test_layer_writer.py::test_bombs",
    ),
    Mutation(
        "B5", WALK, "    if path.count(b\"/\") >= limits.depth:\n", "    if False:\n",
        f"{K}/images/test_layer_writer.py::test_bombs",
    ),
    Mutation(
        "B5", "runtime/images/root_diff.py", "                if len(found) >= self.left:\n", "                if False:\n",
        f"{K}/images/test_root_files.py::test_a_quick_look_ends_where_there_is_much",
    ),
    Mutation(
        "B5", "runtime/images/root_diff.py", "        self.left -= len(found)\n", "",
        f"{K}/images/test_root_files.py::test_a_quick_look_ends_where_there_is_much",
    ),
    Mutation(
        "B9", "runtime/images/saver.py", '        if left or "sha256:" + hasher.hexdigest() != digest:\n',
        "        if left:\n", f"{K}/images/test_save.py::test_what_is_not_there_or_damaged",
    ),
    Mutation(
        "B10", "runtime/images/weak.py", "        if len(fields) > 1 and fields[0] and not fields[1]:\n",
        "        if False:\n", f"{T}/test_b10_weak_images.py::test_b10_what_is_weak_is_told_by_a_check",
    ),
    Mutation(
        "B10", "runtime/images/weak.py", "    if mode & stat.S_ISUID:\n", "    if False:\n",
        f"{T}/test_b10_weak_images.py::test_b10_what_is_weak_is_told_by_a_check",
    ),
    Mutation(
        "C4", "runtime/images/loader.py", "            if not moves_names:\n                refuse_moves",
        "            if False:\n                refuse_moves",
        f"{T}/test_c04_names.py::test_c4_a_name_that_is_given_while_a_load_is_under_way",
    ),
    Mutation(
        "C4", "runtime/images/loader.py",
        "            if known is not None and known.image_id != image_id:\n", "            if False:\n",
        f"{T}/test_c04_names.py::test_c4_a_load_moves_no_name",
    ),
    Mutation(
        "C4", "runtime/images/loader.py", "        return commit(root, stage, stage_images, moves_names=moves_names)[0]\n",
        "        return commit(root, stage, stage_images)[0]\n",
        f"{T}/test_c04_names.py::test_c4_an_import_moves_no_name",
    ),
)  # fmt: skip
