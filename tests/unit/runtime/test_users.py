"""Users and groups: exact ids or a refusal, whatever an image's files hold."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from runtime import users
from runtime.errors import Invalid

PASSWD = tuple(
    users.parse_passwd(
        b"root:x:0:0:root:/root:/bin/sh\n"
        b"web:x:1000:1001:Web:/srv:/bin/sh\n"
        b"1:x:7:7:a digit for a name:/one:/bin/sh\n"
        b"# comment:x:5:5::/:\n"
        b"broken line\n"
        b"huge:x:4294967296:0::/:\n"
        b"neg:x:-1:0::/:\n"
    )
)
GROUPS = partial(
    users.parse_group,
    b"root:x:0:\nwheel:x:10:root,web\nweb:x:1001:\nvideo:x:44:web\nbad:x:notanumber:web\n20:x:99:\n",
)


@pytest.mark.parametrize(
    ("user", "extra", "expected"),
    [
        ("", (), (0, 0, (0, 10))),
        ("root", (), (0, 0, (0, 10))),
        ("0", (), (0, 0, (0, 10))),
        ("web", (), (1000, 1001, (1001, 10, 44))),
        ("1000", (), (1000, 1001, (1001, 10, 44))),
        ("web:video", (), (1000, 44, (44,))),
        ("web:44", (), (1000, 44, (44,))),
        ("1000:0", (), (1000, 0, (0,))),
        ("12345", (), (12345, 0, (0,))),
        ("12345:67", (), (12345, 67, (67,))),
        ("web", ("wheel", "777"), (1000, 1001, (1001, 10, 44, 777))),
        ("1", (), (1, 0, (0,))),  # a number, even where a user has that name (crun CVE-2026-30892)
        ("2147483647", (), (2147483647, 0, (0,))),
        ("007", (), (7, 7, (7,))),
        ("web:20", (), (1000, 99, (99,))),  # a group may be named by digits, as in Docker
    ],
)
def test_identity(user: str, extra: tuple[str, ...], expected: tuple[int, int, tuple[int, ...]]) -> None:
    found = users.identify(user, extra, PASSWD, GROUPS)
    assert (found.uid, found.gid, found.groups) == expected


@pytest.mark.parametrize(
    "user",
    [
        "-1", "2147483648", "4294967296", "4294967295", "99999999999999999999", "0x0", "1:", ":1", ":",
        "root ",
        " root", "1:2:3", "nobody", "huge", "neg", "web:nogroup", "web:-1", "web:4294967296", "٣", "1_000",
        "+1", "1.0", "root\n", "\x00",
    ],
)  # fmt: skip
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(Invalid):
        users.identify(user, (), PASSWD, GROUPS)


def test_only_what_may_be_meant_is_taken_apart() -> None:
    """A name that is part of another is asked for by no mistake, and an empty list asks for nothing."""
    data = b"root:x:0:\nrooted:x:1:\nwheel:x:10:web,root\nvideo:x:44:webmaster\n"
    assert [each.name for each in users.parse_group(data, ("root",))] == ["root", "rooted", "wheel"]
    assert users.parse_group(data, ()) == []
    assert [each.name for each in users.parse_group(data, ("video", "wheel", "web"))] == ["wheel", "video"]
    assert [each.name for each in users.parse_group(data[:-1], ("master",))] == ["video"]
    assert len(users.parse_group(data, ("",))) == 4
    found = users.identify("web", (), [users.Passwd("web", 5, 6, "")], partial(users.parse_group, data))
    assert found.groups == (6, 10)


def test_home_comes_from_the_image() -> None:
    assert users.identify("web", (), PASSWD, GROUPS).home == "/srv"
    assert users.identify("12345", (), PASSWD, GROUPS).home == "/"


@pytest.fixture
def root(tmp_path: Path) -> int:
    (tmp_path / "etc").mkdir()
    return os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)


def test_a_missing_file_is_an_empty_one(root: int) -> None:
    assert users.read_in_root(root, "/etc/passwd") == b""
    assert users.resolve(root, "1000:1000", ()).uid == 1000
    os.close(root)


def test_a_fifo_in_place_of_the_file_does_not_hang(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(Invalid, match="not a regular file"):
        users.read_in_root(root, "/etc/passwd")
    os.close(root)


def test_a_huge_file_is_refused(root: int, tmp_path: Path) -> None:
    with (tmp_path / "etc/passwd").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Invalid, match="1 MiB"):
        users.read_in_root(root, "/etc/passwd")
    os.close(root)


def test_a_link_out_of_the_root_stays_inside(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").symlink_to("/etc/hostname")
    (tmp_path / "etc/hostname").write_text("inside:x:5:5::/:\n")
    assert b"inside" in users.read_in_root(root, "/etc/passwd")
    (tmp_path / "etc/group").symlink_to("../../../../../../etc/shadow")
    assert users.read_in_root(root, "/etc/group") == b""
    os.close(root)
