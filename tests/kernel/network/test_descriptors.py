"""Descriptor numbers: a process with thousands of open files still changes the firewall."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runtime.layout import Layout
from runtime.network.remove import remove_all

REPOSITORY = Path(__file__).resolve().parents[3]

CROWDED = """
import os, resource, sys
from runtime import descriptors, syscalls
from runtime.layout import Layout
from runtime.model import NetworkConfig
from runtime.network.networks import Networks

syscalls.unshare(syscalls.CLONE_NEWNET)
descriptors.make_room()
networks = Networks(Layout(sys.argv[1]))
networks.open()
null = os.open("/dev/null", os.O_RDONLY)
while os.dup(null) < 1100:
    pass
networks.create(NetworkConfig("web"))
print(networks._table.differences())
"""

ROOM = """
import os, threading
from pathlib import Path
from runtime import descriptors

done = threading.Event()
threading.Thread(target=done.wait).start()
descriptors.make_room()
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("FDSize:")))
done.set()
"""


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_firewall_changes_when_all_low_descriptors_are_taken(instance: Layout) -> None:
    """libnftables calls select(2), and aborts for a socket with a number of 1024 or more."""
    done = _python(CROWDED, instance.instance)
    remove_all(instance)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_table_of_descriptors_is_as_large_as_it_gets_before_there_are_many() -> None:
    done = _python(ROOM)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 8192
