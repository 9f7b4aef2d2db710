"""OCI mount options as flags and attributes, and targets that are refused before anything is mounted."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from runtime import mounts
from runtime import syscalls as sys_
from runtime.errors import Invalid


def test_a_read_only_bind() -> None:
    found = mounts.parse_mount(
        {
            "destination": "/data",
            "type": "bind",
            "source": "/srv",
            "options": ["rbind", "ro", "nosuid", "rslave"],
        }
    )
    assert found.kind == "bind"
    assert found.recursive and found.read_only
    assert found.set_ == sys_.MOUNT_ATTR_RDONLY | sys_.MOUNT_ATTR_NOSUID
    assert found.propagation == sys_.MS_SLAVE | sys_.MS_REC
    assert found.data == ""


def test_the_last_of_two_opposite_options_counts() -> None:
    found = mounts.parse_mount({"destination": "/d", "type": "bind", "source": "/s", "options": ["ro", "rw"]})
    assert found.set_ == 0
    assert found.clear == sys_.MOUNT_ATTR_RDONLY


def test_file_system_options_stay_data() -> None:
    found = mounts.parse_mount(
        {
            "destination": "/t",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["noexec", "size=1m", "mode=700"],
        }
    )
    assert found.data == "size=1m,mode=700"
    assert found.flags == sys_.MS_NOEXEC


def test_recursive_attributes_and_subpath() -> None:
    found = mounts.parse_mount(
        {"destination": "/t", "source": "/s", "options": ["rbind", "rro", "x-setpoint.subpath=a/b"]}
    )
    assert found.recursive_set == sys_.MOUNT_ATTR_RDONLY
    assert found.subpath == "a/b"


def test_a_relative_source_is_below_the_bundle() -> None:
    found = mounts.parse_mount({"destination": "/t", "source": "hosts", "options": ["bind"]}, "/bundle")
    assert found.source == "/bundle/hosts"


@pytest.mark.parametrize("target", ["/../etc", "..", "/a/../b", "/a\0b"])
def test_a_climbing_target_is_refused(target: str) -> None:
    with pytest.raises(Invalid):
        mounts.parse_mount({"destination": target, "type": "tmpfs", "source": "tmpfs"})


def test_overlay_round_trip() -> None:
    overlay = mounts.Overlay(("/a", "/b"), "/u", "/w")
    assert mounts.Overlay.parse(overlay.to_json()) == overlay


def test_an_unknown_propagation_is_refused() -> None:
    with pytest.raises(Invalid):
        mounts.propagation_flags("rwhatever")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    return tmp_path / "outside"


def opened(tmp_path: Path) -> int:
    return os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)


def test_a_target_is_made_with_its_parents(tmp_path: Path, outside: Path) -> None:
    root = opened(tmp_path)
    os.close(mounts.open_target(root, "/a/b/c", True))
    os.close(mounts.open_target(root, "/a/b/file", False))
    assert (tmp_path / "root/a/b/c").is_dir()
    assert (tmp_path / "root/a/b/file").is_file()
    os.close(root)


@pytest.mark.parametrize("link", ["/absolute/missing", "relative/missing", "a/b"])
def test_a_dangling_link_is_followed_inside_the_root(tmp_path: Path, outside: Path, link: str) -> None:
    (tmp_path / "root/link").symlink_to(link)
    root = opened(tmp_path)
    os.close(mounts.open_target(root, "/link/deep", True))
    assert (tmp_path / "root" / link.lstrip("/") / "deep").is_dir()
    assert list(outside.iterdir()) == []
    os.close(root)


@pytest.mark.parametrize("link", ["../outside", "../../outside", "../outside/new"])
def test_a_link_out_of_the_root_makes_nothing_outside(tmp_path: Path, outside: Path, link: str) -> None:
    (tmp_path / "root/link").symlink_to(link)
    root = opened(tmp_path)
    with suppress(OSError):
        os.close(mounts.open_target(root, "/link/made", True))
    assert list(outside.iterdir()) == []
    os.close(root)


def test_links_in_a_circle_end(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "root/one").symlink_to("two/x")
    (tmp_path / "root/two").symlink_to("one/x")
    root = opened(tmp_path)
    with pytest.raises(OSError, match="link"):
        mounts.open_target(root, "/one/made", True)
    os.close(root)


def test_a_link_to_itself_ends(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "root/one").symlink_to("one")
    root = opened(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        mounts.open_target(root, "/one", True)
    os.close(root)


def test_a_magic_link_is_refused(tmp_path: Path, outside: Path) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="symbolic links"):
        mounts.open_target(root, "/proc/self/root", True)
    os.close(root)


def test_a_plain_target_must_not_be_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "root/real").mkdir()
    (tmp_path / "root/dev").symlink_to("real")
    root = opened(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        mounts.open_target(root, "/dev", True, sys_.RESOLVE_NO_SYMLINKS)
    os.close(root)


def test_nothing_stays_open(tmp_path: Path, outside: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    test_links_in_a_circle_end(tmp_path, outside)
    assert len(os.listdir("/proc/self/fd")) == before
