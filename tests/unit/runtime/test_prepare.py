"""A config that cannot work, or that asks for what is not done, is refused before anything is forked."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.oci import describe
from runtime.supervisor.prepare import prepare


def config(**changes: Any) -> dict[str, Any]:
    """The example config, with dotted names changed ("process.cwd")."""
    found = describe.example_config()
    for name, value in changes.items():
        *path, last = name.split("__")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def test_the_example_is_accepted() -> None:
    plan = prepare(config(), "/bundle", None)
    assert plan.root == "/bundle/rootfs"
    assert plan.process.arguments == ("sh",)
    assert plan.process.inheritable == plan.process.ambient == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"process__args": []},
        {"process__args": [""]},
        {"process__args": ["a\0b"]},
        {"process__env": ["A=b\0c"]},
        {"process__cwd": "relative"},
        {"process__user": {"uid": -1, "gid": 0}},
        {"process__user": {"uid": 1 << 32, "gid": 0}},
        {"process__user": {"uid": 0, "gid": "0"}},
        {"process__capabilities": {"bounding": ["CAP_BOGUS"]}},
        {"process__rlimits": [{"type": "RLIMIT_BOGUS", "soft": 1, "hard": 1}]},
        {"linux__namespaces": [{"type": "pid"}]},
        {"linux__namespaces": [{"type": "mount"}, {"type": "mount"}]},
        {"linux__namespaces": [{"type": "mount"}, {"type": "bogus"}]},
        {"linux__namespaces": [{"type": "mount"}]},  # a hostname without a uts namespace
        {"linux__namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "user"}]},
        {"linux__cgroupsPath": "/a/../b"},
        {"linux__sysctl": {"kernel.core_pattern": "|/x"}},
        {"linux__seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},  # not compiled: never run without
        {"linux__devices": [{"path": "dev/x", "type": "c"}]},
        {"linux__devices": [{"path": "/dev/x", "type": "z"}]},
        {"mounts": [{"destination": "/../x", "type": "tmpfs"}]},
        {"annotations__setpoint.seccomp": "/nonexistent.bpf"},
    ],
)
def test_what_cannot_work_is_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        prepare(config(**changes), "/bundle", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"linux__intelRdt": {"closID": "x"}},
        {"linux__personality": {"domain": "LINUX32"}},
        {"linux__mountLabel": "x"},
        {"process__selinuxLabel": "x"},
        {"process__scheduler": {"policy": "SCHED_FIFO"}},
        {"process__apparmorProfile": "no profile\nhas such a name"},
        {"linux__namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "time"}]},
        {"linux__namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]},
    ],
)
def test_nothing_is_silently_left_out(changes: dict[str, Any]) -> None:
    with pytest.raises((Unsupported, Invalid)):
        prepare(config(**changes), "/bundle", None)


def test_a_user_by_name_counts_only_in_a_config_of_ours() -> None:
    user = {"uid": 5, "gid": 6, "username": "root"}
    foreign = prepare(config(process__user=user), "/bundle", None)
    assert foreign.process.lookup is None and foreign.process.uid == 5
    ours = config(process__user=user)
    ours["annotations"] = {"setpoint.groups": '["video"]'}
    assert prepare(ours, "/bundle", None).process.lookup == ("root", ("video",))


def test_environment_entries_without_a_name_or_value_are_dropped() -> None:
    plan = prepare(config(process__env=["A=1", "FOO", "=x", "", "B="]), "/bundle", None)
    assert plan.process.environment == {"A": "1", "B": ""}


def test_errors_are_ours() -> None:
    with pytest.raises(SetpointError) as caught:
        prepare(config(process__args=[]), "/bundle", None)
    assert caught.value.op == "start"
    assert caught.value.hint
