"""R38: a kernel that lacks what Setpoint needs. The doctor names it, and a container that cannot have what
keeps it in does not start with less.

Nothing is pretended to the program: calls are taken away by a seccomp filter, file systems in a mount
namespace.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import seccomp, security, syscalls
from runtime.errors import SetpointError
from runtime.seccomp_default import default_profile
from tests.conftest import REPOSITORY
from tests.kernel.runtime.conftest import Box

pytest.importorskip("pyseccomp")

# argv: what a shell does to the mounts first, the calls that are taken away, the program.
WITHOUT = """
import errno, os, subprocess, sys
from runtime import seccomp, syscalls
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["sh", "-ec", sys.argv[1]], check=True)
if names := sys.argv[2].split():
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    rules = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.seccomp_set_filter(seccomp.compile_profile(rules))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
EMPTY_OVER = "mount -t tmpfs none {}"
NO_MODULES = (
    f"{EMPTY_OVER.format('/srv')}; mkdir /srv/upper /srv/work; lib=$(readlink -f /lib); "
    "mount -t overlay -o lowerdir=$lib,upperdir=/srv/upper,workdir=/srv/work none $lib; "
    "rm -rf $lib/modules; mkdir -p $lib/modules/$(uname -r)"
)
LESS = {  # what is gone: (mounts, calls, who says so, what it is)
    "openat2": ("", "openat2", "openat2", "missing"),
    "pidfd_open": ("", "pidfd_open", "pidfd_open", "missing"),
    "open_tree": ("", "open_tree", "open_tree", "missing"),
    "mount_setattr": ("", "mount_setattr", "mount_setattr (idmapped mounts)", "missing"),
    "landlock": ("", "landlock_create_ruleset", "landlock", "warn"),
    "cgroups": ("umount -a -t cgroup,cgroup2", "", "cgroups", "missing"),
    "overlay": (
        f"{NO_MODULES}; echo ext4 >/srv/x; mount --bind /srv/x /proc/filesystems",
        "", "overlayfs", "missing",
    ),
    "bridge": (f"{NO_MODULES}; {EMPTY_OVER.format('/sys/module')}", "", "bridge", "missing"),
    "veth": (f"{NO_MODULES}; {EMPTY_OVER.format('/sys/module')}", "", "veth", "missing"),
    "seccomp": (
        "mount --bind /dev/null /proc/sys/kernel/seccomp/actions_avail", "", "seccomp", "missing",
    ),
    "user namespaces": (
        f"{EMPTY_OVER.format('/srv')}; echo 0 >/srv/x; "
        "mount --bind /srv/x /proc/sys/user/max_user_namespaces",
        "", "user namespaces", "warn",
    ),
    "a disk for overlays": (
        f"{EMPTY_OVER.format('/srv')}; mkdir /srv/a /srv/b; "
        "mount -t overlay -o lowerdir=/srv/a:/srv/b none /var/lib",
        "", "data directory", "missing",
    ),
}  # fmt: skip


def doctor(mounts: str = "", calls: str = "") -> tuple[int, dict[str, str]]:
    """Its exit code, and the state of each thing, on a host without these."""
    program = ["-I", "-m", "agent.cli", "--instance", "t-lacking", "doctor", "-o", "json"]
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", WITHOUT, mounts, calls, *program],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}


@pytest.mark.parametrize("what", LESS)
def test_r38_the_doctor_names_what_is_missing(what: str) -> None:
    mounts, calls, name, state = LESS[what]
    code, found = doctor(mounts, calls)
    assert found[name] == state
    assert code == 1 or state == "warn"


def test_r38_the_doctor_misses_nothing_where_nothing_was_taken_away() -> None:
    code, found = doctor()
    assert code == 0
    assert {found[name] for _, _, name, _ in LESS.values()} <= {"ok", "unknown"}  # without a list of modules


def under_filter(box: Box, calls: str, work: Callable[[], int]) -> int:
    """What `work` gave in a child from which these calls were taken away."""
    rule = {"names": calls.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    program = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.seccomp_set_filter(program)
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


KEPT_IN_BY = {  # what is gone -> what would be weaker without
    "seccomp": "no filter of calls",
    "openat2": "paths by name, which the image may bend",
    "capset": "all capabilities of the host's root",
    "pivot_root": "the host's root below its own",
    "unshare": "namespaces of the host's",
    "keyctl": "keys of the host's",
}


@pytest.mark.parametrize("call", KEPT_IN_BY)
def test_r38_a_container_that_cannot_be_kept_in_does_not_run(box: Box, tmp_path: Path, call: str) -> None:
    program = seccomp.compile_profile(default_profile(security.DEFAULT_CAPABILITIES, platform.machine()))
    marks = tmp_path / "marks"
    marks.mkdir()
    box.config["mounts"].append(
        {"destination": "/marks", "type": "bind", "source": str(marks), "options": ["bind", "rw"]}
    )

    def start() -> int:
        try:
            return box.run("touch", "/marks/it-ran", seccomp=program).status
        except (OSError, SetpointError):
            return 125

    assert under_filter(box, call, start) == 125
    assert not list(marks.iterdir())
    assert under_filter(box, "uselib", start) == 0
    assert list(marks.iterdir())
