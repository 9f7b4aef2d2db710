"""Defences of images that come and go by the Docker API, and the test that fails without each."""

from __future__ import annotations

from tests.threats.mutation import Mutation

AUTH, ORIGIN = "agent/api/docker/registry_auth.py", "runtime/images/registry/origin.py"
FINDING, GLOBS = "agent/api/docker/image_finding.py", "agent/api/docker/globs.py"
UNIT, API = "tests/unit/docker_api", "tests/api"

API_IMAGES = (
    Mutation(
        "F7", AUTH, "    if address and domain_of(address) != domain:\n", "    if False:\n",
        f"{UNIT}/test_registry_auth.py::test_a_login_for_another_registry_is_not_sent",
    ),
    Mutation(
        "F7", AUTH, 'raise _invalid("auth is not base64") from None', "raise _invalid(packed) from None",
        f"{UNIT}/test_registry_auth.py::test_what_is_no_header_is_not_said_back",
    ),
    Mutation(
        "F7", ORIGIN, "(*origins[:-1], replace(origins[-1], credential=credential))",
        "tuple(replace(each, credential=credential) for each in origins)",
        "tests/unit/images/registry/test_origin.py::test_only_the_registry_itself_hears_of_it",
    ),
    Mutation(
        "F7", "runtime/pulls.py", "wish.only_newer, wish.credential)", "wish.only_newer, None)",
        f"{API}/test_image_transfer.py::test_f7_a_pull_under_way_is_nobody_elses",
    ),
    Mutation(
        "F7", "agent/api/docker/image_commit.py", "seen.record.owner != API_OWNER", "False",
        f"{API}/test_images.py::test_what_a_manifest_gave_a_container_is_no_part_of_its_image",
    ),
    Mutation(
        "C4", "runtime/images/loader.py", "if name.canonical in kept)", "if False)",
        f"{API}/test_image_transfer.py::test_c4_a_name_that_a_manifest_runs_does_not_move",
    ),
    Mutation(
        "F6", GLOBS, "    if len(pattern) > MAX_LENGTH:\n", "    if False:\n",
        f"{UNIT}/test_globs.py::test_a_pattern_that_is_too_long",
    ),
)  # fmt: skip
