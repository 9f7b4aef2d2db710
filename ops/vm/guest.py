"""What a virtual machine of ops/vm-test does: a list of checks as root under systemd, then its report.

Started by vm-test.service at every boot. Says a line for each check on the second serial port, which is
the terminal of who called ops/vm-test; keeps output of what it runs in a folder that goes back to the
host at the end. Standard library only: this is the bare machine's Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path("/opt/vm")
CHECKOUT = Path("/opt/setpoint")
PROGRAM = CHECKOUT / ".venv/bin/setpoint"
UNITS = ("setpoint-supervisor.service", "setpoint-agent.service")
KEPT = HERE / "kept"
STATE = HERE / "state.json"
CGROUP = Path("/sys/fs/cgroup")
PAGE = "http://127.0.0.1:8080/"
READY_SECONDS = 600
PROFILE = "setpoint-default"
LIMITS = """\
x-base: &base {image: "busybox:latest", network_mode: none, mem_limit: 16m, memswap_limit: 16m, restart: "no"}
services:
  killed: {<<: *base, command: [sh, -c, "x=$$(head -c 40000000 /dev/zero | tr '\\\\0' x)"]}
  lives: {<<: *base, command: [sh, -c, "(x=$$(head -c 40000000 /dev/zero | tr '\\\\0' x)); exec sleep 1000"]}
  spins: {<<: *base, cpus: 0.2, pids_limit: 5, command: [sh, -c, "while :; do :; done"]}
"""
# Emulation is up to twenty times slower.
ENVIRONMENT = {"HOME": "/root", "SETPOINT_PATIENCE_SECONDS": "200", "SETPOINT_HANG_SECONDS": "600"}


class Failed(Exception):
    """A check that did not hold, in words."""


def expect(holds: object, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


# --- what the checks look with -------------------------------------------------------------------


def run(*command: object, name: str = "last.log", seconds: float = 600) -> str:
    """The output of a command, kept as a file too; `Failed` with its end when the command fails."""
    words, kept = [str(word) for word in command], KEPT / name
    with kept.open("wb") as file:
        done = subprocess.run(
            ["timeout", str(seconds), *words], cwd=CHECKOUT, env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    output = kept.read_text(errors="replace")
    if done.returncode:
        last = "\n".join(output.strip().splitlines()[-30:])
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{last}")
    return output


def setpoint(*arguments: object, name: str = "last.log") -> str:
    return run(PROGRAM, *arguments, name=name)


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(setpoint("status", "-o", "json", name="status.json"))
    return found


def pids() -> dict[str, int]:
    """The first processes of the containers that run, by their object."""
    found = status()["objects"]
    return {each["key"]: one["pid"] for each in found for one in each.get("containers", ()) if one.get("pid")}


def page() -> str:
    with urllib.request.urlopen(PAGE, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


def until(condition: Callable[[], Any], what: str, seconds: float = READY_SECONDS) -> Any:
    """What the condition gives, once it is true. An error counts as not yet."""
    deadline = time.monotonic() + seconds
    error = ""
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except (Failed, OSError, ValueError) as failure:
            error = f"; last: {failure}"
        time.sleep(0.2)
    raise Failed(f"{what}: not so after {seconds:.0f} s{error}")


def main_pid(unit: str) -> int:
    return int(run("systemctl", "show", "--value", "-p", "MainPID", unit))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# --- the checks ----------------------------------------------------------------------------------


def is_as_most_machines_are() -> str:
    """pid 1 is systemd and cgroup v2 is all there is."""
    expect(Path("/proc/1/comm").read_text().strip() == "systemd", "pid 1 is not systemd")
    kinds = {
        line.split(" - ")[1].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()
    }
    expect("cgroup2" in kinds and "cgroup" not in kinds, "cgroups are not v2 alone")
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Linux {os.uname().release}, Python {version}, LSM {read('/sys/kernel/security/lsm')}"


def read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return "unknown"


def up_from_a_fresh_checkout() -> str:
    run("ops/up", name="up.log")
    return ""


def page_is_served() -> str:
    expect("It runs." in page(), "the page is another one")
    return ""


def status_is_ready() -> str:
    found = status()
    expect(found["ready"] and found["agent"] == "running", f"not ready: {json.dumps(found)[:600]}")
    return f"{len(found['objects'])} objects"


def doctor_finds_nothing_missing() -> str:
    found = run(PROGRAM, "doctor", name="doctor.log")
    missing = [line for line in found.splitlines() if line.startswith("missing")]
    expect(not missing, "\n".join(missing))
    return "; ".join(" ".join(line.split()) for line in found.splitlines() if line.startswith("warn"))


def up_again_changes_nothing() -> str:
    before = pids()
    run("ops/up", name="up-again.log")
    expect(pids() == before, f"other processes: {before}, then {pids()}")
    return ""


def devices_are_refused() -> str:
    """What a root of a container may not open: the disk that the machine runs from."""
    script = "mknod /tmp/disk b 254 0 && (head -c 1 /tmp/disk || echo refused); head -c 1 /dev/zero | wc -c"
    found = setpoint("exec", "hello/visitor", "--", "sh", "-c", script, name="devices.log")
    expect("refused" in found or "not permitted" in found.lower(), f"the disk could be read: {found!r}")
    expect(found.split()[-1] == "1", f"/dev/zero could not be read: {found!r}")
    return ""


def containers_are_confined() -> str:
    """Every process of every container runs under the instance's AppArmor profile, a further one too."""
    found = {key: read(f"/proc/{pid}/attr/apparmor/current") for key, pid in pids().items()}
    expect(found and set(found.values()) == {f"{PROFILE} (enforce)"}, f"{found}")
    script = "cat /proc/self/attr/apparmor/current; mkdir -p /tmp/m; mount -t tmpfs m /tmp/m || echo refused"
    inside = setpoint("exec", "hello/web", "--", "sh", "-c", script, name="confined.log")
    expect(f"{PROFILE} (enforce)" in inside and "refused" in inside, inside)
    return f"{len(found)} containers under {PROFILE}"


def limits_hold_and_are_told() -> str:
    """Out of memory is an event or an end with its reason; a changed limit needs no restart."""
    place, instance = Path("/srv/limits/limits"), ("--instance", "limits")
    place.mkdir(parents=True, exist_ok=True)
    (place / "compose.yaml").write_text(LIMITS)
    setpoint(*instance, "agent", "--detach", "--watch", place.parent, "--metrics", "127.0.0.1:0")
    try:
        setpoint(*instance, "image", "load", CHECKOUT / "build/busybox.tar")
        look_at_limits(place / "compose.yaml", instance)
    finally:
        run("ops/down", *instance, "--data", name="limits-down.log")
    return ""


def look_at_limits(manifest: Path, instance: tuple[str, ...]) -> None:
    def containers() -> dict[str, Any]:
        objects = json.loads(setpoint(*instance, "status", "-o", "json", name="limits.json"))["objects"]
        return {each["key"]: one for each in objects for one in each.get("containers", ())}

    def is_told(name: str) -> bool:
        key = f"limits/container/{name}"
        events = json.loads(setpoint(*instance, "events", key, "-o", "json", name=f"{name}-events.json"))
        return any(event["reason"] == "OutOfMemory" for event in events)

    killed = until(
        lambda: (one := containers().get("limits/container/killed")) and one["oom_killed"] and one,
        "killed for want of memory",
    )
    expect(killed["exit_code"] == 137, f"{killed}")
    until(lambda: is_told("lives"), "told that a process in a container that lives on was killed")
    spins = containers()["limits/container/spins"]["pid"]
    cgroup = CGROUP / read(f"/proc/{spins}/cgroup").partition("::/")[2]
    expect(cgroup.parent == CGROUP / "limits", f"{cgroup} is not where the instance's cgroups are")
    until(lambda: "nr_throttled 0" not in read(f"{cgroup}/cpu.stat"), "held back by cpu.max")
    manifest.write_text(LIMITS.replace("cpus: 0.2, pids_limit: 5", "cpus: 1.5, pids_limit: 6"))
    limits = ("150000 100000", "6")
    until(lambda: (read(f"{cgroup}/cpu.max"), read(f"{cgroup}/pids.max")) == limits, "the new limits")
    expect(containers()["limits/container/spins"]["pid"] == spins, "it was restarted for new limits")


def down_leaves_nothing() -> str:
    run("ops/down", "--data", name="down.log")
    left = [str(path) for path in (CGROUP / "setpoint", Path("/var/lib/setpoint")) if path.exists()]
    left += [line for line in run("nft", "list", "tables").splitlines() if "setpoint" in line]
    left += [line for line in read("/proc/self/mountinfo").splitlines() if "setpoint/" in line]
    left += [
        path.parent.name
        for path in Path("/sys/class/net").glob("*/ifalias")
        if path.read_text().startswith("setpoint/")
    ]
    left += [each.name for each in Path("/sys/kernel/security/apparmor/policy/profiles").glob(f"{PROFILE}.*")]
    expect(not left, "\n".join(left))
    return ""


def units_are_well_formed() -> str:
    for unit in UNITS:
        text = (CHECKOUT / "ops/systemd" / unit).read_text()
        text = text.replace("/srv/manifests", f"{CHECKOUT}/manifests/quickstart")
        (Path("/etc/systemd/system") / unit).write_text(text)
    run("systemctl", "daemon-reload")
    found = run("systemd-analyze", "verify", *(f"/etc/systemd/system/{unit}" for unit in UNITS))
    complaints = [line for line in found.splitlines() if "setpoint-" in line]
    expect(not complaints, "\n".join(complaints))
    return ""


def units_start() -> str:
    run("systemctl", "enable", "--now", *UNITS)
    setpoint("image", "load", CHECKOUT / "build/busybox.tar")
    setpoint("wait", "--for", "ready", "--timeout", f"{READY_SECONDS}s")
    expect("It runs." in page(), "the page is another one")
    return ""


def agent_stopped_containers_run_on() -> str:
    before = pids()
    run("systemctl", "stop", "setpoint-agent")
    gone = [key for key, pid in before.items() if not is_alive(pid)]
    expect(not gone, f"ended with the agent: {gone}")
    expect("It runs." in page(), "no page while the agent is down")
    expect(status()["agent"] == "down", "status does not say that the agent is down")
    run("systemctl", "start", "setpoint-agent")
    setpoint("wait", "--for", "ready", "--timeout", f"{READY_SECONDS}s")
    expect(pids() == before, f"other processes: {before}, then {pids()}")
    return ""


def supervisor_killed_containers_run_on() -> str:
    before, killed = pids(), main_pid("setpoint-supervisor")
    os.kill(killed, signal.SIGKILL)
    new = until(
        lambda: (pid := main_pid("setpoint-supervisor")) not in (0, killed) and pid, "a new supervisor"
    )
    check_adoption(before, new)
    return ""


def supervisor_stopped_containers_run_on() -> str:
    before, stopped = pids(), main_pid("setpoint-supervisor")
    run("systemctl", "restart", "setpoint-supervisor")
    new = until(
        lambda: (pid := main_pid("setpoint-supervisor")) not in (0, stopped) and pid, "a new supervisor"
    )
    check_adoption(before, new)
    return ""


def an_upgrade_is_taken_up_in_place() -> str:
    """As after `git pull`: the agent's restart has the supervisor become the new program, whose signs of life
    its service goes on to hear."""
    before, supervisor = pids(), main_pid("setpoint-supervisor")
    os.utime(CHECKOUT / "runtime/errors.py")  # which both have loaded
    expect("upgraded since" in setpoint("version"), "the agent does not know that it is outdated")
    run("systemctl", "restart", "setpoint-agent")
    until(lambda: "--resume" in read(f"/proc/{supervisor}/cmdline"), "the supervisor is the new program")
    heard = last_sign("setpoint-supervisor")
    until(lambda: last_sign("setpoint-supervisor") != heard, "a sign of life of the new program")
    check_adoption(before, supervisor)
    return ""


def last_sign(unit: str) -> str:
    return run("systemctl", "show", "--value", "--property", "WatchdogTimestampMonotonic", unit).strip()


def supervisor_killed_often_is_always_started_again() -> str:
    """More often than systemd's own limit of starts, five in ten seconds."""
    before, began = pids(), time.monotonic()
    for _ in range(8):
        pid = until(lambda: main_pid("setpoint-supervisor"), "a supervisor")
        os.kill(pid, signal.SIGKILL)
        wait_replaced("setpoint-supervisor", pid)
    took = time.monotonic() - began
    check_adoption(before, main_pid("setpoint-supervisor"))
    return f"eight times in {took:.0f} s"


def wait_replaced(unit: str, pid: int) -> None:
    until(lambda: main_pid(unit) not in (0, pid), f"another process of {unit}")


def those_that_hang_are_replaced() -> str:
    """Stopped by a signal both, which says no word more: their watchdogs end and replace them."""
    before, began = pids(), time.monotonic()
    hung = {unit: main_pid(unit) for unit in UNITS}
    for pid in hung.values():
        os.kill(pid, signal.SIGSTOP)
    for unit, pid in hung.items():
        wait_replaced(unit, pid)
    took = time.monotonic() - began
    expect("It runs." in page(), "no page while they hang")
    check_adoption(before, main_pid("setpoint-supervisor"))
    return f"within {took:.0f} s"


def check_adoption(before: dict[str, int], supervisor: int) -> None:
    """Same processes, and the new supervisor is one that can start and see them."""
    expect(all(is_alive(pid) for pid in before.values()), f"ended with it: {before}")
    expect("It runs." in page(), "the page is another one")
    until(lambda: status()["ready"] and pids() == before, "ready with the same processes")
    # Its connection may not be there yet: that alone makes nothing unready.
    until(lambda: setpoint("exec", "hello/web", "--", "echo", "done"), "a further process in a container")
    expect(main_pid("setpoint-supervisor") == supervisor, "the supervisor did not stay")


def killed_process_comes_back() -> str:
    before = pids()
    os.kill(before["hello/container/web"], signal.SIGKILL)
    until(
        lambda: pids().get("hello/container/web") not in (None, before["hello/container/web"]),
        "a new process",
    )
    until(lambda: status()["ready"] and "It runs." in page(), "ready and served")
    return ""


def links_keep_their_addresses() -> str:
    """udev gives new bridges and veths other hardware addresses where nobody has chosen one."""
    found = json.loads(run("ip", "-j", "link"))
    bridges = [
        one["ifname"]
        for one in found
        if read(f"/sys/class/net/{one['ifname']}/ifalias").startswith("setpoint/")
    ]
    kinds = {name: read(f"/sys/class/net/{name}/addr_assign_type") for name in bridges}
    expect(bridges and all(kind == "3" for kind in kinds.values()), f"not set by us (3): {kinds}")
    return ", ".join(bridges)


def what_is_broken_is_put_back() -> str:
    """Each kind of drift, those of the whole host too. How long a repair takes says nothing here."""
    try:
        run(PROGRAM, "drill", "--host", "--limit", "120s", name="drill.log", seconds=1200)
    except Failed:
        lines = (KEPT / "drill.log").read_text(errors="replace").splitlines()
        raise Failed("\n".join(line for line in lines if not line.startswith("ok "))) from None
    return (KEPT / "drill.log").read_text().strip().splitlines()[-1]


def kernel_tests_pass() -> str:
    site = run(CHECKOUT / ".venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(site.strip(), "vm-tests.pth").write_text(f"{HERE}/tests-site\n")
    chosen = json.loads((HERE / "plan.json").read_text())["pytest"]
    found = run(
        CHECKOUT / ".venv/bin/python", "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider",
        "--durations=15", *chosen,
        name="pytest.log", seconds=5400,
    )  # fmt: skip
    return found.strip().splitlines()[-1].strip("= ")


def kernel_has_nothing_to_say() -> str:
    text = run("dmesg", name="dmesg.log")
    # Profiles t… are of tests that try what is denied; others name a profile that is not there.
    bad = [
        line
        for line in text.splitlines()
        if re.search(r"DENIED|WARNING: |BUG: |Oops|hung task", line)
        and not re.search(r'profile="t[0-9a-f]{8}-|"change_onexec".*"label not found"', line)
    ]
    expect(not bad, "\n".join(bad[:5]))
    failed = run("systemctl", "--failed", "--no-legend", "--plain").strip()
    expect(not failed, failed)
    return ""


def reboot_brings_all_back() -> str:
    until(lambda: status()["ready"], "ready")
    expect("It runs." in page(), "the page is another one")
    since = float(read("/proc/uptime").split()[0])
    took = time.time() - json.loads(STATE.read_text())["rebooted_at"]
    return f"ready {since:.0f} s after the kernel started, {took:.0f} s after the reboot was asked for"


QUICK = (
    is_as_most_machines_are,
    up_from_a_fresh_checkout,
    page_is_served,
    status_is_ready,
    doctor_finds_nothing_missing,
    devices_are_refused,
    containers_are_confined,
    links_keep_their_addresses,
)
FIRST = (
    *QUICK,
    up_again_changes_nothing,
    limits_hold_and_are_told,
    down_leaves_nothing,
    units_are_well_formed,
    units_start,
    agent_stopped_containers_run_on,
    supervisor_killed_containers_run_on,
    supervisor_stopped_containers_run_on,
    an_upgrade_is_taken_up_in_place,
    supervisor_killed_often_is_always_started_again,
    those_that_hang_are_replaced,
    killed_process_comes_back,
    what_is_broken_is_put_back,
    kernel_tests_pass,
    kernel_has_nothing_to_say,
)
CHECKS = {"quick": QUICK, "tests": (kernel_tests_pass, kernel_has_nothing_to_say), "all": FIRST}
SECOND = (reboot_brings_all_back, killed_process_comes_back, kernel_has_nothing_to_say)


# --- running them --------------------------------------------------------------------------------


def main() -> None:
    KEPT.mkdir(exist_ok=True)
    plan = json.loads((HERE / "plan.json").read_text())
    state: dict[str, Any] = {"passed": 0, "failed": 0, "tests": ""}
    if STATE.exists():
        state |= json.loads(STATE.read_text())
    is_back = "rebooted_at" in state
    with Path("/dev/ttyS1").open("w", buffering=1) as terminal:
        checks = SECOND if is_back else CHECKS[plan["mode"]]
        is_over = is_back or plan["mode"] != "all"
        for check in checks:
            held, said = attempt(check, terminal)
            state["passed" if held else "failed"] += 1
            if check is kernel_tests_pass and held:
                state["tests"] = said
            if not held and check is up_from_a_fresh_checkout:
                is_over = True
                break
        if not is_over:
            state["rebooted_at"] = time.time()
            STATE.write_text(json.dumps(state))
            end("reboot")
            return
        keep_logs()
        state |= {
            "kernel": os.uname().release,
            "python": sys.version.split()[0],
            "systemd": systemd_version(),
        }
        (KEPT / "results.json").write_text(json.dumps(state))
        print(f"{state['passed']} passed, {state['failed']} failed", file=terminal)
    with Path("/dev/vdc").open("wb") as disk:
        subprocess.run(["tar", "-C", HERE, "-cf", "-", "kept"], stdout=disk, check=False)
    end("poweroff")


def systemd_version() -> str:
    return run("systemctl", "--version").split()[1]


def attempt(check: Callable[[], str], terminal: Any) -> tuple[bool, str]:
    """Whether it held, and what it said. One line a check; what failed, indented below it."""
    name, began = check.__name__.replace("_", " "), time.monotonic()
    try:
        word, said = "ok", check()
    except Failed as failure:
        word, said = "FAILED", str(failure)
    except Exception:
        word, said = "FAILED", traceback.format_exc()
    lines = list(shown(said))
    one = f"   {lines[0]}" if word == "ok" and len(lines) == 1 else ""
    print(f"{word:<6} {time.monotonic() - began:6.1f} s  {name}{one}", file=terminal)
    for line in [] if one else lines:
        print(f"       {line}", file=terminal)
    return word == "ok", said


def shown(text: str) -> Iterator[str]:
    for line in text.splitlines()[:40]:
        yield "".join(char if char.isprintable() else "?" for char in line)


def keep_logs() -> None:
    agent = Path("/var/lib/setpoint/agent.log")
    if agent.exists():
        (KEPT / "agent.log").write_bytes(agent.read_bytes())
    with (KEPT / "journal.log").open("wb") as file:
        subprocess.run(["journalctl", "--no-pager", "-o", "short-monotonic"], stdout=file, check=False)


def end(verb: str) -> None:
    os.sync()
    subprocess.run(["systemctl", "--no-block", verb], check=True)


if __name__ == "__main__":
    main()
