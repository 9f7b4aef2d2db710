"""A5, CVE-2025-52881, CVE-2019-19921: a fake /proc that turns writes of the runtime elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import attempt, replace_directory


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a5_a6_a_link_in_place_of_a_system_directory_is_refused(box: Box, canary: Path, name: str) -> None:
    """CVE-2026-41579 and kin: what is written below these must not land elsewhere."""
    replace_directory(box, name, "/srv")
    found = attempt(box)
    assert found.status == 125 and f"/{name}" in found.error, found


@pytest.mark.parametrize(
    "target", ["/proc/self/attr", "/proc/self/fd", "/proc/sys/kernel", "/proc/1", "/proc/self/../self"]
)
def test_a5_a_mount_inside_procfs_is_refused(box: Box, target: str) -> None:
    box.config["mounts"].append(mount(target, "tmpfs"))
    found = attempt(box)
    assert found.status == 125, found


def test_a5_a_mount_inside_procfs_by_a_link(box: Box) -> None:
    """It may land below what becomes /proc, never in it: procfs comes on top."""
    (box.layer / "link").symlink_to("/proc/self/task")
    box.config["mounts"].append(mount("/link", "tmpfs"))
    found = attempt(box, "ls", "/proc/self/task")
    assert found.status == 125 or found.output.split() == ["1"]
