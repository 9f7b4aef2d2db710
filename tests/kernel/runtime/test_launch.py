"""What a container sees of itself, on the real kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime import cgroups, syscalls
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.supervisor.launch import Launched, LaunchRequest, build, fork_all, receive
from runtime.supervisor.process import GATE_LOST
from tests.kernel.runtime.conftest import Box, make_busybox, messages_of, mount


def test_it_runs_as_pid_one_with_its_own_name_and_root(box: Box) -> None:
    found = box.run("sh", "-c", "echo $$; hostname; ls /; cat /proc/1/comm")
    assert found.status == 0, found
    lines = found.output.split()
    assert lines[:2] == ["1", "box"]
    assert set(lines[2:-1]) == {"bin", "dev", "etc", "proc", "root", "srv", "sys", "tmp"}


def test_exit_statuses(box: Box) -> None:
    assert box.run("sh", "-c", "exit 7").status == 7
    launched = box.start("sleep", "1000")
    syscalls.pidfd_send_signal(launched.pidfd, 9)
    found = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
    assert found is not None and (found.si_code, found.si_status) == (os.CLD_KILLED, 9)
    box.forget(launched)


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["nope"], 127, "not found in $PATH"),
        (["/bin/nope"], 127, "No such file"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["/etc"], 126, "Permission denied"),
        (["/dev/null"], 126, "Permission denied"),
    ],
)
def test_a_program_that_cannot_run_says_why(box: Box, argv: list[str], status: int, words: str) -> None:
    found = box.run(*argv)
    assert found.status == status
    assert words in found.error
    assert found.error.startswith(f"execute {argv[0]}")


def test_no_host_mount_is_ever_made(box: Box) -> None:
    box.start("sleep", "1000")
    assert str(box.place) not in Path("/proc/self/mountinfo").read_text()


def test_the_supervisor_comes_back_to_its_own_namespaces(box: Box) -> None:
    def own() -> list[str]:
        names = ("mnt", "ipc", "uts", "net", "pid", "pid_for_children", "cgroup", "user")
        return [str(Path(f"/proc/self/ns/{name}").readlink()) for name in names]

    before, directory = own(), Path.cwd()
    box.run("true")
    box.config["process"]["cwd"] = "/etc/passwd"
    assert box.run("true").error
    box.config["mounts"].append(mount("/x", "bind", "rbind", source="/nonexistent/source"))
    with pytest.raises(Invalid, match="nonexistent"):
        box.run("true")
    assert own() == before
    assert Path.cwd() == directory


def test_no_descriptor_stays_open(box: Box) -> None:
    box.run("true")
    before = sorted(os.listdir("/proc/self/fd"))
    box.run("true")
    box.config["mounts"].append(mount("/x", "bind", "rbind", source="/nonexistent/source"))
    for _ in range(3):
        with pytest.raises(Invalid):
            box.run("true")
    box.config["mounts"][-1] = mount("/proc/self", "tmpfs")
    box.run("true")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_only_the_three_descriptors_are_inside(box: Box) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.set_inheritable(writer, True)
    found = box.run("sh", "-c", "ls /proc/self/fd")
    os.close(reader)
    os.close(writer)
    # The fourth is ls reading the directory itself.
    assert found.output.split() == ["0", "1", "2", "3"]


def test_the_environment_is_the_configs_alone(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "of the host")
    box.config["process"]["env"] = ["PATH=/bin", "A=1=2", "CANARY", "=x"]
    found = box.run("/bin/env")
    assert set(found.output.split("\n")) - {""} == {"PATH=/bin", "A=1=2", "HOME=/root"}


def test_mounts_are_as_every_engine_has_them(box: Box) -> None:
    found = dict(line.split()[1:4:2] for line in box.run("cat", "/proc/mounts").output.splitlines())
    assert {"nosuid", "nodev", "noexec"} <= set(found["/proc"].split(","))
    assert {"ro", "nosuid"} <= set(found["/sys"].split(","))
    assert "ro" in found["/proc/sys"].split(",")
    assert {"ro"} <= set(found["/sys/fs/cgroup"].split(","))
    assert all("ro" in found[path].split(",") for path in found if path.startswith("/sys/fs/cgroup/"))


def test_masked_paths_read_empty(box: Box) -> None:
    script = (
        "for p in /proc/interrupts /proc/keys /proc/timer_list; do cat $p | wc -c; done; ls /sys/firmware"
    )
    assert box.run("sh", "-c", script).output.split() == ["0", "0", "0"]


def test_proc_sys_cannot_be_written(box: Box) -> None:
    found = box.run("sh", "-c", "echo 1 > /proc/sys/kernel/panic; mount -o remount,rw /proc/sys; echo done")
    assert "Read-only" in found.output and "denied" in found.output


def test_a_read_only_root(box: Box) -> None:
    box.config["root"]["readonly"] = True
    found = box.run("sh", "-c", "touch /x; touch /dev/shm/y && echo shm")
    assert "Read-only" in found.output and "shm" in found.output


def test_default_devices_and_links(box: Box) -> None:
    found = box.run(
        "sh", "-c", "cd /dev; ls -1; echo x > null; head -c4 zero | wc -c; readlink fd; readlink ptmx"
    )
    names = set(found.output.split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue"} <= names
    assert {"4", "/proc/self/fd", "pts/ptmx"} <= names


def test_other_devices_are_out_of_reach(box: Box) -> None:
    """E6: nodes can be made (MKNOD is a default capability), and not opened."""
    script = (
        "mknod /mem c 1 1; mknod /kmsg c 1 11; mknod /disk b 254 0; mknod /fuse c 10 229;"
        "mknod /tun c 10 200;"
        "for n in mem kmsg disk fuse tun; do head -c1 /$n; done; head -c1 /dev/zero | wc -c"
    )
    found = box.run("sh", "-c", script)
    assert found.output.count("Operation not permitted") == 5, found.output
    assert found.output.split()[-1] == "1"


def test_binds_tmpfs_and_propagation(box: Box, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("content")
    box.config["mounts"] += [
        mount("/data", "bind", "rbind", "ro", source=str(tmp_path / "data")),
        mount("/etc/hosts", "bind", "bind", source=str(tmp_path / "file")),
        mount("/deep/er", "tmpfs", "size=4096", "mode=700"),
    ]
    found = box.run(
        "sh", "-c", "touch /data/x; cat /etc/hosts; stat -c %a /deep/er; df -k /deep/er | tail -1"
    )
    assert "Read-only" in found.output
    assert "content" in found.output and "700" in found.output
    assert list((tmp_path / "data").iterdir()) == []


def test_a_subpath_stays_in_its_volume(box: Box, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "inner").mkdir(parents=True)
    (volume / "inner/marker").write_text("")
    (volume / "file").write_text("")
    (volume / "escape").symlink_to("/etc")
    option = "x-setpoint.subpath="
    box.config["mounts"].append(mount("/v", "bind", "rbind", option + "inner", source=str(volume)))
    assert box.run("ls", "/v").output.split() == ["marker"]
    box.config["mounts"][-1] = mount("/v", "bind", "rbind", option + "../..", source=str(volume))
    assert box.run("ls", "/v").output.split() == ["escape", "file", "inner"]  # ends at the volume itself


@pytest.mark.parametrize(
    ("path", "kind", "why"),
    [
        ("missing/too", NotFound, "no such file or directory"),
        ("escape", NotFound, "no such file or directory"),  # /etc, below the volume
        ("file/x", Invalid, "not a directory"),
        ("loop", Invalid, "too many levels of symbolic links"),
    ],
)
def test_a_subpath_that_leads_nowhere(
    box: Box, tmp_path: Path, path: str, kind: type[SetpointError], why: str
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("")
    (volume / "escape").symlink_to("/etc")
    (volume / "loop").symlink_to("loop")
    option = f"x-setpoint.subpath={path}"
    box.config["mounts"].append(mount("/v", "bind", "rbind", option, source=str(volume)))
    with pytest.raises(kind) as refused:
        box.run("ls", "/v")
    assert refused.value.reason == f"cannot access path {volume}/{path}: {why}"
    assert refused.value.subject == "/v" and refused.value.hint.startswith("make it first")


def test_a_terminal(box: Box) -> None:
    box.config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 99}}
    launched = box.launch("sh", "-c", "tty; stty size; ls -l /dev/console; exit 4")
    master = -1
    while (message := receive(launched.channel)) is not None:
        assert "error" not in message.body, message.body
        master = max(master, message.descriptor)
    output = b""
    while True:
        try:
            output += os.read(master, 4096)
        except OSError:
            break
    os.close(master)
    assert b"/dev/pts/0" in output and b"33 99" in output and b"136,   0" in output
    status = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
    assert status is not None and status.si_status == 4
    box.forget(launched)


def test_the_gate_holds_until_it_is_opened(box: Box) -> None:
    launched = box.launch("sleep", "1000", gate=True)
    message = receive(launched.channel)
    assert message is not None and message.body == {"ready": True}
    assert Path(f"/proc/{launched.pid}/comm").read_text() != "sleep\n"
    launched.channel.send(b"start")
    assert messages_of(launched) == []
    assert Path(f"/proc/{launched.pid}/comm").read_text() == "sleep\n"


def test_a_parent_that_goes_away_ends_what_waits(box: Box) -> None:
    launched = box.launch("sleep", "1000", gate=True)
    assert receive(launched.channel) is not None
    launched.channel.close()
    found = os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
    assert found is not None and found.si_status == GATE_LOST


def test_it_is_in_its_cgroups_with_their_limits(box: Box) -> None:
    launched = box.start("sleep", "1000")
    assert cgroups.list_pids(box.cgroup) == (launched.pid,)
    assert cgroups.find_drift(box.cgroup, box.config["linux"]["resources"]) == ()
    for directory in cgroups.directories(box.cgroup, box.config["linux"]["resources"]):
        assert str(launched.pid) in Path(directory, "cgroup.procs").read_text().split(), directory


def test_it_sees_only_its_own_cgroup(box: Box) -> None:
    found = box.run("sh", "-c", "cat /proc/self/cgroup; find /sys/fs/cgroup -type d | wc -l")
    *lines, directories = found.output.split()
    assert all(line.endswith(":/") for line in lines)
    assert int(directories) <= 10


def test_sysctls_of_its_namespaces_and_no_other(box: Box) -> None:
    host = Path("/proc/sys/net/core/somaxconn").read_text(), Path("/proc/sys/kernel/shmmax").read_text()
    box.config["linux"]["sysctl"] = {"net.core.somaxconn": "77", "kernel.shmmax": "99999"}
    found = box.run("cat", "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/shmmax")
    assert found.output.split() == ["77", "99999"]
    after = Path("/proc/sys/net/core/somaxconn").read_text(), Path("/proc/sys/kernel/shmmax").read_text()
    assert after == host


def test_a_network_namespace_by_path(box: Box, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        os.kill(os.getpid(), 19)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    try:
        namespaces = box.config["linux"]["namespaces"]
        namespaces[-1] = {"type": "network", "path": f"/proc/{pid}/ns/net"}
        expected = str(Path(f"/proc/{pid}/ns/net").readlink())
        assert box.run("readlink", "/proc/self/ns/net").output.strip() == expected
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_a_pid_namespace_of_another_container(box: Box) -> None:
    first = box.start("sleep", "1000")
    kinds = [each for each in box.config["linux"]["namespaces"] if each["type"] != "pid"]
    config = dict(box.config)
    box.config = {
        **config,
        "linux": {
            **config["linux"], "cgroupsPath": f"{box.cgroup}-2",
            "namespaces": [*kinds, {"type": "pid", "path": f"/proc/{first.pid}/ns/pid"}],
        },
        "annotations": {"setpoint.groups": "[]"}, "root": {"path": str(box.base)},
    }  # fmt: skip
    found = box.run("ps")
    cgroups.delete(f"{box.cgroup}-2")
    assert "sleep 1000" in found.output


def test_a_user_namespace(box: Box) -> None:
    ids = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    box.config["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    box.config["linux"]["namespaces"].append({"type": "user"})
    box.config["annotations"] = {"setpoint.groups": "[]"}
    root = box.place / "own"
    root.mkdir()
    make_busybox(root)
    box.config["root"] = {"path": str(root)}
    for path in (root, *root.rglob("*")):
        os.chown(path, 100_000, 100_000, follow_symlinks=False)
    for parent in (box.place, *box.place.parents):
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o001)
    found = box.run(
        "sh", "-c", "id -u; cat /proc/self/uid_map; echo hi > /dev/null && echo null; touch /x && echo ok"
    )
    assert found.error == "", found
    assert found.output.split() == ["0", "0", "100000", "65536", "null", "ok"]
    assert (root / "x").stat().st_uid == 100_000


def test_those_that_are_forked_together_hold_nothing_of_each_other(box: Box) -> None:
    """Each is told of the end of its own channel, whatever the others wait for."""
    layers = json.dumps({"lower": [str(box.layer), str(box.base)]})
    config = {**box.config, "annotations": {**box.config["annotations"], "setpoint.rootfs": layers}}
    config["linux"] = {**config["linux"], "cgroupsPath": ""}
    config["process"] = {**config["process"], "args": ["sleep", "1000"]}
    null = os.open("/dev/null", os.O_RDWR)
    request = LaunchRequest(config, str(box.place), (null, null, null), gate=True, says_ready=False)
    made = fork_all([build(request) for _ in range(3)])
    os.close(null)
    waits, runs, left = [each for each in made if isinstance(each, Launched)]
    runs.channel.settimeout(30.0)
    box.running += waits, runs, left
    runs.channel.send(b"start")
    assert messages_of(runs) == []
    left.channel.close()
    found = os.waitid(os.P_PIDFD, left.pidfd, os.WEXITED)
    assert found is not None and found.si_status == GATE_LOST
    assert os.waitid(os.P_PIDFD, waits.pidfd, os.WEXITED | os.WNOHANG) is None
