"""The host goes off, without a word to anybody, and comes up again: another boot id, nothing of ours in the
kernel, an empty /run. What is wanted runs again, by the rules of its restart policy, and nothing is left of
the life before.

The boot id is changed for the agent alone, in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups, syscalls
from tests import leaks

from .conftest import AgentProcess, until

RUNS = "[sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.1; done']"
SERVICES = f"""\
services:
  unsaid: {{image: 'busybox:latest', command: {RUNS}, ports: ['127.0.0.1::80']}}
  always: {{image: 'busybox:latest', command: {RUNS}, restart: always, volumes: [data:/data]}}
  unless: {{image: 'busybox:latest', command: {RUNS}, restart: unless-stopped}}
  on-failure: {{image: 'busybox:latest', command: {RUNS}, restart: on-failure}}
  never: {{image: 'busybox:latest', command: {RUNS}, restart: 'no'}}
  done: {{image: 'busybox:latest', command: ['true'], restart: 'no'}}
  failed: {{image: 'busybox:latest', command: [sh, -c, exit 3], restart: 'no'}}
  stopped: {{image: 'busybox:latest', command: {RUNS}, restart: always, ensure: stopped}}
volumes:
  data:
"""
RUN_AGAIN = ("unsaid", "always", "unless", "on-failure")


class Host(AgentProcess):
    """An agent on a machine that can lose its power."""

    boots = 0

    def command(self, *options: str) -> list[str]:
        """With the boot id of this boot, once there was another."""
        if not self.boots:
            return super().command(*options)
        file = self.manifests.parent / f"boot_id{self.boots}"
        file.write_text(f"{uuid.uuid4()}\n")
        bind = f'mount --bind {file} /proc/sys/kernel/random/boot_id && exec "$@"'
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            bind,
            "sh",
            *super().command(*options),
        ]

    def lose_power(self) -> None:
        """Everything that only the kernel and /run know of is gone; nobody could write anything down."""
        supervisors = [
            pid for pid in leaks.processes(self.layout) if "supervisor/main.py" in leaks.command_of(pid)
        ]
        self.end(signal.SIGKILL)
        for pid in (*supervisors, *leaks.processes(self.layout)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not leaks.processes(self.layout))
        for point in leaks.mounts(self.layout):
            subprocess.run(["umount", "-l", point], check=True)
        for name in leaks.link_names(self.layout):
            subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
        for table in leaks.tables(self.layout):
            subprocess.run(["nft", "delete", "table", *table.split()], check=True)
        parent = self.layout.cgroup_parent
        for name in (parent, f"{parent}.supervisor", *self.layout.side_cgroups):
            cgroups.delete(f"/{name}")
        shutil.rmtree(self.layout.run, ignore_errors=True)
        assert leaks.find_leaks(self.layout) == []
        self.boots += 1
        # In memory, as on most machines: the agent would mount it where only its own namespace sees it.
        self.layout.run.mkdir(mode=0o711)
        syscalls.mount("run", str(self.layout.run), "tmpfs", 0, "mode=711")


@pytest.fixture
def host(agent: AgentProcess, busybox_archive: Path) -> Host:
    (agent.manifests / "shop" / "compose.yaml").write_text(SERVICES)
    agent.__class__ = Host
    assert isinstance(agent, Host)
    agent.start()
    list(agent.client.load_image(busybox_archive))
    until(lambda: phases(agent).get("failed") == "Failed" and phases(agent).get("done") == "Completed")
    until(lambda: all(phases(agent).get(name) == "Running" for name in (*RUN_AGAIN, "never")))
    return agent


def objects(host: AgentProcess) -> dict[str, dict[str, Any]]:
    return {
        o["key"].rpartition("/")[2]: o for o in host.client.status()["objects"] if "/container/" in o["key"]
    }


def phases(host: AgentProcess) -> dict[str, str]:
    return {name: str(found["phase"]) for name, found in objects(host).items()}


def addresses(host: AgentProcess) -> list[str]:
    return sorted(
        address
        for found in objects(host).values()
        for container in found["containers"]
        for address in container["addresses"].values()
    )


def test_after_a_reboot_it_is_as_restart_policies_say(host: Host) -> None:
    ids = {name: [c["id"] for c in found["containers"]] for name, found in objects(host).items()}
    first = addresses(host)
    assert len(first) == len(RUN_AGAIN) + 1
    for _ in range(2):  # the second time, what the first left behind would show
        host.lose_power()
        host.start()
        # Processes are the kernel's: until the first look all else is what the store remembers.
        until(lambda: [Path(f"/proc/{pid}").exists() for pid in host.pids()] == [True] * len(RUN_AGAIN))
        until(lambda: len(addresses(host)) == len(RUN_AGAIN))
        until(lambda: all(phases(host)[name] == "Running" for name in RUN_AGAIN))
        found = objects(host)
        assert {name: [c["id"] for c in each["containers"]] for name, each in found.items()} == ids
        assert (found["never"]["phase"], found["done"]["phase"]) == ("Failed", "Completed")
        assert found["stopped"]["phase"] == "Stopped"
        assert "code 3" in found["failed"]["message"]
        assert "its exit code is lost" in found["never"]["message"], (
            "it did not end with a code that anybody saw"
        )
        (container,) = found["never"]["containers"]
        assert container["exit_code"] is None
        assert len(addresses(host)) == len(set(addresses(host))) == len(RUN_AGAIN)
        assert host.pids() and len(host.pids()) == len(RUN_AGAIN)
        # Those of before are free again: the lowest are given out, from .2 on.
        assert max(int(address.rpartition(".")[2]) for address in addresses(host)) <= 1 + len(first)


def test_a_container_that_ended_well_before_is_not_said_to_have_been_killed(host: Host) -> None:
    before = objects(host)["done"]["containers"][0]
    host.lose_power()
    host.start()
    until(lambda: phases(host).get("always") == "Running")
    after = objects(host)["done"]["containers"][0]
    assert after["exit_code"] == before["exit_code"] == 0
    assert after["finished_at"] == before["finished_at"] < time.time()
