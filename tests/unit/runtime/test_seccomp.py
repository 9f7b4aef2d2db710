"""The default filter: who gets which call, and the forms that profiles come in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runtime import seccomp, security
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.seccomp_default import default_profile

NEVER = (
    "io_uring_setup", "io_uring_enter", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load",
    "kexec_file_load", "move_pages", "migrate_pages", "nfsservctl", "uselib", "ustat", "sysfs", "vm86",
    "open_tree_attr", "file_setattr", "swapon", "swapoff", "pivot_root",
)  # fmt: skip


def allowed(profile: dict[str, Any]) -> set[str]:
    return {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }


def test_dangerous_calls_are_never_allowed() -> None:
    everything = default_profile(security.CAPABILITIES, "x86_64")
    assert allowed(everything).isdisjoint(NEVER)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "unshare"), ("CAP_SYS_ADMIN", "setns"),
        ("CAP_SYS_MODULE", "init_module"), ("CAP_SYS_BOOT", "reboot"), ("CAP_BPF", "bpf"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"), ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_PERFMON", "perf_event_open"), ("CAP_SYSLOG", "syslog"), ("CAP_SYS_NICE", "mbind"),
    ],
)  # fmt: skip
def test_a_capability_brings_its_calls(capability: str, name: str) -> None:
    assert name not in allowed(default_profile(security.DEFAULT_CAPABILITIES, "x86_64"))
    assert name in allowed(default_profile((capability,), "x86_64"))


def test_namespaces_need_sys_admin() -> None:
    rules = default_profile((), "x86_64")["syscalls"]
    clone = [rule for rule in rules if "clone" in rule["names"]]
    assert [rule["args"][0]["op"] for rule in clone] == ["SCMP_CMP_MASKED_EQ"]
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in rules
    assert "clone3" in allowed(default_profile(("CAP_SYS_ADMIN",), "x86_64"))


def test_compiling_twice_meets_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyseccomp")
    profile = default_profile((), "x86_64")
    path = seccomp.compiled_file(profile, tmp_path)
    assert path.stat().st_size % 8 == 0 and path.stat().st_size > 400
    monkeypatch.setattr(seccomp, "compile_profile", lambda _: pytest.fail("compiled again"))
    assert seccomp.compiled_file(profile, tmp_path) == path
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_profile_in_dockers_form(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ERRNO",
                "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
                "syscalls": [
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
                ],
            }
        )
    )
    old = seccomp.profile_for(str(path), (), "aarch64", "4.4.0")
    new = seccomp.profile_for(str(path), ("CAP_SYS_ADMIN",), "x86_64", "6.1.0-debian")
    assert old is not None and new is not None
    assert allowed(dict(old)) == {"read", "clone"}
    assert allowed(dict(new)) == {"read", "mount", "ptrace", "arch_prctl"}
    assert "archMap" not in new


@pytest.mark.parametrize("content", ["", "[]", "{", '{"syscalls": []}'])
def test_a_broken_profile_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(Invalid):
        seccomp.profile_for(str(path), ())


def test_a_missing_profile_is_refused() -> None:
    with pytest.raises(NotFound):
        seccomp.profile_for("/nonexistent/profile.json", ())


@pytest.mark.parametrize("kind", ["fifo", "endless", "long"])
def test_a_profile_that_never_ends_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "profile.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "long":
        path.write_text(" " * (seccomp.MAX_PROFILE_BYTES + 1))
    else:
        path = Path("/dev/zero")
    with pytest.raises(Invalid, match=r"not a regular file|larger than"):
        seccomp.profile_for(str(path), ())


def test_unconfined_is_none() -> None:
    assert seccomp.profile_for("unconfined", ()) is None


def test_an_action_that_cannot_be_done_is_refused() -> None:
    pytest.importorskip("pyseccomp")
    with pytest.raises(Unsupported):
        seccomp.compile_profile({"defaultAction": "SCMP_ACT_NOTIFY", "syscalls": []})
