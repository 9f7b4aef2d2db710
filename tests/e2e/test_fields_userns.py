"""userns_mode: auto beside every other field of a manifest: what a container is, by the kernel's word."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.id_ranges import END, FIRST, claims
from runtime.user_namespaces import SIZE
from tests.e2e.project import BASE, Project
from tests.e2e.story import Story, eventually

NET_RAW, SYS_ADMIN = 13, 21
COMPOSE = (
    BASE.replace("&base\n", "&base\n  userns_mode: auto\n")
    + """
x-big: &big {ulimits: {nofile: {soft: 100, hard: 200}, nproc: 64}}
services:
  host: {<<: *base, userns_mode: host, volumes: ["shared:/data"]}
  plain: {<<: *base, hostname: own, volumes: ["shared:/data"]}
  other: {<<: *base, volumes: ["shared:/data"]}
  files:
    <<: *base
    read_only: true
    command: [sh, -c, "echo out; echo err > /dev/stderr; exec sleep 1000"]
    tmpfs: ["/scratch:size=1m,mode=1770,uid=7,gid=8"]
    shm_size: 1m
    volumes:
      - "full:/etc"
      - "./bound:/bound"
      - "./bound:/deep/read:ro"
      - {type: volume, source: shared, target: /part, volume: {subpath: inner}}
  user: {<<: *base, user: "1000:1001", group_add: ["44"], working_dir: /made/here}
  far: {<<: *base, user: "70000"}
  init: {<<: *base, init: true, <<: *big, oom_score_adj: 100}
  terminal: {<<: *base, tty: true, stdin_open: true, command: [sh]}
  caps:
    <<: *base
    cap_drop: [ALL]
    cap_add: [SYS_ADMIN, NET_ADMIN]
    security_opt: ["seccomp=unconfined", "apparmor=unconfined"]
  nnp: {<<: *base, security_opt: ["no-new-privileges:true"], pids_limit: 30, mem_limit: 64m}
  sysctl: {<<: *base, sysctls: {net.ipv4.ip_default_ttl: "33", kernel.shmmax: "4096"}}
  device: {<<: *base, devices: ["/dev/fuse:/dev/mine"]}
  web: {<<: *base, ports: ["127.0.0.1::80"], command: [httpd, -f, -p, "80", -h, /etc]}
  side: {<<: *base, network_mode: "service:web", pid: "service:web", ipc: "service:web"}
  alone: {<<: *base, network_mode: none}
  host-net: {<<: *base, network_mode: host}
  host-pid: {<<: *base, pid: host, uts: host, ipc: host}
  healthy: {<<: *base, healthcheck: {test: ["CMD-SHELL", "test $$(id -u) = 0"], interval: 1s}}
  stranger: {<<: *base, pid: "service:plain"}
  mixed: {<<: *base, network_mode: "service:host"}
  mighty: {<<: *base, privileged: true}
  loud: {<<: *base, volumes: [{type: bind, source: ./bound, target: /b, bind: {propagation: rshared}}]}
volumes: {shared: {}, full: {}}
"""
)
REFUSED = ("far", "stranger", "mixed", "mighty", "loud")


@pytest.fixture(scope="module")
def project(shared_story: Story) -> Iterator[Project]:
    found = Project(shared_story, "userns")
    bound = found.directory / "bound"
    bound.mkdir(parents=True)
    (bound / "mine").write_text("1000's")
    os.chown(bound / "mine", 1000, 1000)
    (shared_story.layout.volumes / "userns_shared/_data/inner").mkdir(parents=True)
    found.apply(COMPOSE, unready=REFUSED)
    yield found


def first(project: Project, name: str) -> int:
    """The host's id that a container's root is."""
    return int((project.proc(name) / "uid_map").read_text().split()[1])


def test_root_inside_is_nobody_outside_and_ranges_are_disjoint(project: Project) -> None:
    own = ("plain", "other", "files", "web", "alone", "host-net", "host-pid")
    ranges = [first(project, name) for name in own]
    assert len(set(ranges)) == len(own)
    for name, start in zip(own, ranges, strict=True):
        assert FIRST <= start <= END - SIZE and (start - FIRST) % SIZE == 0
        status = project.process_status(name)
        assert status["Uid"].split() == [str(start)] * 4 and status["Gid"].split() == [str(start)] * 4
        assert project.run(name, "id", "-u").strip() == "0"
        assert (project.proc(name) / "gid_map").read_text().split() == ["0", str(start), str(SIZE)]
    assert set(ranges) <= {each for each, _ in claims(project.story.layout.instance)}
    assert (project.proc("host") / "uid_map").read_text().split() == ["0", "0", "4294967295"]


def test_the_kernel_gives_the_container_power_over_nothing_but_its_own(project: Project) -> None:
    assert project.run("plain", "hostname").strip() == "own"
    for kind in ("mnt", "uts", "ipc", "net", "cgroup", "user"):
        assert project.namespace("plain", kind) != project.namespace("host", kind)
    for attempt in (
        "mknod /x c 1 3",
        "mount -t tmpfs x /tmp",
        "umount /proc/sys",
        "chroot /proc/1/root true < /dev/mem",
    ):
        project.sh("plain", attempt, code=1)
    # Its default raw socket works in the network that belongs to its user namespace.
    assert project.process_status("plain")["CapEff"] == project.process_status("host")["CapEff"]
    assert "1 packets received" in project.sh("plain", "ping -c 1 127.0.0.1")


def test_owners_on_the_disk_are_those_inside(project: Project) -> None:
    project.sh(
        "plain", "cd /data; touch root; touch web; chown 1000:1001 web; cp /bin/busybox su; chmod 4755 su"
    )
    data = project.story.layout.volumes / "userns_shared/_data"
    owners = {
        name: ((data / name).stat().st_uid, (data / name).stat().st_gid) for name in ("root", "web", "su")
    }
    assert owners == {"root": (0, 0), "web": (1000, 1001), "su": (0, 0)}
    assert (data / "su").stat().st_mode & 0o7777 == 0o4755
    for name in ("host", "other"):
        assert project.sh(name, "stat -c %u:%g /data/root /data/web").split() == ["0:0", "1000:1001"]
    # The writable layer as well, so that the mode can be changed without a chown.
    project.sh("plain", "touch /new && chown 5:6 /new")
    upper = project.story.layout.containers / project.container("plain")["id"] / "upper/new"
    assert (upper.stat().st_uid, upper.stat().st_gid) == (5, 6)


def test_files_of_every_kind(project: Project) -> None:
    told = project.sh(
        "files", "stat -c '%u:%g %a' /scratch /dev/shm /deep/read/mine /bound/mine /etc/passwd /part"
    )
    assert told.splitlines() == ["7:8 1770", "0:0 1777", *["1000:1000 644"] * 2, "0:0 644", "0:0 755"]
    project.sh("files", "echo x > /bound/new; echo x > /etc/new; echo x > /scratch/x; echo x > /dev/shm/x")
    assert (project.directory / "bound/new").stat().st_uid == 0
    for path in ("/new", "/deep/read/new", "/sys/new"):
        project.sh("files", f"touch {path}", code=1)
    assert "out\n" in project.logs("files") and "err\n" in project.logs("files")
    for name in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
        assert project.sh(
            "plain", f"stat -c %u:%g {name}; echo '# mine' >> {name} && echo written"
        ).split() == ["0:0", "written"]
    assert project.sh("plain", "stat -c %u:%g /dev /dev/null /dev/mqueue /dev/shm").split() == ["0:0"] * 4


def test_users_limits_and_processes(project: Project) -> None:
    assert project.run("user", "id").split()[:2] == ["uid=1000", "gid=1001"]
    assert (
        "44" in project.run("user", "id", "-G").split() and project.run("user", "pwd").strip() == "/made/here"
    )
    status, start = project.process_status("user"), first(project, "user")
    assert status["Uid"].split()[0] == str(start + 1000) and status["CapEff"] == "0" * 16
    limits = (project.proc("init") / "limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if "open files" in line] == [["100", "200"]]
    assert (project.proc("init") / "oom_score_adj").read_text().strip() == "100"
    assert "init" in project.run("init", "cat", "/proc/1/cmdline")
    assert project.process_status("nnp")["NoNewPrivs"] == "1"
    assert int(project.process_status("nnp")["Seccomp"]) == 2
    assert project.sh("terminal", "stat -c '%u %t' /dev/console").split()[0] == "0"
    assert project.story.setpoint("exec", "-u", "1000", "userns/plain", "id", "-u").strip() == "1000"
    project.story.setpoint("exec", "-u", "70000", "userns/plain", "id", code=1)


def test_capabilities_are_those_of_the_user_namespace(project: Project) -> None:
    mask = 1 << SYS_ADMIN | 1 << 12
    assert int(project.process_status("caps")["CapEff"], 16) == mask
    project.sh("caps", "hostname other && mount -t tmpfs x /tmp && ip addr add 10.9.9.9/32 dev lo")
    # But what hides the kernel's files, or was mounted read-only, is locked.
    for attempt in (
        "umount /proc/sys",
        "umount /proc/keys",
        "mount -o remount,rw,bind /proc/sys",
        "umount /sys/firmware",
    ):
        project.sh("caps", attempt, code=1)


def test_sysctls_and_devices(project: Project) -> None:
    names = "net/ipv4/ip_default_ttl kernel/shmmax net/ipv4/ip_unprivileged_port_start"
    assert project.sh("sysctl", f"cd /proc/sys && cat {names}").split() == ["33", "4096", "0"]
    assert project.sh("device", "stat -c %u:%g /dev/mine").strip() == "0:0"
    assert project.sh("device", "exec 3<>/dev/mine && echo open").strip() == "open"


def test_networks_and_whoever_shares_them(project: Project) -> None:
    port = project.container("web")["ports"][0]["host_port"]
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /passwd HTTP/1.0\r\n\r\n")
        assert b"root" in connection.makefile("rb").read()
    for kind in ("net", "user", "pid", "ipc"):
        assert project.namespace("side", kind) == project.namespace("web", kind)
    assert "httpd" in project.sh(
        "side", "wget -q -O - http://127.0.0.1/passwd > /dev/null; cat /proc/*/cmdline"
    )
    project.sh("side", "kill -0 1; echo x > /dev/shm/both")
    assert project.sh("web", "cat /dev/shm/both").strip() == "x"
    assert "web" in project.sh("plain", "wget -q -O /dev/null http://web/passwd && echo web")
    assert project.sh("alone", "ls /sys/class/net").split() == ["lo"]
    assert project.namespace("host-net", "net") == os.readlink("/proc/self/ns/net")
    assert project.namespace("host-pid", "pid") == os.readlink("/proc/self/ns/pid")
    project.sh("host-pid", f"kill -0 {os.getpid()}", code=1)
    refused = project.sh("host-net", "ip link set lo mtu $(cat /sys/class/net/lo/mtu) 2>&1", code=None)
    assert "not permitted" in refused


def test_probes_run_as_its_own_root(project: Project) -> None:
    eventually(lambda: project.refresh()["container/healthy"]["phase"] == "Running", "healthy")
    assert project.object("healthy")["ready"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("far", "70000"), ("stranger", "another user namespace"), ("mixed", "has no user namespace"),
        ("mighty", "privileged"), ("loud", "user namespace"),
    ],
)  # fmt: skip
def test_what_cannot_go_with_it_is_refused_with_the_reason(project: Project, name: str, reason: str) -> None:
    def told() -> str:
        return str(project.refresh()[f"container/{name}"]["message"])

    eventually(lambda: reason in told(), f"{name} says why")
    assert "userns_mode: " in told() or name == "far"


def test_restart_and_switching_off_and_on_again(project: Project, shared_story: Story) -> None:
    start = first(project, "other")
    project.sh("other", "kill 1", code=None)
    os.kill(project.pid("other"), 9)
    eventually(
        lambda: project.refresh()["container/other"]["ready"] and project.proc("other").exists(),
        "it runs again",
    )
    assert first(project, "other") == start
    changed = COMPOSE.replace("other: {<<: *base,", "other: {<<: *base, userns_mode: host,")
    project.apply(changed, unready=REFUSED)
    assert first(project, "other") == 0
    assert project.sh("other", "stat -c %u:%g /data/root /data/web").split() == ["0:0", "1000:1001"]
    assert start not in {each for each, _ in claims(shared_story.layout.instance)}
    project.apply(COMPOSE, unready=REFUSED)
    assert FIRST <= first(project, "other") < END


def test_ranges_are_given_back(project: Project, shared_story: Story) -> None:
    held = len(list(claims(shared_story.layout.instance)))
    project.apply(
        COMPOSE.replace("  alone: {<<: *base, network_mode: none}\n", "").replace(
            "  host-net: {<<: *base, network_mode: host}\n", ""
        ),
        unready=REFUSED,
    )
    eventually(lambda: len(list(claims(shared_story.layout.instance))) == held - 2, "two ranges are free")
    assert subprocess.run(["ls", "/run/setpoint.ids"], capture_output=True, check=True).stdout
    assert not list(Path("/run/setpoint.ids").glob("*.new"))
