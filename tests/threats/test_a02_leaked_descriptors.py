"""A2, CVE-2024-21626: a descriptor or working directory of the host that stays open inside."""

from __future__ import annotations

import pytest

from tests.kernel.runtime.conftest import Box
from tests.threats.attack import attempt


@pytest.mark.parametrize(
    "cwd",
    [*(f"/proc/self/fd/{number}" for number in (3, 4, 5, 6, 7, 8, 9, 10, 12, 20)), "/proc/1/cwd",
     "/proc/thread-self/root", "/proc/self/cwd", "/proc/self/exe", "/proc/1/root/../.."],
)  # fmt: skip
def test_a2_a_leaked_descriptor_is_no_working_directory(box: Box, cwd: str) -> None:
    box.config["process"]["cwd"] = cwd
    found = attempt(box, "pwd")
    assert found.status == 125, found
    assert "enter directory" in found.error


def test_a2_a_working_directory_by_a_link_of_the_image(box: Box) -> None:
    (box.layer / "work").symlink_to("/proc/self/fd/8")
    box.config["process"]["cwd"] = "/work"
    assert "enter directory" in attempt(box, "pwd").error
