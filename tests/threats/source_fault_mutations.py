"""Mutations of what stands between a fault of a source, a manifest or a registry and its promise: each part
taken away, and the test that must then fail. Rows R of the list of faults. Taken in by `mutations`.
"""

from __future__ import annotations

from tests.threats.mutation import Mutation

DIRECTORY, WATCH, TREE, REMOTE = (
    "agent/source/directory.py",
    "agent/source/watch.py",
    "agent/source/tree.py",
    "agent/source/remote.py",
)
CHECKS, READER, INVENTORY = (
    "agent/manifest/checks.py",
    "agent/manifest/reader.py",
    "agent/reconcile/inventory.py",
)
REPOSITORY = "runtime/images/registry/repository.py"
_DIRECTORY = "tests/unit/source/test_directory.py"
_REMOTE = "tests/unit/source/test_remote.py"
_MANY = "tests/unit/manifest/test_many.py"
_STORIES = "tests/sim/test_stories.py"
_HARD_TIMES = "tests/threats/test_c05_registry_hard_times.py"

WATCHED = (
    Mutation(
        "R17", WATCH, "        _be_quiet()\n", "",
        f"{_DIRECTORY}::test_a_directory_made_while_its_parent_is_walked_is_watched",
    ),
    Mutation(
        "R17", WATCH, "            if event.is_directory or self._burst.count > MANY:\n", "            if event.is_directory:\n",
        f"{_DIRECTORY}::test_a_flood_of_events_means_look_at_everything",
    ),
    Mutation(
        "R17", WATCH, "        except OSError as error:\n            self.stop()\n", "        except ZeroDivisionError as error:\n            self.stop()\n",
        f"{_DIRECTORY}::test_a_watch_limit_turns_to_polling",
    ),
    Mutation(
        "R17", DIRECTORY, "            self._look_at_all |= self._is_timer\n", "            pass\n",
        f"{_DIRECTORY}::test_without_events_the_slow_look_finds_it_and_turns_to_polling",
    ),
    Mutation(
        "R18", TREE, "    if patient and has_writer(descriptor):\n", "    if False:\n",
        f"{_DIRECTORY}::test_a_slow_writer_is_waited_for",
    ),
    Mutation(
        "R18", "agent/manifest/one_file.py", '        return "unclear" if may_be_cut(documents[-1]) else "ignored"\n', '        return "ignored"\n',
        "tests/unit/manifest/test_fuzz.py::test_half_an_envelope_takes_nothing_away",
    ),
    Mutation(
        "R18", INVENTORY, "                if not self.is_frozen(self.records[key].file):\n", "                if True:\n",
        f"{_STORIES}::test_a_broken_file_freezes_its_objects",
    ),
)  # fmt: skip

FOLLOWED = (
    Mutation("R19", REMOTE, '            f"+{name}:{NEXT}",\n', '            f"{name}:{NEXT}",\n', f"{_REMOTE}::test_rewound_and_rewritten_is_followed_and_said"),
    Mutation(
        "R19", REMOTE, "        note = self._rewound(commit, name)\n", "        note = ()\n",
        f"{_REMOTE}::test_rewound_and_rewritten_is_followed_and_said",
    ),
    Mutation(
        "R20", REMOTE, "        if not has_manifest(revision.files):\n", "        if False:\n",
        f"{_REMOTE}::test_the_last_good_one_stays",
    ),
    Mutation(
        "R20", "agent/reconcile/world.py", "        return self.going > 3 and self.going * 2 > self.running\n", "        return False\n",
        f"{_STORIES}::test_a_mass_prune_waits_for_a_yes",
    ),
    Mutation(
        "R21", REMOTE, "min(self.remote.poll_seconds * 2.0 ** min(self._failures, 10), MAX_BACKOFF_SECONDS)",
        "self.remote.poll_seconds", f"{_REMOTE}::test_failures_are_asked_about_less_and_less",
    ),
    Mutation(
        "R21", REMOTE, "            file_limit_bytes=MAX_PACK_BYTES,\n", "",
        f"{_REMOTE}::test_a_pack_over_the_limit_is_not_taken",
    ),
    Mutation(
        "R21", REMOTE, "            if not self._is_mirror():\n                return None\n", "            return None\n",
        f"{_REMOTE}::test_after_a_start_without_the_server_the_mirror_counts",
    ),
)  # fmt: skip

MANIFESTS = (
    Mutation("R22", CHECKS, "    _check_duplicates(project, files, findings)\n", "", "tests/unit/manifest/test_cases.py"),
    Mutation("R22", CHECKS, "    _check_cycles(mine, findings)\n", "", f"{_MANY}::test_every_error_has_its_place_and_the_good_are_read"),
    Mutation(
        "R22", READER, "        objects |= project.objects_outside(frozen)\n", "        objects |= project.objects\n",
        f"{_MANY}::test_every_error_has_its_place_and_the_good_are_read",
    ),
)  # fmt: skip

REGISTRIES = (
    Mutation(
        "R23", REPOSITORY, '{"Range": f"bytes={offset}-"} if offset else {}', "{}",
        f"{_HARD_TIMES}::test_c5_a_layer_that_breaks_off_goes_on_where_it_was",
    ),
    Mutation(
        "R23", REPOSITORY, "max(0.5 * 2**attempt, error.retry_after_seconds)", "0.5 * 2**attempt",
        f"{_HARD_TIMES}::test_c5_asked_again_after_a_while",
    ),
    Mutation(
        "R23", "runtime/images/content.py", "    if digest and blob.digest != digest:\n", "    if False:\n",
        f"{_HARD_TIMES}::test_c5_a_range_of_other_bytes_is_found_out",
    ),
)  # fmt: skip

SOURCE_FAULTS = (*WATCHED, *FOLLOWED, *MANIFESTS, *REGISTRIES)
