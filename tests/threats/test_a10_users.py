"""A10, CVE-2026-30892, CVE-2024-40635, CVE-2024-9676; A11, GHSA-hmfx-3pcx-653p: who a process runs as."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import LEASE_SECONDS, attempt, lease_on


@pytest.mark.parametrize("file", ["passwd", "group"])
def test_a10_a_fifo_for_a_user_file_does_not_hang(box: Box, file: str) -> None:
    (box.layer / "etc").mkdir()
    os.mkfifo(box.layer / "etc" / file)
    found = attempt(box, "id")
    assert found.status == 125 and "not a regular file" in found.error


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [
        ("", "[]", "0 0 0,10"),
        ("web", "[]", "1000 1001 1001,10"),
        ("web:video", "[]", "1000 44 44"),
        ("1000:0", "[]", "1000 0 0"),
        ("4242", '["video", "77"]', "4242 0 0,44,77"),
    ],
)
def test_a10_a11_users_and_groups_are_exact(box: Box, user: str, groups: str, expected: str) -> None:
    box.config["process"]["user"]["username"] = user
    box.config["annotations"]["setpoint.groups"] = groups
    script = "echo $(id -u) $(id -g) $(grep Groups /proc/self/status | cut -f2)"
    first = box.run("sh", "-c", script).output.strip()
    launched = box.start("sleep", "1000")
    again = box.exec(launched, "sh", "-c", script).output.strip()
    uid, gid, groups = expected.split()
    wanted = [uid, gid, *sorted(groups.split(","), key=int)]  # the kernel keeps them sorted
    assert first.split() == wanted
    assert again.split() == wanted


@pytest.mark.parametrize("user", ["nobody-there", "-1", "2147483648", "1:"])
def test_a10_what_is_no_user_is_refused(box: Box, user: str) -> None:
    box.config["process"]["user"]["username"] = user
    found = attempt(box, "id")
    assert found.status == 125 and user.partition(":")[0] in found.error


def test_a10_a_lease_on_a_user_file_does_not_hang(box: Box, tmp_path: Path) -> None:
    """Another container holds it, through a volume that they share; the supervisor reads the file."""
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/root:/bin/sh\n")
    box.config["mounts"].append(mount("/etc/passwd", "bind", "bind", source=str(passwd)))
    with lease_on(passwd):
        begun = time.monotonic()
        found = attempt(box, "id")
        assert time.monotonic() - begun < LEASE_SECONDS
    assert found.status == 125 and "lease" in found.error


@pytest.mark.parametrize("content", ["x" * (1 << 20) + "y", "r" + ":" * 900_000, "web:x:4294967296:0::/:\n"])
def test_a10_a_hostile_user_file_names_nobody(box: Box, content: str) -> None:
    (box.layer / "etc").mkdir()
    (box.layer / "etc/passwd").write_text(content)
    box.config["process"]["user"]["username"] = "web"
    assert attempt(box, "id").status == 125
