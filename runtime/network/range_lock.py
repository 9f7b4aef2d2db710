"""One instance at a time looks for a free range of addresses and takes it. Used by `networks`.

Two that look at once find the same one free. Their bridges then had one subnet: the host answers by one of
them, and what is sent on the other is lost, for as long as both are there.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)
FILE = "setpoint.networks.lock"  # beside the instances' run directories, root's alone
_LOOK_SECONDS, _LONGEST_SECONDS = 0.002, 1.0


@contextlib.contextmanager
def alone(run_root: Path) -> Iterator[None]:
    """Who holds it for long has a disk that does not answer: then it is not waited for."""
    descriptor = os.open(run_root / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _take(descriptor):
            log.warning("another instance has been making a network for a second: it may be the same subnet")
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    until = time.monotonic() + _LONGEST_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_SECONDS)
