"""B10, CVE-2019-5021: an image whose set-user-id programs, or empty passwords, make everybody root."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.runtime.conftest import Box
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, pax, tar


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


@pytest.fixture
def weak(tmp_path: Path) -> IsolatedImages:
    """A store with an image that gives everything away, over a layer in which half of it was hidden."""
    below = tar(
        directory("./", 0o1777), directory("etc"), entry("etc/shadow", b"root::0:0:::::\n"),
        directory("bin"), entry("bin/hidden", b"x", mode=0o4755),
    )  # fmt: skip
    above = tar(
        directory("./", 0o777), directory("etc", 0o777), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        entry("etc/shadow", b"root:::0:::::\nweb:!::\nold::1:\n"), directory("bin"),
        entry("bin/.wh.hidden"), entry("bin/su", b"x", mode=0o4755),
        entry("bin/wall", b"x", mode=0o2755, gid=5),
        pax({"SCHILY.xattr.security.capability": bytes((0, 0, 0, 2)) + bytes(16)}),
        entry("bin/ping", b"x", mode=0o755),
    )  # fmt: skip
    images = IsolatedImages(Layout("tweak", tmp_path / "data", tmp_path / "run"))
    images.load(craft.write_tar(tmp_path / "image.tar", craft.image(below, above)))
    return images


def test_b10_what_is_weak_is_told_by_a_check(weak: IsolatedImages) -> None:
    found = weak.check([], repair=False, busy=[])
    assert all(finding.is_warning for finding in found)
    assert {(finding.path, finding.reason) for finding in found} == {
        ("/", "is writable for everybody"),
        ("etc", "is writable for everybody"),
        ("etc/shadow", "user root has an empty password"),
        ("etc/shadow", "user old has an empty password"),
        ("bin/su", "is set-user-id root"),
        ("bin/wall", "is set-group-id 5"),
        ("bin/ping", "has capabilities of its own"),
    }


def test_b10_su_without_a_password_fails_where_the_manifest_says_so(box: Box) -> None:
    """CVE-2019-5021: an empty field in etc/shadow lets everybody in, unless no right can be gained."""
    (box.layer / "etc").mkdir(exist_ok=True)
    (box.layer / "etc/passwd").write_text("root::0:0::/:/bin/sh\nweb::1000:1000::/:/bin/sh\n")
    busybox = box.layer / "su"
    shutil.copy("/bin/busybox", busybox)
    busybox.chmod(0o4755)
    box.config["process"]["user"]["username"] = "web"
    box.config["process"]["noNewPrivileges"] = True
    found = box.run("/su", "-c", "grep ^Uid /proc/self/status")
    assert "Uid:\t0" not in found.output
