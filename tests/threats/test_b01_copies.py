"""B1, B2: `docker cp` out of a container and into it, while the container changes names: CVE-2018-15664,
CVE-2019-10152, CVE-2026-41568 and their kin, where a path was resolved and then used; CVE-2021-32760, where a
mode was set through a link. The process that does it can reach nothing of the host."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.copies import putting
from runtime.copies.giving import give
from runtime.copies.outlet import Outlet
from runtime.copies.places import place_of, stat_of
from runtime.copies.running import open_running
from runtime.copies.taking import Taking
from runtime.engine import NativeEngine
from runtime.errors import NotFound, SetpointError, Temporary
from runtime.images.limits import Limits
from runtime.images.streams import ByteStream
from runtime.images.tarheaders import read_entries
from runtime.supervisor import records
from tests.kernel.engine.test_container_copies import in_pieces, packed
from tests.native import run, shell, until
from tests.threats.attack import exchanging, rounds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A container's root; `d/sub` and `d/link`, which leads to the host's directory, change places."""
    made = tmp_path / "root"
    (made / "d/sub").mkdir(parents=True)
    (made / "d/sub/marker").write_text("mine")
    (made / "d/link").symlink_to(tmp_path / "canary")
    return made


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def given(root: Path, path: str) -> bytes:
    with tempfile.TemporaryFile() as data, opened(root) as descriptor:
        give(descriptor, path, Outlet(data.fileno()), "web")
        data.seek(0)
        return data.read()


def take(root: Path, where: str, data: bytes, limits: Limits = putting.LIMITS) -> None:
    with opened(root) as descriptor, place_of(descriptor, where) as dest:
        path = os.fsencode(where.strip("/"))
        taking = Taking(descriptor, dest.descriptor, path, "web", limits)
        try:
            stream = ByteStream(iter([data]))
            for entry in read_entries(stream, "web", limits):
                taking.add(entry, stream.take(entry.size))
            taking.end()
        finally:
            taking.close()


def test_b1_out_while_names_change(root: Path, canary: Path) -> None:
    """Below the name that becomes a link there is the same on the host."""
    (canary / "marker").chmod(0o644)
    with exchanging(root / "d", "sub", "link"):
        for _ in range(rounds(300)):
            for path in ("/d", "/d/sub", "/d/sub/", "/d/sub/marker"):
                with contextlib.suppress(NotFound):
                    assert b"untouched" not in given(root, path)
                with contextlib.suppress(NotFound), opened(root) as descriptor:
                    stat_of(descriptor, path)


@pytest.mark.parametrize("path", ["/d/link/marker", "/d/link/", "/../../{}/marker", "/d/up/marker"])
def test_b1_no_path_leads_out(root: Path, canary: Path, path: str) -> None:
    (root / "d/up").symlink_to("../../../../../.." + os.fspath(canary))
    with pytest.raises(NotFound):
        given(root, path.format(canary))


@pytest.mark.parametrize("where", ["/", "/d", "/d/sub"])
def test_b1_in_while_names_change(root: Path, canary: Path, where: str) -> None:
    prefix = {"/": "d/sub/", "/d": "sub/"}.get(where, "")
    entries = packed(
        (f"{prefix}file", b"x"), (f"{prefix}marker", b"changed"), (f"{prefix}dir", None),
        (f"{prefix}l", "dir"), (f"{prefix}pipe", {"type": tarfile.FIFOTYPE}), uid=12, mode=0o777,
    )  # fmt: skip
    before = canary.stat()
    with exchanging(root / "d", "sub", "link"):
        for _ in range(rounds(300)):
            with contextlib.suppress(SetpointError):
                take(root, where, entries)
    assert (canary.stat().st_mode, canary.stat().st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_b2_owner_and_mode_through_a_link(root: Path, canary: Path, kind: bytes) -> None:
    """What is made changes places with a link to a file, or a directory, of the host."""
    target = canary if kind == tarfile.DIRTYPE else canary / "marker"
    before, link = target.stat(), root / "d/other"
    what = {"type": kind, "mode": 0o777, "uid": 12, "linkname": "x" if kind == tarfile.SYMTYPE else ""}
    archive = packed(("d/made", what))
    with exchanging(root / "d", "made", "other"):
        for _ in range(rounds(3000)):
            for lay in (link.rmdir, link.unlink, lambda: link.symlink_to(target)):
                with contextlib.suppress(OSError):  # they changed places meanwhile
                    lay()
            with contextlib.suppress(SetpointError, OSError):
                take(root, "/", archive)
    after = target.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid) == (stat.S_IMODE(before.st_mode), before.st_uid)


def test_b5_the_disk_keeps_some_room(root: Path) -> None:
    limits = replace(putting.LIMITS, free_bytes=1 << 60)
    with pytest.raises(Temporary, match="no room"):
        take(root, "/d", packed(("large", b"x" * (40 << 20))), limits)


def test_a19_another_process_with_the_number() -> None:
    started = records.start_time(os.getpid())
    assert started is not None
    open_running((os.getpid(), started)).close()
    with pytest.raises(ProcessLookupError):
        open_running((os.getpid(), started + 1))


CONFINED = """
import os, sys
from runtime import syscalls
from runtime.copies import worker
root = os.open(sys.argv[1], os.O_PATH | os.O_DIRECTORY)
worker.confine(worker.reach_of({"verb": "get"}, [root]), worker.READS)
os.close(os.open("inside", os.O_RDONLY, dir_fd=root))
try:
    os.open("inside", os.O_WRONLY, dir_fd=root)
except PermissionError:
    print("refused")
for path, flags in (("/etc/passwd", os.O_RDONLY), (sys.argv[2], os.O_WRONLY), ("/", os.O_RDONLY)):
    try:
        os.open(path, flags)
    except PermissionError:
        print("refused")
for act in (lambda: os.chown("inside", 1, 1, dir_fd=root), lambda: os.mknod("n", 0o20600, 259, dir_fd=root)):
    try:
        act()
    except PermissionError:
        print("refused")
print(syscalls.capget().effective == sum(1 << each for each in worker.READS))
"""


def test_b1_the_worker_reaches_nothing_else(root: Path, canary: Path) -> None:
    (root / "inside").write_text("x")
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, root, canary / "marker"], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["refused"] * 6 + ["True"]


COMMITTING = """
import os, sys
from runtime import syscalls
from runtime.copies import worker
upper, store, canary = sys.argv[1:]
worker.confine(worker.reach_of({"verb": "commit", "upper": upper, "store": store}, []), worker.COMMITS)
os.close(os.open(f"{upper}/inside", os.O_RDONLY))
os.mkdir(f"{store}/stage")
os.close(os.open(f"{store}/stage/blob", os.O_WRONLY | os.O_CREAT))
os.rename(f"{store}/stage/blob", f"{store}/blob")
os.setxattr(f"{store}/stage", "trusted.overlay.opaque", b"y")
acts = (
    lambda: os.open(f"{upper}/inside", os.O_WRONLY), lambda: os.unlink(f"{upper}/inside"),
    lambda: os.open("/etc/passwd", os.O_RDONLY), lambda: os.open(canary, os.O_WRONLY),
    lambda: os.rename(f"{store}/blob", f"{upper}/blob"), lambda: syscalls.mount(None, "/", None, 1 << 18),
)
for act in acts:
    try:
        act()
    except OSError:
        print("refused")
print(syscalls.capget().effective == sum(1 << each for each in worker.COMMITS))
"""


def test_b1_who_makes_an_image_reaches_nothing_else(root: Path, canary: Path) -> None:
    """What a container wrote is read, and the image store written to."""
    upper, store = root / "upper", root / "store"
    upper.mkdir()
    store.mkdir()
    (upper / "inside").write_text("x")
    done = subprocess.run(
        [sys.executable, "-c", COMMITTING, upper, store, canary / "marker"], capture_output=True, text=True,
        check=True, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["refused"] * 6 + ["True"]
    assert (upper / "inside").read_text() == "x"


# --- a container that runs ------------------------------------------------------------------------

JAIL = (
    "mkdir -p /jail/bin; cp /bin/busybox /jail/bin/; touch /ready; exec chroot /jail /bin/busybox sleep 1000"
)


async def test_b1_a_running_container_that_changes_names(engine: NativeEngine, canary: Path) -> None:
    config = shell(engine, "racer", f"mkdir -p /d/sub; ln -s {canary} /d/link; touch /ready; exec sleep 1000")
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/ready").exists)
    state = engine.state(config.id)
    assert state is not None
    archive = packed(("sub/file", b"x"), ("sub/pipe", {"type": tarfile.FIFOTYPE, "mode": 0o777}))
    with exchanging(Path(f"/proc/{state.pid}/root/d"), "sub", "link"):
        for _ in range(rounds(15)):
            with contextlib.suppress(SetpointError):
                await engine.copies.put(config.id, "/d", in_pieces(archive))
            with contextlib.suppress(SetpointError):
                async with engine.copies.get(config.id, "/d/sub/") as (_, given):
                    assert b"untouched" not in b"".join([piece async for piece in given.pieces()])


async def test_b1_links_of_proc_and_a_root_of_its_own(engine: NativeEngine, canary: Path) -> None:
    """The first process has changed its root: what is copied are the container's files all the same."""
    config = shell(engine, "jailed", JAIL)
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/ready").exists)
    assert stat.S_ISREG((await engine.copies.stat(config.id, "/etc/passwd")).mode)
    for path in (f"/proc/1/root{canary}", f"/proc/self/root{canary}", "/proc/self/fd/0", "/proc/self/cwd"):
        with pytest.raises(SetpointError):
            await engine.copies.stat(config.id, path)
        with pytest.raises(SetpointError):
            await engine.copies.put(config.id, path, in_pieces(packed(("x", b""))))
