"""Layers that were made to harm. Each is refused, or stays inside its directory; the canary beside it
is unchanged, and the store holds nothing of what was refused.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from runtime.errors import Invalid, SetpointError
from runtime.images.layers import LayerRecord, unpack_layer
from runtime.images.limits import Limits
from tests.unit.images import craft
from tests.unit.images.craft import END, directory, entry, hardlink, long_name, pax, symlink, tar

CAPABILITY_V2 = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
Sandbox = Callable[..., LayerRecord]


class Arena:
    """A directory to unpack in, and beside it what must never change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.canary = root / "canary"
        self.canary.mkdir()
        (self.canary / "secret").write_text("secret")
        (self.canary / "secret").chmod(0o600)
        (self.canary / "bin").mkdir(mode=0o700)
        self.before = fingerprint(self.canary)
        self.count = 0

    def unpack(self, data: bytes, **options: object) -> Path:
        """Returns the tree. The canary is checked after every attempt."""
        self.count += 1
        target = self.root / f"layer-{self.count}"
        try:
            self.record = unpack_layer(io.BytesIO(data), target, "test", **options)  # type: ignore[arg-type]
        finally:
            assert fingerprint(self.canary) == self.before, "the layer reached out of its directory"
            outside = {path.name for path in self.root.iterdir()}
            assert outside == {"canary"} | {f"layer-{number}" for number in range(1, self.count + 1)}
        return target / "diff"


def fingerprint(root: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found.append(
            (
                str(path),
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_nlink,
                content,
            )
        )
    return found


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


UP = "../canary"

REFUSED: dict[str, bytes] = {
    # names
    "parent": tar(entry(f"{UP}/new", b"x")),
    "parent, many": tar(entry("../" * 30 + "etc/passwd", b"x")),
    "parent in the middle": tar(directory("a"), entry("a/../../canary/new", b"x")),
    "parent that stays inside": tar(directory("a"), entry("a/../b", b"x")),
    "parent as a directory": tar(directory("..", mode=0o777)),
    "parent with a slash": tar(directory("../", mode=0o777)),
    "absolute with a parent": tar(entry("/../canary/new", b"x")),
    "parent after dots": tar(entry("././../canary/new", b"x")),
    "parent in a prefix": tar(entry("canary/new", b"x", fields={"prefix": b".."})),
    "parent in pax": tar(pax({"path": f"{UP}/new"}), entry("x", b"x")),
    "parent in a GNU name": tar(long_name(f"{UP}/new"), entry("x", b"x")),
    "NUL in pax": tar(pax({"path": b"a\0b"}), entry("x", b"x")),
    "NUL in a link": tar(pax({"linkpath": b"a\0b"}), symlink("x", "y")),
    "long name": tar(long_name("a/" * 2100), entry("x", b"x")),
    "long component": tar(pax({"path": "a" * 256}), entry("x", b"x")),
    "deep": tar(pax({"path": "a/" * 257 + "x"}), entry("x", b"x")),
    "root as a file": tar(entry("./", b"x")),
    "root as a link": tar(symlink(".", "/etc")),
    "root as a hard link": tar(entry("a", b"x"), hardlink("/", "a")),
    "empty symlink": tar(symlink("a", "")),
    "long symlink": tar(long_name("a" * 4096, b"K"), symlink("a", "x")),
    # links
    "hard link out": tar(hardlink("a", f"{UP}/secret")),
    "hard link absolute": tar(hardlink("a", "/etc/passwd")),
    "hard link to itself": tar(hardlink("a", "a")),
    "hard link to nothing": tar(hardlink("a", "b")),
    "hard link to root": tar(hardlink("a", "/")),
    "hard link to a directory": tar(directory("d"), hardlink("a", "d")),
    "hard link through a link": tar(symlink("d", UP), hardlink("a", "d/secret")),
    "hard link through an absolute link": tar(symlink("d", "/etc"), hardlink("a", "d/passwd")),
    "hard link to a whiteout": tar(entry(".wh.a"), hardlink("b", "a")),
    "hard link to what it replaces": tar(directory("d"), entry("d/f", b"x"), hardlink("d", "d/f")),
    "file below a file": tar(entry("a", b"x"), entry("a/b", b"x")),
    "file below a FIFO": tar(entry("a", kind=b"6"), entry("a/b", b"x")),
    "below a dangling link": tar(symlink("d", "nowhere"), entry("d/x", b"x")),
    "below a link out": tar(symlink("d", UP), entry("d/new", b"x")),
    "below a link to itself": tar(symlink("d", "d"), entry("d/new", b"x")),
    "below a loop of links": tar(symlink("a", "b"), symlink("b", "a"), entry("a/new", b"x")),
    "below links out in turn": tar(symlink("a", ".."), symlink("b", "a/canary"), entry("b/new", b"x")),
    # whiteouts and devices
    "whiteout of no name": tar(entry(".wh.")),
    "whiteout of dot": tar(entry("a/.wh..")),
    "whiteout of parent": tar(directory("a"), entry("a/.wh...")),
    "whiteout as a directory": tar(entry(".wh.a/b", b"x")),
    "whiteout below a link out": tar(symlink("d", UP), entry("d/.wh.secret")),
    "opaque below a link out": tar(symlink("d", UP), entry("d/.wh..wh..opq")),
    "whiteout below parent": tar(entry(f"{UP}/.wh.secret")),
    "forged whiteout": tar(entry("a", kind=b"3", major=0, minor=0)),
    "forged block 0/0": tar(entry("a", kind=b"4", major=0, minor=0)),
    "forged whiteout, base 256": tar(entry("a", kind=b"3", fields={"major": b"\x80" + bytes(7)})),
    "major out of range": tar(entry("a", kind=b"3", major=4096, minor=1)),
    "minor out of range": tar(entry("a", kind=b"4", major=8, minor=1 << 20)),
    "device as large as can be": tar(entry("a", kind=b"3", fields={"major": b"\x80" + b"\xff" * 7})),
    # numbers
    "negative size": tar(entry("a", fields={"size": b"\xff" * 12})),
    "size in pax": tar(pax({"size": "-1"}), entry("a", b"x")),
    "huge size": tar(entry("a", size=1 << 60)),
    "huge size in pax": tar(pax({"size": "9" * 19}), entry("a", b"x")),
    "size with letters": tar(entry("a", fields={"size": b"0x10\0"})),
    "size with underscore": tar(entry("a", fields={"size": b"1_0\0"})),
    "size with a sign": tar(entry("a", fields={"size": b"-10\0"})),
    "size with an eight": tar(entry("a", fields={"size": b"18\0"})),
    "uid too large": tar(pax({"uid": str(2**32 - 1)}), entry("a", b"x")),
    "gid overflow": tar(pax({"gid": str(2**64)}), entry("a", b"x")),
    "uid negative": tar(entry("a", fields={"uid": b"\xff" * 8})),
    "uid not a number": tar(pax({"uid": "root"}), entry("a", b"x")),
    "mtime not a number": tar(pax({"mtime": "soon"}), entry("a", b"x")),
    "mtime infinite": tar(pax({"mtime": "inf"}), entry("a", b"x")),
    "mtime endless": tar(pax({"mtime": "1." + "1" * 5000}), entry("a", b"x")),
    # headers
    "wrong checksum": tar(entry("a", b"x", fields={"checksum": b"0000000\0"})),
    "unknown type": tar(entry("a", kind=b"Z")),
    "volume label": tar(entry("a", kind=b"V")),
    "multi volume": tar(entry("a", kind=b"M")),
    "pax without a length": tar(pax(b"path=x\n"), entry("a", b"x")),
    "pax too long": tar(pax(b"99 path=x\n"), entry("a", b"x")),
    "pax too short": tar(pax(b"3 path=x\n"), entry("a", b"x")),
    "pax of length zero": tar(pax(b"0 path=x\n"), entry("a", b"x")),
    "pax without newline": tar(pax(b"9 path=xy"), entry("a", b"x")),
    "pax without equals": tar(pax(b"8 pathx\n"), entry("a", b"x")),
    "pax of a megabyte": tar(pax({"comment": "x" * (1 << 20)}), entry("a", b"x")),
    "pax of an exabyte": tar(pax(b"", size=1 << 60)),
    "GNU name of a megabyte": tar(long_name("x" * (1 << 21)), entry("a", b"x")),
    "endless pax": tar(*[pax({"comment": "x"})] * 40, entry("a", b"x")),
    "cut in a header": tar(entry("a", b"x"))[:700],
    "cut in the data": entry("a", b"x" * 2000)[:1500],
    "cut in the padding": entry("a", b"x" * 600)[:1200],
    "no end mark": entry("a", b"x"),
    "text": b"this is not a tar archive at all\n" * 100,
    "noise": hashlib.shake_256(b"noise").digest(20_000),
    # packing
    "gzip cut": gzip.compress(tar(entry("a", os.urandom(9000))))[:-3000],
    "gzip without its end": gzip.compress(tar(entry("a", b"x")))[:-4],
    "gzip with a wrong sum": gzip.compress(tar(entry("a", b"x")))[:-8] + bytes(8),
    "gzip with garbage behind": gzip.compress(tar(entry("a", b"x"))) + b"garbage",
    "gzip of nothing": gzip.compress(b"")[:12],
    "zstd cut": zstandard.compress(tar(entry("a", os.urandom(9000))))[:-3000],
    "zstd damaged": zstandard.compress(tar(entry("a", b"x")))[:20] + bytes(40),
    "xz cut": b"\xfd7zXZ\x00" + bytes(100),
    "bzip2 damaged": b"BZh9" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(arena: Arena, case: str) -> None:
    with pytest.raises(Invalid) as caught:
        arena.unpack(REFUSED[case])
    assert caught.value.hint, "a person must be told what to do"
    assert len(str(caught.value)) < 1000


# As many bytes as are stored come after the map; what it says is not true, or is a bomb.
SPARSE_REFUSED = {
    "no size": (pax({"GNU.sparse.map": "0,1"}), entry("a", b"x")),
    "no minor": (pax({"GNU.sparse.major": "1", "GNU.sparse.name": "a"}), entry("a", b"x")),
    "another length": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,2"}), entry("a", b"x")),
    "behind the end": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "9,1"}), entry("a", b"x")),
    "over each other": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,2,1,2"}), entry("a", b"four")),
    "not in order": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "4,1,0,1"}), entry("a", b"xy")),
    "odd": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,2"}), entry("a", b"x")),
    "no number": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,-1"}), entry("a", b"x")),
    "no size at all": (pax({"GNU.sparse.size": "", "GNU.sparse.map": "0,1"}), entry("a", b"x")),
    "parts in disorder": (pax(b"25 GNU.sparse.numbytes=0\n"), entry("a", b"x")),
    "map in the data is cut": (
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}),
        entry("a", b"3\n0\n1\n".ljust(512, b"\0")),
    ),
    "map in the data has no end": (
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}),
        entry("a", b"9" * 3000),
    ),
    "map in the data is endless": (
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}),
        entry("a", b"999999999\n" + b"0\n" * (1 << 20)),
    ),
    "a directory": (pax({"GNU.sparse.size": "9", "GNU.sparse.map": "0,1"}), directory("a")),
    "old, no size": (entry("a", kind=b"S"),),
    "old, an exabyte": (entry("a", kind=b"S", size=1 << 60),),
    "a bomb of 100 GB": (pax({"GNU.sparse.size": "100000000000", "GNU.sparse.map": "0,1"}), entry("a", b"x")),
    "an exabyte of holes": (
        pax({"GNU.sparse.size": str(1 << 60), "GNU.sparse.map": "0,1"}), entry("a", b"x"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPARSE_REFUSED)
def test_b5_sparse_files_that_lie(arena: Arena, case: str) -> None:
    with pytest.raises(Invalid):
        arena.unpack(tar(*SPARSE_REFUSED[case]))


def test_b5_many_holes_are_a_bomb_together(arena: Arena) -> None:
    """Each is within the bounds of a file."""
    one = pax({"GNU.sparse.size": str(60 << 20), "GNU.sparse.map": ""})
    limits = Limits(unpacked_bytes=1 << 30)
    arena.unpack(tar(*(one + entry(f"a{number}") for number in range(10))), limits=limits)
    with pytest.raises(Invalid, match="of holes"):
        arena.unpack(tar(*(one + entry(f"b{number}") for number in range(20))), limits=limits)


def test_absolute_names_stay_inside(arena: Arena) -> None:
    name = f"{arena.canary}/new"
    tree = arena.unpack(tar(entry(name, b"x"), entry("//etc//passwd", b"mine")))
    assert (tree / name.lstrip("/")).read_bytes() == b"x"
    assert (tree / "etc/passwd").read_bytes() == b"mine"


def test_absolute_links_are_resolved_inside(arena: Arena) -> None:
    tree = arena.unpack(tar(directory("usr/lib"), symlink("lib", "/usr/lib"), entry("lib/x", b"x")))
    assert (tree / "usr/lib/x").read_bytes() == b"x"


def test_links_above_the_root_end_at_the_root(arena: Arena) -> None:
    tree = arena.unpack(tar(directory("d"), symlink("d/up", "../../../.."), entry("d/up/x", b"x")))
    assert (tree / "x").read_bytes() == b"x"


def test_symlinks_out_are_kept_as_data(arena: Arena) -> None:
    tree = arena.unpack(tar(symlink("a", str(arena.canary / "secret")), symlink("b", f"{UP}/secret")))
    assert os.readlink(tree / "a") == str(arena.canary / "secret")
    assert os.readlink(tree / "b") == f"{UP}/secret"


def test_a_file_replaces_a_link_and_does_not_write_through_it(arena: Arena) -> None:
    target = str(arena.canary / "secret")
    tree = arena.unpack(tar(symlink("a", target), entry("a", b"mine", mode=0o666, uid=5)))
    assert (tree / "a").read_bytes() == b"mine"
    assert not (tree / "a").is_symlink()


@pytest.mark.parametrize("again", [directory("a", 0o777), entry("a", kind=b"6", mode=0o777)])
def test_attributes_do_not_go_through_a_link(arena: Arena, again: bytes) -> None:
    tree = arena.unpack(tar(symlink("a", str(arena.canary)), again))
    assert not (tree / "a").is_symlink()
    assert stat.S_IMODE((tree / "a").lstat().st_mode) == 0o777


def test_a_symlink_with_owner_and_xattrs_changes_only_itself(arena: Arena) -> None:
    records = {"SCHILY.xattr.user.x": "1", "uid": "1234"}
    tree = arena.unpack(tar(pax(records), symlink("a", str(arena.canary / "secret"))))
    assert (tree / "a").lstat().st_uid == 1234
    assert os.listxattr(arena.canary / "secret") == []


def test_a_directory_turned_into_a_link_takes_no_attributes_along(arena: Arena) -> None:
    tree = arena.unpack(tar(directory("a", 0o777, uid=7), symlink("a", str(arena.canary))))
    assert (tree / "a").is_symlink()


def test_a_directory_that_was_held_open_and_replaced(arena: Arena) -> None:
    pieces = [
        directory("d"),
        entry("d/a", b"1"),
        symlink("d", str(arena.canary)),
        directory("e"),
        symlink("d", "e"),
    ]
    tree = arena.unpack(tar(*pieces, entry("d/b", b"2")))
    assert (tree / "e/b").read_bytes() == b"2"
    assert not (tree / "e/a").exists()


def test_more_directories_than_are_held_open(arena: Arena) -> None:
    pieces = [entry(f"d{number}/f", b"%d" % number) for number in range(200)]
    links = [hardlink(f"d{number}/g", f"d{199 - number}/f") for number in range(200)]
    tree = arena.unpack(tar(*pieces, *links))
    for number in range(200):
        assert (tree / f"d{number}/g").read_bytes() == b"%d" % (199 - number)


def test_hardlinks_share_one_file(arena: Arena) -> None:
    tree = arena.unpack(tar(entry("a", b"x"), directory("d"), hardlink("d/b", "/a"), hardlink("c", "./d/b")))
    assert (tree / "a").stat().st_nlink == 3
    assert (tree / "a").stat().st_ino == (tree / "c").stat().st_ino


def test_a_hardlink_to_a_symlink_does_not_follow_it(arena: Arena) -> None:
    tree = arena.unpack(tar(symlink("a", str(arena.canary / "secret")), hardlink("b", "a")))
    assert (tree / "b").is_symlink()
    assert (tree / "a").lstat().st_nlink == 2


def test_a_hardlink_to_itself_keeps_the_file(arena: Arena) -> None:
    tree = arena.unpack(tar(entry("a", b"x"), hardlink("a", "a")))
    assert (tree / "a").read_bytes() == b"x"


def test_devices_are_kept_as_data(arena: Arena) -> None:
    tree = arena.unpack(
        tar(entry("sda", kind=b"4", major=8, minor=0, mode=0o660, gid=6), entry("p", kind=b"6"))
    )
    status = (tree / "sda").lstat()
    assert stat.S_ISBLK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o660
    assert (os.major(status.st_rdev), os.minor(status.st_rdev), status.st_gid) == (8, 0, 6)
    assert stat.S_ISFIFO((tree / "p").lstat().st_mode)


# --- whiteouts --------------------------------------------------------------------------------


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def test_whiteouts(arena: Arena) -> None:
    tree = arena.unpack(tar(entry(".wh.a"), directory("d"), entry("d/.wh..b"), entry("d/.wh....")))
    assert is_whiteout(tree / "a")
    assert is_whiteout(tree / "d/.b")
    assert is_whiteout(tree / "d/...")


def test_opaque_keeps_what_the_layer_has_in_any_order(arena: Arena) -> None:
    tree = arena.unpack(tar(directory("d"), entry("d/a", b"1"), entry("d/.wh..wh..opq"), entry("d/b", b"2")))
    assert is_opaque(tree / "d")
    assert sorted(path.name for path in (tree / "d").iterdir()) == ["a", "b"]


def test_opaque_root(arena: Arena) -> None:
    assert is_opaque(arena.unpack(tar(entry(".wh..wh..opq"))))


@pytest.mark.parametrize("pieces", [
    (entry(".wh.d"), directory("d"), entry("d/x", b"x")),
    (directory("d"), entry("d/x", b"x"), entry(".wh.d")),
    (entry(".wh.d"), entry("d/x", b"x")),
])  # fmt: skip
def test_a_directory_that_is_hidden_and_made_anew_is_opaque(arena: Arena, pieces: tuple[bytes, ...]) -> None:
    tree = arena.unpack(tar(*pieces))
    assert is_opaque(tree / "d")
    assert (tree / "d/x").read_bytes() == b"x"


@pytest.mark.parametrize("pieces", [(entry(".wh.f"), entry("f", b"x")), (entry("f", b"x"), entry(".wh.f"))])
def test_a_file_wins_over_a_whiteout_of_its_name(arena: Arena, pieces: tuple[bytes, ...]) -> None:
    assert (arena.unpack(tar(*pieces)) / "f").read_bytes() == b"x"


def test_bookkeeping_of_aufs_is_ignored(arena: Arena) -> None:
    tree = arena.unpack(
        tar(directory(".wh..wh.plnk"), entry(".wh..wh.plnk/1.2", b"x"), entry(".wh..wh.aufs"), entry("a"))
    )
    assert [path.name for path in tree.iterdir()] == ["a"]


def test_twice_the_same_whiteout(arena: Arena) -> None:
    assert is_whiteout(arena.unpack(tar(entry(".wh.a"), entry(".wh.a"))) / "a")


# --- extended attributes ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [
    "trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy",
    "trusted.overlay.origin", "trusted.overlay.whiteout", "user.overlay.opaque",
    "user.overlay.redirect", "user.overlay.whiteout",
    "security.ima", "security.evm", "security.selinux", "security.apparmor", "system.posix_acl_access",
    "system.posix_acl_default", "trusted.md5sum", "user.", "unknown.x",
])  # fmt: skip
@pytest.mark.parametrize("piece", [entry("a", b"x"), directory("a")])
def test_xattrs_that_steer_the_host_are_dropped(arena: Arena, key: str, piece: bytes) -> None:
    tree = arena.unpack(tar(pax({f"SCHILY.xattr.{key}": b"y"}), piece))
    assert os.listxattr(tree / "a") == []
    assert any(key in warning for warning in arena.record.warnings)


def test_allowed_xattrs(arena: Arena) -> None:
    records = {"SCHILY.xattr.user.note": b"a=b\nc\0", "SCHILY.xattr.security.capability": CAPABILITY_V2}
    tree = arena.unpack(
        tar(pax(records), entry("a", b"x", uid=1000, mode=0o4755), pax(records), directory("d"))
    )
    assert os.getxattr(tree / "a", "user.note") == b"a=b\nc\0"
    assert os.getxattr(tree / "a", "security.capability") == CAPABILITY_V2
    assert os.getxattr(tree / "d", "user.note") == b"a=b\nc\0"
    assert stat.S_IMODE((tree / "a").stat().st_mode) == 0o4755


@pytest.mark.parametrize(
    "value", [b"", b"\x01\x00\x00\x01", CAPABILITY_V2[:-1], CAPABILITY_V2 + b"\0" * 8, b"x" * 20]
)
def test_malformed_capabilities_are_dropped(arena: Arena, value: bytes) -> None:
    tree = arena.unpack(tar(pax({"SCHILY.xattr.security.capability": value}), entry("a", b"x")))
    assert os.listxattr(tree / "a") == []


# --- bombs ------------------------------------------------------------------------------------


def test_too_many_entries(arena: Arena) -> None:
    with pytest.raises(Invalid, match="entries"):
        arena.unpack(tar(*[entry(f"f{number}") for number in range(50)]), limits=Limits(entries=49))


def test_too_many_bytes(arena: Arena) -> None:
    with pytest.raises(Invalid, match="bytes unpacked"):
        arena.unpack(gzip.compress(tar(entry("a", bytes(3 << 20)))), limits=Limits(unpacked_bytes=1 << 20))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_ratio(arena: Arena, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Invalid, match="bomb"):
        arena.unpack(
            pack(tar(entry("a", bytes(8 << 20)))), limits=Limits(ratio=100, ratio_free_bytes=1 << 20)
        )


def test_a_zstd_bomb_of_the_default_limits(arena: Arena) -> None:
    head = entry("a", size=200 << 20)
    packed = zstandard.ZstdCompressor(level=3).compress(head + bytes((200 << 20) + 1024))
    assert len(packed) < 50_000
    with pytest.raises(Invalid, match="1000 times"):
        arena.unpack(packed)


def test_a_window_that_would_take_all_memory(arena: Arena) -> None:
    # RFC 8878: magic, a header without content size, and a window descriptor of 2 TiB
    with pytest.raises(Invalid):
        arena.unpack(b"\x28\xb5\x2f\xfd" + b"\x00" + b"\xf8" + b"\x01\x00\x00" + bytes(100))


def test_a_wrong_diff_id(arena: Arena) -> None:
    data = tar(entry("a", b"x"))
    arena.unpack(data, expected_diff_id=craft.digest(data))
    with pytest.raises(Invalid, match="diff id"):
        arena.unpack(data + bytes(512), expected_diff_id=craft.digest(data))


def test_what_follows_the_end_is_hashed_and_not_unpacked(arena: Arena) -> None:
    data = tar(entry("a", b"x")) + entry("b", b"x") + END
    tree = arena.unpack(data, expected_diff_id=craft.digest(data))
    assert not (tree / "b").exists()


@pytest.mark.parametrize("position", range(0, 1536, 37))
def test_a_flipped_byte_never_escapes(arena: Arena, position: int) -> None:
    data = bytearray(tar(symlink("d", "/etc"), directory("e"), entry("e/f", b"x" * 300)))
    data[position] ^= 0x5A
    try:
        tree = arena.unpack(bytes(data))
    except SetpointError:
        return
    assert tree.is_dir()
