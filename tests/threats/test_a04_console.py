"""A4, CVE-2025-52565: another file in place of the console."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import syscalls
from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import attempt

IN_OPEN = 0x20  # inotify(7)


def test_a4_the_console_is_a_pty_of_the_own_devpts(box: Box, canary: Path) -> None:
    """CVE-2025-52565: links where the console and its pty are expected."""
    (box.layer / "dev").mkdir()
    (box.layer / "dev/console").symlink_to(f"../../../..{canary}/marker")
    (box.layer / "dev/pts").symlink_to(str(canary))
    box.config["process"]["terminal"] = True
    box.config["mounts"] = [each for each in box.config["mounts"] if each["destination"] != "/dev"]
    found = attempt(box, "tty")
    assert found.status != 0 or "136" in box.run("stat", "-c", "%t", "/dev/console").output


def test_a4_what_is_no_devpts_is_not_even_opened(box: Box, tmp_path: Path) -> None:
    """A pipe in place of the terminals' device: to open one, or a device, may already do something."""
    shared = tmp_path / "shared"
    shared.mkdir()
    os.mkfifo(shared / "ptmx")
    box.config["process"]["terminal"] = True
    others = [each for each in box.config["mounts"] if each["destination"] != "/dev/pts"]
    box.config["mounts"] = [*others, mount("/dev/pts", "bind", "bind", source=str(shared))]
    watch = syscalls.inotify_init()
    try:
        syscalls.inotify_add_watch(watch, str(shared / "ptmx"), IN_OPEN)
        assert "not a devpts" in attempt(box, "tty").error
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)
