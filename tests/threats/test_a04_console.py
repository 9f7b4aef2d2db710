"""A4, CVE-2025-52565: another file in place of the console."""

from __future__ import annotations

from pathlib import Path

from tests.kernel.runtime.conftest import Box
from tests.threats.attack import attempt


def test_a4_the_console_is_a_pty_of_the_own_devpts(box: Box, canary: Path) -> None:
    """CVE-2025-52565: links where the console and its pty are expected."""
    (box.layer / "dev").mkdir()
    (box.layer / "dev/console").symlink_to(f"../../../..{canary}/marker")
    (box.layer / "dev/pts").symlink_to(str(canary))
    box.config["process"]["terminal"] = True
    box.config["mounts"] = [each for each in box.config["mounts"] if each["destination"] != "/dev"]
    found = attempt(box, "tty")
    assert found.status != 0 or "136" in box.run("stat", "-c", "%t", "/dev/console").output
