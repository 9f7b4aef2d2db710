"""What several attacks are made with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import SetpointError
from tests.kernel.runtime.conftest import Box, Run

RACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
while True:
    libc.renameat2(-100, sys.argv[2].encode(), -100, sys.argv[3].encode(), 2)
"""
LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
sys.stdin.read()
"""


def rounds(usual: int) -> int:
    """How often a race is tried: SETPOINT_RACES times as often as usual, for a long run."""
    return usual * int(os.environ.get("SETPOINT_RACES", "1"))


def attempt(box: Box, *argv: str) -> Run:
    """Run what may be refused, before or in the child."""
    try:
        return box.run(*(argv or ("true",)))
    except SetpointError as error:
        return Run(
            125, str(error), [{"error": {"op": error.op, "subject": error.subject, "reason": error.reason}}]
        )


def replace_directory(box: Box, name: str, link: str) -> None:
    """Make a directory of the base image a link in the layer above it."""
    (box.layer / name).symlink_to(link)


@contextlib.contextmanager
def exchanging(directory: Path, one: str, other: str) -> Iterator[None]:
    """Two names in a directory change places (RENAME_EXCHANGE) all the time."""
    racer = subprocess.Popen([sys.executable, "-c", RACE, str(directory), one, other])
    try:
        yield
    finally:
        racer.kill()
        racer.wait()


LEASE_SECONDS = 30.0


@contextlib.contextmanager
def lease_on(path: Path | str) -> Iterator[None]:
    """A write lease (fcntl(2)) that its holder does not give up: who opens the file waits for 45 s, and who
    does not is done in LEASE_SECONDS on any machine."""
    with subprocess.Popen(
        [sys.executable, "-c", LEASE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"leased\n"
            yield
        finally:
            holder.kill()
