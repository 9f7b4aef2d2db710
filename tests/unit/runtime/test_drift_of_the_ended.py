"""A process that has ended, and that its parent has not heard of, is no damage to look for."""

from __future__ import annotations

import os
import subprocess

from runtime.drift.containers import _has_ended


def test_who_has_ended() -> None:
    assert not _has_ended(os.getpid())
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie from here on
    assert _has_ended(child.pid)
    child.wait()
    assert _has_ended(child.pid)
