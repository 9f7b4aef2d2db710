"""spec and features: what a bundle looks like, and what this runtime can do. Pure values."""

from __future__ import annotations

from typing import Any

from runtime import devices, mounts, security
from runtime.bundle import VERSION

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def example_config() -> dict[str, Any]:
    """A config that starts a shell in the bundle's `rootfs`, safe by default."""
    caps = list(security.DEFAULT_CAPABILITIES)
    namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "setpoint",
        "mounts": _mounts(),
        "linux": {
            "resources": {
                "devices": devices.rules_to_oci([devices.Rule(False), *devices.DEFAULT_RULES]),
                "pids": {"limit": 2048},
            },
            "namespaces": namespaces,
            "maskedPaths": list(security.MASKED_PATHS),
            "readonlyPaths": list(security.READ_ONLY_PATHS),
        },
    }


def _mounts() -> list[dict[str, Any]]:
    rows = (
        ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),  # noqa: S108
        ("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        ("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
    )
    return [
        {"destination": target, "type": kind, "source": kind, "options": options}
        for target, kind, options in rows
    ]


def features(seccomp: bool, apparmor: bool) -> dict[str, Any]:
    """The object of features.md. seccomp, apparmor: whether this host has them."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": list(HOOKS),
        "mountOptions": mounts.option_names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": list(security.CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": seccomp,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
            },
            "apparmor": {"enabled": apparmor},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
        },
    }  # fmt: skip
