"""`docker run` with the options that people use."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host
from tests.e2e.project import has_v1
from tests.e2e.story import eventually


def run(host: Host, *words: str | Path, **options: Any) -> str:
    """What a container printed."""
    return host.docker("run", "--rm", *words, **options).stdout


def shown(host: Host, name: str) -> dict[str, Any]:
    [found] = json.loads(host.docker("inspect", name).stdout)
    return dict(found)


def test_on_the_hosts_network_a_container_has_the_hosts_name(either: Host, name: str) -> None:
    host_name = os.uname().nodename
    assert run(either, "--network", "host", "busybox", "hostname").strip() == host_name
    assert run(either, "--network", "host", "-h", "own", "busybox", "hostname").strip() == "own"
    either.docker("create", "--name", name, "--network", "host", "busybox")
    assert shown(either, name)["Config"]["Hostname"] == host_name


def test_the_process_is_as_asked_for(host: Host, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=yes\n# a comment\n")
    words = (
        "--user",
        "7:8",
        "-w",
        "/tmp",
        "-e",
        "A=b c",
        "--env-file",
        tmp_path / "env",
        "-h",
        "named",
        "--init",
    )
    script = "id -u; id -g; pwd; echo $A; echo $FROM_FILE; hostname; cat /proc/1/comm"
    said = run(host, "--init", *words, "busybox", "sh", "-c", script).splitlines()
    assert said[:6] == ["7", "8", "/tmp", "b c", "yes", "named"] and said[6] != "sh"


def test_standard_input_and_the_exit_code(host: Host) -> None:
    assert run(host, "-i", "busybox", "cat", stdin="through\n") == "through\n"
    done = host.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_entrypoint_and_a_cidfile(host: Host, tmp_path: Path, name: str) -> None:
    file = tmp_path / "cid"
    said = host.docker(
        "run", "--name", name, "--cidfile", file, "--entrypoint", "echo", "busybox", "said"
    ).stdout
    assert said == "said\n" and file.read_text() == shown(host, name)["Id"]


def test_mounts(host: Host, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("from the host")
    words = (
        "--mount", f"type=bind,source={tmp_path},target=/bind,readonly",
        "--mount", f"type=volume,source={name},target=/volume",
        "--mount", "type=tmpfs,target=/memory,tmpfs-size=1m",
        "-v", f"{tmp_path}:/short:ro", "--tmpfs", "/other:size=64k",
    )  # fmt: skip
    script = (
        "cat /bind/file; touch /bind/x || echo' ro'; echo kept > /volume/f; df -k /memory /other | tail -2"
    )
    said = run(host, *words, "busybox", "sh", "-c", script.replace("echo' ro'", "echo ' ro'"))
    assert said.startswith("from the host ro\n") and "1024" in said and "64" in said
    assert run(host, "-v", f"{name}:/v", "busybox", "cat", "/v/f") == "kept\n"
    missing = host.docker("run", "--rm", "--mount", "type=bind,source=/nonexistent,target=/x", "busybox",
                          "true", check=False)  # fmt: skip
    assert missing.returncode == 125 and "/nonexistent" in missing.stderr
    made = tmp_path / "made"
    assert run(host, "-v", f"{made}:/x", "busybox", "ls", "/x") == "" and made.is_dir()


def test_published_ports(host: Host, name: str) -> None:
    page = "echo content > /index.html; exec httpd -f -p 80"
    host.docker("run", "-d", "--name", name, "-p", "127.0.0.1::80", "busybox", "sh", "-c", page)
    address = host.docker("port", name, "80").stdout.strip()

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    assert eventually(answer, "the page is served") == "content\n"
    host.docker("run", "-d", "--name", f"{name}b", "-P", "--expose", "80", "busybox", "sleep", "1000")
    assert int(host.docker("port", f"{name}b", "80/tcp").stdout.split(":")[-1]) > 0
    taken = host.docker(
        "run", "-d", "--name", f"{name}c", "-p", f"{address}:80", "busybox", "true", check=False
    )
    assert taken.returncode == 125 and "port" in taken.stderr


def test_one_of_several_ports_is_taken_and_kept(host: Host, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        first = min(taken.getsockname()[1], 65000)
        for each in ("a", "b"):
            words = ("-p", f"127.0.0.1:{first}-{first + 50}:80", "busybox", "sleep", "1000")
            host.docker("run", "-d", "--name", f"{name}{each}", *words)
        ports = [_port(host, f"{name}{each}") for each in ("a", "b")]
    assert ports[0] != ports[1] and all(first < port <= first + 50 for port in ports)
    bindings = shown(host, f"{name}a")["HostConfig"]["PortBindings"]["80/tcp"]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": f"{first}-{first + 50}"}]
    pairs = f"127.0.0.1:{first + 60}-{first + 61}:80-81"
    host.docker("run", "-d", "--name", f"{name}c", "-p", pairs, "busybox", "sleep", "1000")
    assert _port(host, f"{name}c") == first + 60


def _port(host: Host, name: str) -> int:
    return int(host.docker("port", name, "80/tcp").stdout.split(":")[-1])


@pytest.mark.parametrize("is_own", [False, True], ids=["default", "own network"])
def test_a_link_is_a_name_in_one_container_alone(host: Host, name: str, is_own: bool) -> None:
    def pings(container: str, other: str) -> bool:
        return host.docker("exec", container, "ping", "-c1", "-W1", other, check=False).returncode == 0

    db, on = f"{name}db", ("--network", name) if is_own else ()
    if is_own:
        host.docker("network", "create", name)
    host.docker("run", "-d", "--name", db, *on, "busybox", "sleep", "1000")
    host.docker("run", "-d", "--name", name, *on, "--link", f"{db}:store", "busybox", "sleep", "1000")
    assert pings(name, "store") and not pings(db, "store")
    host.docker("rm", "-f", db)
    assert eventually(lambda: not pings(name, "store"), "the name is gone")


def test_a_link_follows_its_container(host: Host, name: str) -> None:
    host.docker("run", "-d", "--name", f"{name}db", "busybox", "sleep", "1000")
    host.docker("run", "-d", "--name", name, "--link", f"{name}db:store", "busybox", "sleep", "1000")

    def address() -> str:
        lines = host.docker("exec", name, "cat", "/etc/hosts").stdout.splitlines()
        return next((line.split()[0] for line in lines if line.split()[1:] == ["store"]), "")

    def of(container: str) -> str:
        return str(shown(host, container)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])

    first = of(f"{name}db")
    assert eventually(address, "the link") == first
    host.docker("rename", f"{name}db", f"{name}other")
    host.docker("stop", "-t0", f"{name}other")
    host.docker("start", f"{name}other")
    now = of(f"{name}other")
    assert eventually(lambda: address() == now, "the link leads to where it is")
    assert shown(host, name)["HostConfig"]["Links"] == [f"/{name}db:/{name}/store"]


def test_networks_and_names(host: Host, name: str) -> None:
    host.docker("network", "create", name)
    host.docker("run", "-d", "--name", f"{name}a", "--network", name, "--network-alias", "also",
                "busybox", "sleep", "1000")  # fmt: skip
    for other in (f"{name}a", "also"):
        assert "1 packets received" in run(host, "--network", name, "busybox", "ping", "-c1", other)
    assert "lo" in run(host, "--network", "none", "busybox", "ls", "/sys/class/net")
    joined = run(host, "--network", f"container:{name}a", "busybox", "ip", "address")
    assert shown(host, f"{name}a")["NetworkSettings"]["Networks"][name]["IPAddress"] in joined
    hosts = run(host, "--add-host", "there:10.9.8.7", "--dns", "10.1.1.1", "busybox", "cat", "/etc/hosts")
    assert "10.9.8.7\tthere" in hosts.replace(" ", "\t")
    gone = host.docker("run", "--rm", "--network", "nobody", "busybox", "true", check=False)
    assert gone.returncode == 125 and "network nobody not found" in gone.stderr


def test_isolation(host: Host) -> None:
    assert "CapEff:\t0000000000000000" in run(
        host, "--cap-drop", "ALL", "busybox", "cat", "/proc/self/status"
    )
    readonly = host.docker("run", "--rm", "--read-only", "busybox", "touch", "/x", check=False)
    assert readonly.returncode == 1 and "Read-only" in readonly.stderr
    status = run(host, "--security-opt", "no-new-privileges", "busybox", "cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    bare = run(host, "--security-opt", "seccomp=unconfined", "busybox", "cat", "/proc/self/status")
    assert "Seccomp:\t0" in bare
    assert run(host, "--privileged", "busybox", "sh", "-c", "ls /dev | wc -l") != ""
    assert run(host, "--ulimit", "nofile=99:100", "busybox", "sh", "-c", "ulimit -n") == "99\n"
    assert (
        run(host, "--sysctl", "net.ipv4.ip_forward=0", "busybox", "cat", "/proc/sys/net/ipv4/ip_forward")
        == "0\n"
    )
    assert (
        run(host, "--device", "/dev/null:/dev/nothing", "busybox", "ls", "/dev/nothing") == "/dev/nothing\n"
    )


def test_paths_and_variables_that_are_to_be_gone(host: Host, name: str) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["/bin/sh", "-c", "cat /proc/uptime /proc/1/environ; head -1 /proc/timer_list"],
        "Env": ["PATH"], "HostConfig": {"MaskedPaths": ["/proc/uptime"], "ReadonlyPaths": []},
    }  # fmt: skip
    assert host.http("POST", f"/containers/create?name={name}", body).status == 201
    found = host.docker("start", "-a", name).stdout
    assert found.startswith("HOSTNAME=") and "Timer List" in found and "PATH=" not in found
    assert shown(host, name)["HostConfig"]["MaskedPaths"] == ["/proc/uptime"]
    own = run(host, "busybox", "cat", "/proc/self/cgroup")
    all_of_it = run(host, "--cgroupns", "host", "busybox", "cat", "/proc/self/cgroup")
    assert all(line.endswith(":/") for line in own.splitlines() if ":memory:" in line or line[:2] == "0:")
    assert any(len(line) > 64 for line in all_of_it.splitlines())


def test_a_profile_of_ones_own(host: Host, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    done = host.docker(
        "run", "--rm", "--security-opt", f"seccomp={profile}", "busybox", "mkdir", "/x", check=False
    )
    assert done.returncode == 1 and "not permitted" in done.stderr


@pytest.mark.parametrize("words", [("--gpus", "all"), ("--cgroup-parent", "/x"), ("--runtime", "nobody"),
                                   ("--storage-opt", "size=1g"), ("--log-driver", "syslog"),
                                   ("--link", "nobody:b")])  # fmt: skip
def test_what_there_is_not_is_said(host: Host, words: tuple[str, str], name: str) -> None:
    done = host.docker("run", "--rm", "--name", name, *words, "busybox", "true", check=False)
    assert done.returncode == 125 and "Error response from daemon" in done.stderr
    assert name not in host.docker("ps", "-a", "--format", "{{.Names}}").stdout


def test_output_that_nobody_keeps(either: Host, name: str) -> None:
    words = ("--log-driver", "none", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2")
    done = either.docker("run", *words)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    done = either.docker("logs", name, check=False)
    assert done.returncode == 1 and "configured logging driver does not support reading" in done.stderr
    assert either.http("GET", f"/containers/{name}/logs", query={"stdout": "1"}).status == 501
    assert shown(either, name)["HostConfig"]["LogConfig"] == {"Type": "none", "Config": {}}
    either.docker("rm", name)


def test_health_options(host: Host, name: str) -> None:
    host.docker("run", "-d", "--name", name, "--health-cmd", "test -e /well", "--health-interval", "100ms",
                "--health-retries", "1", "busybox", "sh", "-c", "touch /well; sleep 1000")  # fmt: skip
    eventually(lambda: shown(host, name)["State"]["Health"]["Status"] == "healthy", "it is well")
    assert "(healthy)" in host.docker("ps", "--filter", f"name={name}", "--format", "{{.Status}}").stdout
    host.docker("exec", name, "rm", "/well")
    eventually(lambda: shown(host, name)["State"]["Health"]["Status"] == "unhealthy", "it is not")
    assert shown(host, name)["State"]["Health"]["Log"]


def test_signals_go_through_the_client(host: Host, name: str) -> None:
    """--sig-proxy: what the client is sent, the container gets."""
    trap = "trap 'echo heard; exit 3' TERM; echo ready; while true; do sleep 0.05; done"
    with subprocess.Popen(
        ["docker", "run", "--rm", "--name", name, "busybox", "sh", "-c", trap], env=host.environment,
        stdout=subprocess.PIPE, text=True,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        client.send_signal(signal.SIGTERM)
        assert client.stdout.read() == "heard\n"
        assert client.wait(30) == 3
    gone = host.docker("ps", "-aq", "--filter", f"name={name}")
    assert gone.stdout == ""


def test_signals_stay_with_the_client_that_is_to_keep_them(host: Host, name: str) -> None:
    """--sig-proxy=false: it ends, and nobody in the container hears of it."""
    trap = "trap 'echo heard' TERM; echo ready; while true; do sleep 0.05; done"
    words = ("run", "--sig-proxy=false", "--name", name, "busybox", "sh", "-c", trap)
    with subprocess.Popen(
        ["docker", *words], env=host.environment, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        client.send_signal(signal.SIGTERM)
        assert client.wait(30) != 0 and client.stdout.read() == ""
    assert shown(host, name)["State"]["Running"]
    host.docker("exec", name, "true")
    assert host.docker("logs", name).stdout == "ready\n"


# --- limits, as the kernel has them -------------------------------------------------------------------


def disk() -> str:
    for path in sorted(Path("/sys/block").iterdir()):
        if int((path / "size").read_text()) and Path("/dev", path.name).is_block_device():
            return f"/dev/{path.name}"
    pytest.skip("no disk here")


def in_cgroup(host: Host, name: str, v1: str, v2: str) -> str:
    """A file of its own group: as cgroup v1 has it, with its controller, or as v2."""
    path = f"/sys/fs/cgroup/{v1 if has_v1(v1.partition('/')[0]) else v2}"
    return host.docker("exec", name, "cat", path).stdout


def test_block_io_and_memory_nodes(host: Host, name: str) -> None:
    """By the API itself: the CLI of some releases (26.1) leaves its --device-read-bps out."""
    said = {
        "BlkioDeviceReadBps": [{"Path": disk(), "Rate": 1 << 20}], "BlkioWeight": 300, "CpusetMems": "0",
        "BlkioDeviceWriteIOps": [{"Path": disk(), "Rate": 100}],
    }  # fmt: skip
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": said}
    assert host.http("POST", f"/containers/create?name={name}", body).status == 201
    host.docker("start", name)
    assert "1048576" in in_cgroup(host, name, "blkio/blkio.throttle.read_bps_device", "io.max")
    assert "100" in in_cgroup(host, name, "blkio/blkio.throttle.write_iops_device", "io.max")
    assert "300" in in_cgroup(host, name, "blkio/blkio.bfq.weight", "io.bfq.weight")
    assert in_cgroup(host, name, "cpuset/cpuset.mems", "cpuset.mems") == "0\n"
    host.docker("update", "--blkio-weight", "500", name)
    assert "500" in in_cgroup(host, name, "blkio/blkio.bfq.weight", "io.bfq.weight")
    settings = shown(host, name)["HostConfig"]
    assert {each: settings[each] for each in said} == {**said, "BlkioWeight": 500}
    for path, words in (("/dev/null", "not a block device"), ("/dev/nobody", "no such disk")):
        body["HostConfig"] = {"BlkioDeviceReadBps": [{"Path": path, "Rate": 1}]}
        answer = host.http("POST", "/containers/create", body)
        assert answer.status == 400 and words in answer.json["message"]


def test_real_time_and_swappiness(host: Host, name: str) -> None:
    words = ("--cpu-rt-period", "500000", "--cpu-rt-runtime", "1000", "--memory-swappiness", "7")
    done = host.docker("run", "-d", "--name", name, *words, "busybox", "sleep", "1000", check=False)
    if not has_v1("memory") or not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        assert done.returncode == 125 and "limit" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert in_cgroup(host, name, "cpu/cpu.rt_runtime_us", "") == "1000\n"
    assert in_cgroup(host, name, "memory/memory.swappiness", "") == "7\n"
    host.docker("update", "--cpu-rt-runtime", "2000", name)
    assert in_cgroup(host, name, "cpu/cpu.rt_runtime_us", "") == "2000\n"
    assert shown(host, name)["HostConfig"]["MemorySwappiness"] == 7


def test_a_device_by_its_number(host: Host) -> None:
    script = "mknod /fuse c 10 229 && cat < /fuse"
    said = [
        host.docker("run", "--rm", *words, "busybox", "sh", "-c", script, check=False).stderr
        for words in ((), ("--device-cgroup-rule", "c 10:229 rw"))
    ]
    assert "can't open /fuse: Operation not permitted" in said[0]
    assert "can't open /fuse: Operation not permitted" not in said[1]


def test_no_more_processors_than_there_are(either: Host, name: str) -> None:
    answer = either.http("POST", f"/containers/create?name={name}", {
        "Image": "busybox", "Cmd": ["true"], "HostConfig": {"NanoCpus": 900 * 10**9},
    })  # fmt: skip
    assert answer.status == 400 and "from 0.01 to" in answer.json["message"]
