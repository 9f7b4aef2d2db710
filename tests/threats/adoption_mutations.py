"""Mutations of what keeps manifests that are written from hiding, or saying, something else."""

from __future__ import annotations

from tests.threats.mutation import Mutation

YAML, CHECK = "agent/manifest/writer/yaml_text.py", "agent/manifest/writer/check.py"
IMPORT, ACCEPT = "agent/cli/import_docker.py", "agent/imports/accept.py"
_WRITER = "tests/unit/manifest/test_writer.py"
_DOCKER = "tests/unit/cli/test_import_docker.py"

ADOPTION = (
    Mutation("F8", YAML, "    return _dumped(value, allow_unicode=False)\n", "    return text\n", f"{_WRITER}::test_nothing_in_it_can_steer_a_terminal_or_hide"),
    Mutation("F8", YAML, 'c if c.isprintable() else "?"', "c", f"{_WRITER}::test_nothing_in_it_can_steer_a_terminal_or_hide"),
    Mutation("F3", YAML, '.replace("$", "$$")', "", f"{_WRITER}::test_it_reads_as_a_person_would_write_it"),
    Mutation("F3", CHECK, "        if not found:\n            found += _of_one(key, spec, manifest)\n", "        pass\n", f"{_WRITER}::test_what_a_manifest_cannot_say_is_found"),
    Mutation("F7", ACCEPT, '    if path[-1] == "Env":\n', "    if False:\n", "tests/unit/imports/test_docker.py::test_a_secret_is_in_no_note"),
    Mutation("F9", IMPORT, "    if uid != 0:\n", "    if False:\n", f"{_DOCKER}::test_a_users_daemon_does_not_have_roots_files_copied"),
    Mutation("F9", IMPORT, 'not path.endswith(f"/{name}/_data")', "False", f"{_DOCKER}::test_a_directory_that_is_no_volumes_is_not"),
    Mutation("F3", "agent/cli/adopt.py", '            declared += answer.get("declares", ())\n', "",
             "tests/api/test_adoption.py::test_those_that_are_written_at_once_share_what_they_use"),
    Mutation("F3", "agent/api/adopt.py", ", declared=others", "",
             "tests/api/test_adoption.py::test_two_files_of_a_project_share_what_they_use"),
    Mutation("F3", "agent/api/docker/container_view.py", "seen.volume_names.get(mount.source, mount.source)\n                if",
             "mount.source\n                if", "tests/api/test_adoption.py::test_two_files_of_a_project_share_what_they_use"),
    Mutation("F3", "agent/imports/docker_container.py", "    found |= _paths(host)\n", "", "tests/unit/imports"),
    Mutation("F3", "runtime/volume_copy.py", "            self.devices += [path] if len(self.devices) < MAX_TOLD else []\n",
             "            pass\n", "tests/kernel/engine/test_volume_take_over.py"),
)  # fmt: skip
