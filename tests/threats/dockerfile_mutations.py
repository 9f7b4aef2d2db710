"""Mutations of what reads Dockerfiles: each bound and each check taken away, and the test that must then fail.
Rows D2 and D6 of ops/mutate. Taken in by `mutations`.
"""

from __future__ import annotations

from tests.threats.mutation import Mutation

_D = "runtime/images/dockerfile"
_NAMES, _BOMBS = "tests/threats/test_d02_build_names.py", "tests/threats/test_d06_dockerfile_bombs.py"
_REFUSED = f"{_BOMBS}::test_d6_what_is_too_much_is_refused"
_IGNORED = f"{_BOMBS}::test_d6_an_ignore_file_of_too_many_lines_is_refused"
_LINES = "tests/unit/images/dockerfile/test_lines.py::test_too_much_is_refused"
_FORMS = "tests/unit/images/dockerfile/test_syntax.py"


def _limit(name: str, old: str, test: str) -> Mutation:
    """The bound is as good as gone."""
    return Mutation("D6", f"{_D}/limits.py", f"{name} = {old}", f"{name} = 10**9", test)


DOCKERFILES = (
    Mutation(
        "D2", f"{_D}/mounts.py", '    if not _CACHE_ID.fullmatch(identity) or ".." in identity.split("/"):\n',
        "    if False:\n", f"{_NAMES}::test_d2_an_id_is_no_path",
    ),
    Mutation(
        "D2", f"{_D}/mounts.py", ' or ".." in identity.split("/"):\n', ":\n", f"{_NAMES}::test_d2_an_id_is_no_path",
    ),
    Mutation(
        "D2", f"{_D}/mounts.py", "    if not _ID.fullmatch(identity):\n", "    if False:\n",
        f"{_NAMES}::test_d2_a_secrets_target_follows_its_name_and_not_a_path_in_it",
    ),
    Mutation(
        "D2", f"{_D}/transfers.py", "    if not is_file_name(document.name):\n", "    if False:\n",
        f"{_NAMES}::test_d2_a_documents_name_is_a_files",
    ),
    Mutation(
        "D2", f"{_D}/stage_plan.py", "    if not is_file_name(document.name):\n", "    if False:\n",
        f"{_NAMES}::test_d2_a_documents_name_is_a_files",
    ),
    Mutation(
        "D2", f"{_D}/image_config.py", '    joined = posixpath.normpath(posixpath.join("/", working_dir, path))\n',
        '    joined = posixpath.join("/", working_dir, path)\n', f"{_NAMES}::test_d2_no_path_of_a_step_leads_up",
    ),
    Mutation(
        "D2", f"{_D}/mounts.py", '    if path == "/":\n', "    if False:\n",
        f"{_NAMES}::test_d2_no_dockerfile_asks_for_rights",
    ),
    Mutation(
        "D2", f"{_D}/syntax.py", '    if parts.flags.text("security") not in ("", "sandbox"):\n', "    if False:\n",
        f"{_NAMES}::test_d2_no_dockerfile_asks_for_rights",
    ),
    Mutation(
        "D2", f"{_D}/stage_plan.py", '    if run.network == "host" and context.request.network != "host":\n',
        "    if False:\n", f"{_NAMES}::test_d2_no_dockerfile_asks_for_rights",
    ),
    Mutation(
        "D2", f"{_D}/stages.py", "from dataclasses import dataclass\n",
        "import subprocess  # noqa: F401\nfrom dataclasses import dataclass\n",
        f"{_NAMES}::test_d2_the_reader_can_open_and_run_nothing",
    ),
    _limit("LINE_CHARACTERS", "64 * 1024 - 1", _LINES),
    _limit("FILE_BYTES", "2 * 1024 * 1024", f"{_REFUSED}[a file of 10 MB]"),
    _limit("INSTRUCTIONS", "4000", f"{_REFUSED}[10^5 instructions]"),
    _limit("STAGES", "500", _LINES),
    _limit("CONTINUED_LINES", "10_000", _LINES),
    _limit("VARIABLES", "1000", f"{_REFUSED}[2,000 variables]"),
    _limit("VALUE_CHARACTERS", "128 * 1024", f"{_REFUSED}[a variable of 256 KiB]"),
    _limit("EXPANDED_CHARACTERS", "16 * 1024 * 1024", f"{_REFUSED}[a variable doubled, used 4,000 times]"),
    _limit("MATCHED_PER_CHARACTER", "16", f"{_REFUSED}[a pattern of question marks]"),
    _limit("DEPTH", "32", f"{_REFUSED}[modifiers nested 10^4 times]"),
    _limit("WORDS", "10_000", f"{_REFUSED}[60,000 words]"),
    _limit("PORTS", "10_000", _FORMS),
    _limit("PATTERN_CHARACTERS", "1024", _IGNORED),
    _limit("IGNORE_PATTERNS", "5000", _IGNORED),
    _limit("MISTAKES", "200", _FORMS),
    Mutation(
        "D6", f"{_D}/stage_plan.py", "        context.budget.spend(ports * limits.PORT_CHARACTERS)\n", "",
        f"{_REFUSED}[300 times many ports]",
    ),
    Mutation(
        "D6", f"{_D}/stage_plan.py",
        "    context.budget.spend(len(entry.created_by))  # that of RUN repeats the value of each ARG\n",
        "", f"{_REFUSED}[a long argument and 3,900 steps]",
    ),
    Mutation(
        "D6", f"{_D}/expansion.py", "        self._spend(len(word))\n", "", f"{_REFUSED}[long words that nobody takes]",
    ),
    Mutation(
        "D6", f"{_D}/automaton.py", "        if len(self._steps) >= _MOST_REMEMBERED:\n            self._steps.clear()\n",
        "", "tests/unit/images/dockerfile/test_globs.py::test_what_is_remembered_of_paths_has_an_end",
    ),
    Mutation(
        "D6", f"{_D}/graph.py", "    if graph.triggers > limits.INSTRUCTIONS:\n", "    if False:\n",
        f"{_REFUSED}[3,000 triggers in 450 stages]",
    ),
    Mutation(
        "D6", f"{_D}/graph.py", '        raise Mistake(f"the stage {name} cannot take from itself", "the files are already there", name)\n',
        "        return FromStage(index)\n", f"{_REFUSED}[a circle of one]",
    ),
)  # fmt: skip
