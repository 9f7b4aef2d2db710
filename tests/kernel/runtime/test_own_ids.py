"""A user namespace whose root is built outside of it: owners, file systems, and what the kernel must give."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import syscalls, user_namespaces
from runtime.errors import Invalid, SetpointError, Unsupported
from tests.kernel.runtime.conftest import Box, mount
from tests.kernel.runtime.own_ids import FIRST, KERNEL, give_ids, needs_mapped_tmpfs, owner

NET_BIND = 1 << 10


@pytest.fixture
def own(box: Box) -> Box:
    return give_ids(box)


def bind(box: Box, source: Path, *options: str, target: str = "/srv") -> None:
    made = mount(target, "bind", *(options or ("rbind", "ridmap")), source=str(source))
    box.config["mounts"].append(made)


def test_what_is_made_inside_is_zero_on_the_disk(own: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    bind(own, source)
    found = own.run(
        "sh",
        "-c",
        "touch /a /srv/a; mkdir /deep; chown 7:8 /a /srv/a; cp /bin/busybox /srv/su; chmod 6755 /srv/su",
    )
    assert (found.status, found.output) == (0, "")
    upper = own.place / "upper"
    assert [owner(upper / "a"), owner(source / "a"), owner(upper / "deep"), owner(source / "su")] == [
        (7, 8), (7, 8), (0, 0), (0, 0)
    ]  # fmt: skip


def test_an_image_with_missing_mount_points_and_foreign_directories(own: Box, tmp_path: Path) -> None:
    """They are made with the container's own ids, in a directory that is another user's."""
    private = own.layer / "private"
    private.mkdir(mode=0o700)
    os.chown(private, 1000, 1000)
    bind(own, tmp_path, target="/private/a/b")  # it holds what the root is made of
    own.config["process"]["cwd"] = "/new/cwd"
    found = own.run("sh", "-c", "pwd; stat -c %u:%g /private /private/a")
    assert found.output.split() == ["/new/cwd", "1000:1000", "0:0"], found
    assert owner(own.place / "upper/private/a") == (0, 0)


def test_capabilities_of_a_file(own: Box) -> None:
    """A version 2 attribute of an image counts in the container; one set inside is the container's own."""
    program = own.layer / "bin/busybox"
    program.parent.mkdir()
    shutil.copy("/bin/busybox", program)
    os.setxattr(program, "security.capability", struct.pack("<IIIII", 0x02000001, NET_BIND, 0, 0, 0))
    own.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    found = own.run("busybox", "grep", "CapEff", "/proc/self/status")
    assert int(found.output.split()[1], 16) == NET_BIND, found


def test_a_pipe_is_opened_again(own: Box) -> None:
    assert own.run("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr").output == "out\nerr\n"
    launched = own.start("sleep", "100")
    assert own.exec(launched, "sh", "-c", "echo again > /dev/stdout; id -u").output == "again\n0\n"


def test_ids_that_it_has_not_are_refused(own: Box) -> None:
    own.config["process"]["user"] = {"uid": 65536, "gid": 0}
    assert "65536" in own.run("true").error
    own.config["process"]["user"] = {"uid": 0, "gid": 0}
    own.config["mounts"].append(mount("/x", "tmpfs", "uid=65536"))
    with pytest.raises(Invalid, match="65536"):
        own.launch("true")


def test_only_one_range_from_zero(own: Box) -> None:
    own.config["linux"]["uidMappings"] = [{"containerID": 1, "hostID": FIRST, "size": 10}]
    with pytest.raises(Unsupported, match="one range"):
        own.launch("true")


def test_idmap_without_ids_is_refused(box: Box, tmp_path: Path) -> None:
    bind(box, tmp_path)
    with pytest.raises(SetpointError, match="no ids of its own"):
        box.launch("true")


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """A file system whose owners cannot be mapped."""
    for name in ("lower", "merged", "outer"):
        (tmp_path / name).mkdir()
    (tmp_path / "outer/inner").mkdir()
    points = [tmp_path / "merged", tmp_path / "outer/inner"]
    for point in points:
        subprocess.run(
            ["mount", "-t", "overlay", "-o", f"lowerdir={tmp_path}/lower:/srv", "x", point], check=True
        )
    yield tmp_path
    for point in points:
        subprocess.run(["umount", "-l", point], check=True)


@pytest.mark.parametrize("source", ["merged", "outer"])
def test_a_file_system_that_cannot_is_named(own: Box, overlay: Path, source: str) -> None:
    bind(own, overlay / source)
    with pytest.raises(Unsupported) as raised:
        own.launch("true")
    assert "overlay" in raised.value.reason and str(overlay) in raised.value.reason
    assert "userns_mode: host" in raised.value.hint


@needs_mapped_tmpfs
def test_what_the_kernel_shows_is_bound_as_it_is(own: Box) -> None:
    bind(own, Path("/sys/kernel"), "rbind", "ridmap", "ro", target="/srv/sys")
    bind(own, Path("/dev"), "rbind", "ridmap", target="/srv/dev")
    found = own.run("sh", "-c", "ls -d /srv/sys/mm; stat -c %u /srv/dev/null; touch /srv/dev/x")
    assert found.output.split()[:2] == ["/srv/sys/mm", "65534"] and "touch" in found.output


@pytest.mark.skipif(KERNEL >= (6, 3), reason="this kernel maps the owners of files on a tmpfs")
def test_a_tmpfs_that_an_older_kernel_cannot_map_is_named(own: Box) -> None:
    bind(own, Path("/dev"), "rbind", "ridmap", target="/srv/dev")
    with pytest.raises(Unsupported, match="/dev/shm is on tmpfs") as raised:
        own.launch("true")
    assert "kernel 6.3" in raised.value.hint


@needs_mapped_tmpfs
def test_the_mounts_below_a_bind_are_mapped_too(own: Box, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "x", tmp_path / "a/b"], check=True)
    try:
        (tmp_path / "a/b/file").write_text("x")
        bind(own, tmp_path / "a")
        assert own.run("stat", "-c", "%u:%g", "/srv/b/file").output.strip() == "0:0"
    finally:
        subprocess.run(["umount", "-l", tmp_path / "a/b"], check=True)


def test_a_user_namespace_of_ones_own_is_no_boundary() -> None:
    with pytest.raises(Invalid, match="the host's own"):
        user_namespaces.open_owner("/proc/self/ns/net")
    held = user_namespaces.make("0 5000 10\n", "0 6000 10\n", network=True)
    try:
        owned = user_namespaces.open_owner(f"/proc/self/fd/{held.network}")
        assert os.fstat(owned).st_ino == os.fstat(held.user).st_ino
        assert not os.get_inheritable(owned)
        os.close(owned)
    finally:
        os.close(held.user)
        os.close(held.network)


def test_rights_and_owner_are_back_after_a_failed_build(own: Box) -> None:
    own.config["mounts"].append(mount("/x", "nosuchfs"))
    before = syscalls.prctl(syscalls.PR_GET_SECUREBITS), syscalls.capget()
    with pytest.raises(SetpointError):
        own.launch("true")
    status = Path("/proc/self/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert uids == ["0"] * 4 and (syscalls.prctl(syscalls.PR_GET_SECUREBITS), syscalls.capget()) == before
