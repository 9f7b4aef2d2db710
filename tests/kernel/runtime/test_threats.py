"""Images and configs that try to get out. Each test is named for its class in the list of known attacks.

A canary stands for the host: a directory outside of the root that must be as it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.errors import SetpointError
from tests.kernel.runtime.conftest import Box, Run, mount

RACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
while True:
    libc.renameat2(-100, b"target", -100, b"link", 2)
"""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host; fails the test when anything in it has changed."""
    place = tmp_path / "canary"
    place.mkdir()
    (place / "marker").write_text("untouched")
    before = place.stat().st_mtime_ns
    yield place
    assert [entry.name for entry in place.iterdir()] == ["marker"]
    assert (place / "marker").read_text() == "untouched"
    assert place.stat().st_mtime_ns == before


def attempt(box: Box, *argv: str) -> Run:
    """Run what may be refused, before or in the child."""
    try:
        return box.run(*(argv or ("true",)))
    except SetpointError as error:
        return Run(
            125, str(error), [{"error": {"op": error.op, "subject": error.subject, "reason": error.reason}}]
        )


def replace_directory(box: Box, name: str, link: str) -> None:
    """Make a directory of the base image a link in the layer above it."""
    (box.layer / name).symlink_to(link)


@pytest.mark.parametrize(
    "cwd",
    [*(f"/proc/self/fd/{number}" for number in (3, 4, 5, 6, 7, 8, 9, 10, 12, 20)), "/proc/1/cwd",
     "/proc/thread-self/root", "/proc/self/cwd", "/proc/self/exe", "/proc/1/root/../.."],
)  # fmt: skip
def test_a2_a_leaked_descriptor_is_no_working_directory(box: Box, cwd: str) -> None:
    box.config["process"]["cwd"] = cwd
    found = attempt(box, "pwd")
    assert found.status == 125, found
    assert "enter directory" in found.error


def test_a2_a_working_directory_by_a_link_of_the_image(box: Box) -> None:
    (box.layer / "work").symlink_to("/proc/self/fd/8")
    box.config["process"]["cwd"] = "/work"
    assert "enter directory" in attempt(box, "pwd").error


def test_a3_masks_do_not_come_from_the_image(box: Box) -> None:
    """CVE-2025-31133: /dev/null of the image is a link to what the attacker wants bound."""
    (box.layer / "dev").mkdir()
    (box.layer / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    found = box.run(
        "sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; echo x > /proc/keys; stat -c %t:%T /proc/keys"
    )
    assert found.output.split() == ["0", "1:3"]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_a4_the_console_is_a_pty_of_the_own_devpts(box: Box, canary: Path) -> None:
    """CVE-2025-52565: links where the console and its pty are expected."""
    (box.layer / "dev").mkdir()
    (box.layer / "dev/console").symlink_to(f"../../../..{canary}/marker")
    (box.layer / "dev/pts").symlink_to(str(canary))
    box.config["process"]["terminal"] = True
    box.config["mounts"] = [each for each in box.config["mounts"] if each["destination"] != "/dev"]
    found = attempt(box, "tty")
    assert found.status != 0 or "136" in box.run("stat", "-c", "%t", "/dev/console").output


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_a5_a6_a_link_in_place_of_a_system_directory_is_refused(box: Box, canary: Path, name: str) -> None:
    """CVE-2026-41579 and kin: what is written below these must not land elsewhere."""
    replace_directory(box, name, "/srv")
    found = attempt(box)
    assert found.status == 125 and f"/{name}" in found.error, found


def test_a6_dev_to_a_place_outside(box: Box, canary: Path) -> None:
    replace_directory(box, "dev", f"../../../../../../../..{canary}")
    assert attempt(box).status == 125


@pytest.mark.parametrize(
    "target", ["/proc/self/attr", "/proc/self/fd", "/proc/sys/kernel", "/proc/1", "/proc/self/../self"]
)
def test_a5_a_mount_inside_procfs_is_refused(box: Box, target: str) -> None:
    box.config["mounts"].append(mount(target, "tmpfs"))
    found = attempt(box)
    assert found.status == 125, found


def test_a5_a_mount_inside_procfs_by_a_link(box: Box) -> None:
    """It may land below what becomes /proc, never in it: procfs comes on top."""
    (box.layer / "link").symlink_to("/proc/self/task")
    box.config["mounts"].append(mount("/link", "tmpfs"))
    found = attempt(box, "ls", "/proc/self/task")
    assert found.status == 125 or found.output.split() == ["1"]


def test_a7_a_target_exchanged_with_a_link_while_it_is_mounted(
    box: Box, canary: Path, tmp_path: Path
) -> None:
    """CVE-2021-30465: another container swaps a directory of a shared volume for a link."""
    shared = tmp_path / "shared"
    (shared / "target").mkdir(parents=True)
    (shared / "link").symlink_to(f"../../../../../../../../..{canary}")
    box.config["mounts"] += [
        mount("/shared", "bind", "rbind", source=str(shared)),
        mount("/shared/target", "tmpfs", "size=4096"),
        mount("/shared/target/made/deep", "tmpfs", "size=4096"),
    ]
    racer = subprocess.Popen([sys.executable, "-c", RACE, str(shared)])
    try:
        for _ in range(60):
            attempt(box)
    finally:
        racer.kill()
        racer.wait()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("kind", ["cwd", "mount", "tmpfs", "file"])
@pytest.mark.parametrize("up", ["", "../../../../../../../../../.."])
def test_a8_nothing_is_made_on_the_host(box: Box, canary: Path, kind: str, up: str) -> None:
    """CVE-2024-45310: the place of a mount or a working directory is made where a link leads."""
    (box.layer / "link").symlink_to(f"{up}{canary}/new")
    source = str(canary / "marker") if kind == "file" else str(canary)
    if kind == "cwd":
        box.config["process"]["cwd"] = "/link/deep"
    elif kind == "tmpfs":
        box.config["mounts"].append(mount("/link/deep", "tmpfs"))
    else:
        box.config["mounts"].append(mount("/link/deep", "bind", "rbind", "ro", source=source))
    attempt(box)


def test_a1_the_interpreter_is_not_to_be_had(box: Box) -> None:
    """CVE-2019-5736: an entrypoint that is, or names, the program that starts it."""
    script = box.layer / "start"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    (box.layer / "exe").symlink_to("/proc/self/exe")
    for argv in ("/start", "/exe", "/proc/self/exe"):
        found = box.run(argv)
        assert found.status == 126 and "symbolic links" in found.error, found


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


@pytest.mark.parametrize("user", ["", "web"])
def test_a12_no_capability_is_inherited(box: Box, user: str) -> None:
    box.config["process"]["user"]["username"] = user
    launched = box.start("sleep", "1000")
    inside = box.exec(launched, "grep", "Cap", "/proc/self/status").output
    first = Path(f"/proc/{launched.pid}/status").read_text()
    for text in (inside, first):
        sets = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
        assert sets["CapInh"] == sets["CapAmb"] == "0" * 16
        assert sets["CapBnd"] == "00000000a80425fb"
        assert sets["CapEff"] == sets["CapPrm"] == ("0" * 16 if user else "00000000a80425fb")


def test_a9_nobody_inside_can_look_into_a_joining_process(box: Box) -> None:
    """The child is non-dumpable from its first instruction: its files belong to nobody inside."""
    launched = box.start(
        "sh",
        "-c",
        "while :; do for p in /proc/[0-9]*; do ls -l $p/exe $p/fd; done; done >/tmp/seen 2>/dev/null",
    )
    for _ in range(25):
        assert box.exec(launched, "true").status == 0
    seen = (box.place / "upper/tmp/seen").read_text()
    assert "busybox" in seen
    assert "python" not in seen and str(box.place) not in seen


@pytest.mark.parametrize("key", ["kernel.core_pattern", "net/../kernel/core_pattern", "vm.swappiness"])
def test_a17_sysctls_of_the_host_are_refused(box: Box, key: str) -> None:
    box.config["linux"]["sysctl"] = {key: "1"}
    assert "set sysctl" in attempt(box).error


def test_e4_a_session_keyring_of_its_own(box: Box) -> None:
    def keyring() -> str:
        return next(line for line in Path("/proc/keys").read_text().splitlines() if "_ses" in line)

    with suppress(StopIteration):
        keyring()
    launched = box.start("sleep", "1000")
    assert box.exec(launched, "cat", "/proc/keys").output == ""


def test_e2_no_new_namespaces_or_mounts_inside(box: Box) -> None:
    found = box.run("sh", "-c", "mount -t tmpfs x /tmp; unshare -U true; unshare -m true; echo end")
    assert found.output.count("denied") + found.output.count("not permitted") >= 2


def test_no_new_privileges(box: Box) -> None:
    box.config["process"]["noNewPrivileges"] = True
    assert "NoNewPrivs:\t1" in box.run("cat", "/proc/self/status").output
