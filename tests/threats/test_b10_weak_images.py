"""B10, CVE-2019-5021: an image whose set-user-id programs, or empty passwords, make everybody root."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from tests.kernel.runtime.conftest import Box


@pytest.mark.parametrize(("no_new_privileges", "user"), [(True, "1000"), (False, "0")])
def test_b10_set_user_id_is_without_effect(box: Box, no_new_privileges: bool, user: str) -> None:
    """Where the manifest says so: without, it works as images expect."""
    program = box.layer / "tini"  # busybox takes no rights that it is given so
    shutil.copy("/usr/bin/tini-static", program)
    program.chmod(0o4755)
    box.config["process"]["user"]["username"] = "web"
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    assert box.run("/tini", "--", "grep", "^Uid", "/proc/1/status").output.split()[2] == user


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_b10_device_nodes_of_an_image_cannot_be_opened(box: Box, no_new_privileges: bool) -> None:
    os.mknod(box.layer / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    os.mknod(box.layer / "memory", stat.S_IFCHR | 0o666, os.makedev(1, 1))
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    found = box.run("sh", "-c", "cat /disk; cat /memory")
    assert found.output.count("not permitted") == 2
