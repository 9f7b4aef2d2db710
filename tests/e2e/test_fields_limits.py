"""Fields that bound a container and that say what it may do: cgroups, capabilities, filters, namespaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.project import BASE, Project, has_capability, has_v1
from tests.e2e.story import Story, eventually

MIB = 1024 * 1024
SYS_RESOURCE = 24
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
}
COMPOSE = (
    BASE
    + """
services:
  plain: {<<: *base}
  cpu: {<<: *base, cpus: 0.5, cpu_period: 50000, cpu_shares: 512, cpuset: "0"}
  memory: {<<: *base, mem_limit: 64m, mem_reservation: 16mb, pids_limit: 30}
  no-swap: {<<: *base, mem_limit: 64m, memswap_limit: 64m}
  any-swap: {<<: *base, mem_limit: 64m, memswap_limit: -1}
  deploy:
    <<: *base
    deploy:
      replicas: 1
      resources:
        limits: {cpus: "0.25", memory: 48M, pids: 50}
        reservations: {memory: 32M}
  disk: {<<: *base, blkio_config: {weight: 300, device_read_bps: [{path: DISK, rate: 1mb}]}, cpuset_mems: "0"}
  by-number: {<<: *base, device_cgroup_rules: ["c 10:229 rw"], cgroup: host}
  hidden: {<<: *base, hidden_paths: [/proc/uptime], readonly_paths: []}
  unlimited: {<<: *base, pids_limit: -1}
  hungry: {<<: *base, mem_limit: 16m, command: [dd, if=/dev/zero, of=/dev/null, bs=100M, count=1]}
  caps: {<<: *base, cap_drop: [ALL], cap_add: [net_bind_service, CAP_CHOWN]}
  admin: {<<: *base, cap_add: [NET_ADMIN]}
  fewer: {<<: *base, cap_drop: [MKNOD, net_raw]}
  all: {<<: *base, cap_add: [ALL], cap_drop: [SYS_TIME]}
  user: {<<: *base, user: "1000", cap_add: [NET_ADMIN]}
  too-much: {<<: *base, cap_add: [SYS_RESOURCE]}
  privileged: {<<: *base, privileged: true}
  nnp: {<<: *base, security_opt: ["no-new-privileges:true"]}
  open: {<<: *base, security_opt: ["seccomp=unconfined", "systempaths=unconfined"]}
  profile: {<<: *base, security_opt: ["seccomp=./no-mkdir.json"]}
  armoured: {<<: *base, security_opt: ["apparmor=some-profile"]}
  pid-host: {<<: *base, pid: host}
  pid-of: {<<: *base, pid: "service:plain"}
  ipc-host: {<<: *base, ipc: host}
  ipc-none: {<<: *base, ipc: none}
  ipc-shareable: {<<: *base, ipc: shareable}
  ipc-of: {<<: *base, ipc: "service:ipc-shareable"}
  ipc-by-name: {<<: *base, ipc: "container:limits-ipc-shareable-1"}
  uts-host: {<<: *base, uts: host}
"""
)


def has_apparmor() -> bool:
    path = Path("/sys/module/apparmor/parameters/enabled")
    return path.exists() and path.read_text().startswith("Y")


@pytest.fixture(scope="module")
def project(shared_story: Story) -> Iterator[Project]:
    found = Project(shared_story, "limits")
    found.apply(
        COMPOSE.replace("DISK", disk()),
        {"no-mkdir.json": json.dumps(NO_MKDIR)},
        unready=("hungry", "too-much", "armoured"),
    )
    yield found


def disk() -> str:
    """A whole disk of this machine."""
    for path in sorted(Path("/sys/block").iterdir()):
        if int((path / "size").read_text()) and Path("/dev", path.name).is_block_device():
            return f"/dev/{path.name}"
    pytest.skip("no disk here")


def limit(project: Project, name: str, controller: str, v1_file: str, v2_file: str) -> int:
    """A limit's number; -1 for none, in whichever way the kernel says that."""
    text = project.cgroup(name, controller, v1_file, v2_file).split()[0]
    return -1 if text == "max" or int(text) >= 1 << 62 else int(text)


def memory(project: Project, name: str) -> int:
    return limit(project, name, "memory", "memory.limit_in_bytes", "memory.max")


def swap(project: Project, name: str) -> int:
    """Memory and swap together."""
    if has_v1("memory"):
        return limit(project, name, "memory", "memory.memsw.limit_in_bytes", "")
    only = limit(project, name, "memory", "", "memory.swap.max")
    return -1 if only < 0 else only + memory(project, name)


def pids(project: Project, name: str) -> int:
    return limit(project, name, "pids", "pids.max", "pids.max")


def cpus(project: Project, name: str) -> float:
    if not has_v1("cpu"):
        quota, period = project.cgroup(name, "cpu", "", "cpu.max").split()
        return int(quota) / int(period)
    quota = project.cgroup(name, "cpu", "cpu.cfs_quota_us", "")
    return int(quota) / int(project.cgroup(name, "cpu", "cpu.cfs_period_us", ""))


# --- limits -------------------------------------------------------------------------------------


def test_cpu(project: Project) -> None:
    assert cpus(project, "cpu") == 0.5
    period = project.cgroup("cpu", "cpu", "cpu.cfs_period_us", "cpu.max").split()[-1]
    assert period == "50000"
    shares = project.cgroup("cpu", "cpu", "cpu.shares", "cpu.weight")
    assert shares == ("512" if has_v1("cpu") else "20")
    assert project.process_status("cpu")["Cpus_allowed_list"] == "0"
    assert project.cgroup("cpu", "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"


def test_memory_and_swap(project: Project) -> None:
    assert memory(project, "memory") == 64 * MIB
    assert limit(project, "memory", "memory", "memory.soft_limit_in_bytes", "memory.low") == 16 * MIB
    assert swap(project, "memory") == 128 * MIB  # as much again, as in Docker
    assert swap(project, "no-swap") == 64 * MIB
    assert swap(project, "any-swap") == -1
    assert memory(project, "plain") == -1


def test_a_container_sees_its_own_limits(project: Project) -> None:
    files = "memory/memory.limit_in_bytes pids/pids.max" if has_v1("memory") else "memory.max pids.max"
    assert project.sh("memory", f"cd /sys/fs/cgroup; cat {files}").split() == [str(64 * MIB), "30"]


def test_pids(project: Project) -> None:
    assert pids(project, "memory") == 30
    assert pids(project, "plain") == 2048
    assert pids(project, "unlimited") == -1
    project.sh("memory", "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done", code=None)
    assert "fork" in project.story.said
    project.sh("plain", "true")


def test_block_io_and_memory_nodes(project: Project) -> None:
    rates = project.cgroup("disk", "blkio", "blkio.throttle.read_bps_device", "io.max")
    assert str(MIB) in rates
    assert "300" in project.cgroup("disk", "blkio", "blkio.bfq.weight", "io.bfq.weight")
    assert project.cgroup("disk", "cpuset", "cpuset.mems", "cpuset.mems") == "0"
    if not has_v1("blkio"):
        return
    lines = (project.proc("disk") / "cgroup").read_text().splitlines()
    place = next(line.rpartition(":")[2] for line in lines if ":blkio:" in line)
    file = Path(f"/sys/fs/cgroup/blkio{place}/blkio.throttle.read_bps_device")
    file.write_text(rates.replace(str(MIB), "4096"))
    eventually(lambda: str(MIB) in file.read_text(), "the limit is put back")


def test_paths_that_are_hidden_instead(project: Project) -> None:
    assert project.sh("hidden", "cat /proc/uptime") == ""
    assert "Timer List" in project.sh("hidden", "head -1 /proc/timer_list")
    assert "/proc/sys" not in project.mounts("hidden") and "/proc/sys" in project.mounts("plain")


def test_devices_by_number_and_whose_cgroups_are_seen(project: Project) -> None:
    script = "mknod /fuse c 10 229 && cat /fuse 2>&1"
    assert "can't open" in project.sh("plain", script, code=None)
    assert "can't open" not in project.sh("by-number", script, code=None)
    assert project.namespace("by-number", "cgroup") == str(Path("/proc/self/ns/cgroup").readlink())


def test_deploy_resources_say_the_same(project: Project) -> None:
    assert cpus(project, "deploy") == 0.25
    assert (memory(project, "deploy"), pids(project, "deploy")) == (48 * MIB, 50)
    assert limit(project, "deploy", "memory", "memory.soft_limit_in_bytes", "memory.low") == 32 * MIB


def test_what_wants_too_much_memory_is_killed_and_it_is_told(project: Project) -> None:
    ended = lambda: project.refresh() and project.object("hungry")["phase"] == "Failed"  # noqa: E731
    eventually(ended, "it is killed")
    assert "for want of memory" in project.object("hungry")["message"]


# --- capabilities -------------------------------------------------------------------------------

BOUND = int(
    next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line).split()[1],
    16,
)
DEFAULT = 0x00000000A80425FB  # Docker's fourteen
NET_ADMIN, NET_BIND, CHOWN, MKNOD, NET_RAW, SYS_TIME = 12, 10, 0, 27, 13, 25


@pytest.mark.parametrize(
    ("name", "effective", "bounding"),
    [
        ("plain", DEFAULT, DEFAULT),
        ("caps", 1 << NET_BIND | 1 << CHOWN, 1 << NET_BIND | 1 << CHOWN),
        ("admin", DEFAULT | 1 << NET_ADMIN, DEFAULT | 1 << NET_ADMIN),
        ("fewer", DEFAULT & ~(1 << MKNOD | 1 << NET_RAW), DEFAULT & ~(1 << MKNOD | 1 << NET_RAW)),
        ("all", BOUND & ~(1 << SYS_TIME), BOUND & ~(1 << SYS_TIME)),
        ("user", 0, DEFAULT | 1 << NET_ADMIN),
        ("privileged", BOUND, BOUND),
    ],
)
def test_capabilities(project: Project, name: str, effective: int, bounding: int) -> None:
    status = project.process_status(name)
    assert int(status["CapEff"], 16) == effective
    assert int(status["CapPrm"], 16) == effective
    assert int(status["CapBnd"], 16) == bounding
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0


def test_a_capability_that_this_host_has_not_is_told(project: Project) -> None:
    if has_capability(SYS_RESOURCE):
        assert project.object("too-much")["ready"]
        return
    found = project.object("too-much")
    assert found["phase"] == "Stalled"
    assert "CAP_SYS_RESOURCE: this host cannot give it" in found["message"]


def test_a_capability_gives_what_it_is_for(project: Project) -> None:
    project.sh("admin", "ip link add d0 type dummy; ip link set lo mtu 1000")
    project.sh("plain", "ip link set lo mtu 1000", code=2)
    project.sh("fewer", "mknod /x c 1 3", code=1)


# --- privileged and security_opt ----------------------------------------------------------------


def test_privileged(project: Project) -> None:
    assert project.process_status("privileged")["Seccomp"] == "0"
    mounts = project.mounts("privileged")
    assert "rw" in mounts["/sys"][0]
    assert not any(path.startswith("/proc/") for path in mounts)
    assert project.root("privileged", "/dev/kmsg").is_char_device()
    assert project.root("privileged", "/dev/loop0").exists() == Path("/dev/loop0").exists()
    project.sh("privileged", "mount -t tmpfs x /mnt; : <>/dev/fuse; tty </dev/ptmx || true")
    assert project.sh("privileged", "readlink /dev/ptmx").strip() == "pts/ptmx"


def test_the_defaults_hide_and_forbid(project: Project) -> None:
    assert project.process_status("plain")["Seccomp"] == "2"
    assert project.process_status("plain")["NoNewPrivs"] == "0"
    mounts = project.mounts("plain")
    assert {"/proc/keys", "/sys/firmware"} <= mounts.keys()
    assert "ro" in mounts["/proc/sys"][0] and "ro" in mounts["/sys"][0]
    project.sh("plain", "mount -t tmpfs x /mnt", code=1)
    project.sh("plain", "unshare -m true", code=1)


def test_no_new_privileges(project: Project) -> None:
    assert project.process_status("nnp")["NoNewPrivs"] == "1"
    assert project.process_status("nnp")["Seccomp"] == "2"


def test_unconfined(project: Project) -> None:
    assert project.process_status("open")["Seccomp"] == "0"
    assert not any(path.startswith("/proc/") for path in project.mounts("open"))


def test_a_seccomp_profile_of_ones_own(project: Project) -> None:
    assert project.process_status("profile")["Seccomp"] == "2"
    project.sh("profile", "mkdir /x", code=1)
    assert "not implemented" in project.story.said
    project.sh("profile", "touch /x")


def test_an_apparmor_profile_without_apparmor_is_told(project: Project) -> None:
    if has_apparmor():
        pytest.skip("this kernel has AppArmor on, and no such profile")
    found = project.object("armoured")
    assert found["phase"] == "Stalled"
    assert "apparmor profile some-profile" in found["message"]
    assert "no AppArmor" in found["message"]


# --- namespaces ---------------------------------------------------------------------------------


def host_namespace(kind: str) -> str:
    return str(Path(f"/proc/self/ns/{kind}").readlink())


def test_every_namespace_is_its_own(project: Project) -> None:
    for kind in ("mnt", "pid", "ipc", "uts", "net", "cgroup"):
        found = {project.namespace(name, kind) for name in ("plain", "cpu", "memory")} | {
            host_namespace(kind)
        }
        assert len(found) == 4, kind
    assert project.namespace("plain", "user") == host_namespace("user")


def test_pid(project: Project) -> None:
    assert project.namespace("pid-host", "pid") == host_namespace("pid")
    assert project.namespace("pid-of", "pid") == project.namespace("plain", "pid")
    assert project.sh("pid-of", "ps -o args | grep -c 'sleep 1000'").strip() >= "2"
    assert project.namespace("pid-of", "mnt") != project.namespace("plain", "mnt")


def test_ipc(project: Project) -> None:
    assert project.namespace("ipc-host", "ipc") == host_namespace("ipc")
    shared = project.namespace("ipc-shareable", "ipc")
    assert project.namespace("ipc-of", "ipc") == shared
    assert project.namespace("ipc-by-name", "ipc") == shared
    assert "/dev/shm" not in project.mounts("ipc-none")
    assert project.namespace("ipc-none", "ipc") != host_namespace("ipc")


def test_shared_memory_goes_with_a_shared_ipc_namespace(project: Project) -> None:
    project.sh("ipc-shareable", "echo shared >/dev/shm/note")
    assert project.sh("ipc-of", "cat /dev/shm/note") == "shared\n"


def test_uts(project: Project) -> None:
    assert project.namespace("uts-host", "uts") == host_namespace("uts")
    assert project.sh("uts-host", "hostname").strip() == Path("/proc/sys/kernel/hostname").read_text().strip()
