"""Capabilities by Docker's rules, and sysctls by an allow-list."""

from __future__ import annotations

import resource

import pytest

from runtime import security
from runtime.errors import Invalid


def test_the_default_is_dockers_fourteen() -> None:
    assert security.capability_mask(security.capabilities((), ())) == 0x00000000A80425FB


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), ("ALL",), ()),
        (("net_admin",), ("ALL",), ("CAP_NET_ADMIN",)),
        (("CAP_NET_ADMIN",), ("all",), ("CAP_NET_ADMIN",)),
        (("ALL",), (), security.CAPABILITIES),
        (("ALL",), ("ALL",), ()),
        (("ALL",), ("CHOWN",), tuple(name for name in security.CAPABILITIES if name != "CAP_CHOWN")),
    ],
)
def test_add_and_drop(add: tuple[str, ...], drop: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert security.capabilities(add, drop) == expected


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "expected"),
    [
        ((), (), False, False),
        (("NET_RAW",), (), False, False),
        (("net_admin",), (), False, True),
        (("ALL",), (), False, True),
        (("ALL",), ("NET_ADMIN",), False, False),
        (("NET_ADMINN",), (), False, False),
        ((), ("ALL",), True, True),
    ],
)
def test_who_may_change_interfaces(
    add: tuple[str, ...], drop: tuple[str, ...], privileged: bool, expected: bool
) -> None:
    assert security.may_route(add, drop, privileged) == expected


def test_adding_wins_over_dropping_the_same_one() -> None:
    assert "CAP_SYS_TIME" in security.capabilities(("SYS_TIME",), ("SYS_TIME",))


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(Invalid, match="no such capability"):
        security.capabilities(("NET_ADMINN",), ())


def test_what_the_host_cannot_give_is_refused_by_name_and_left_out_of_all() -> None:
    host = [name for name in security.CAPABILITIES if name != "CAP_SYS_RESOURCE"]
    assert "CAP_SYS_RESOURCE" not in security.capabilities(("ALL",), (), host=host)
    assert "CAP_SYS_RESOURCE" not in security.capabilities((), (), privileged=True, host=host)
    with pytest.raises(Invalid, match="cannot give"):
        security.capabilities(("SYS_RESOURCE",), (), host=host)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel.shmmax", "kernel/shmmax"),
        ("kernel.msgmax", "kernel/msgmax"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ("kernel.domainname", "kernel/domainname"),
    ],
)
def test_a_namespaces_own_sysctl_is_allowed(key: str, path: str) -> None:
    assert security.sysctl_path(key, own_network=True, own_ipc=True, own_uts=True) == path


@pytest.mark.parametrize(
    "key",
    [
        "kernel.core_pattern", "kernel/core_pattern", "kernel.core_pattern=|/bin/sh",
        "kernel.shmmax+kernel.core_pattern",
        "vm.swappiness", "kernel.modprobe", "kernel.panic", "fs.file-max", "kernel.shm_rmid_forced.x",
        "net", "net.", ".net.ipv4", "net..ipv4", "net.ipv4.../../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "../kernel/core_pattern", "", "kernel", "NET.ipv4.ip_forward", "net.ipv4.ip_forward\n",
        "net.ipv4.ip forward",
        "user.max_user_namespaces", "dev.cdrom.autoclose", "kernel.yama.ptrace_scope", "kernel.pid_max",
        "fs.mqueue", "abi.vsyscall32", "debug.exception-trace", "kernel.sysrq", "kernel.ns_last_pid",
    ],
)  # fmt: skip
def test_every_other_sysctl_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        security.sysctl_path(key, own_network=True, own_ipc=True, own_uts=True)


@pytest.mark.parametrize(
    "key", ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.hostname"]
)
def test_a_sysctl_of_a_shared_namespace_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match="namespace"):
        security.sysctl_path(key, own_network=False, own_ipc=False, own_uts=False)


def test_rlimits() -> None:
    assert security.rlimit_number("RLIMIT_NOFILE") == resource.RLIMIT_NOFILE
    assert security.rlimit_value((1 << 64) - 1) == resource.RLIM_INFINITY
    assert security.rlimit_value(1024) == 1024
    with pytest.raises(Invalid):
        security.rlimit_number("RLIMIT_BOGUS")
    with pytest.raises(Invalid):
        security.rlimit_number("error")
