"""E4: the keys of the host."""

from __future__ import annotations

import platform

import pytest

from runtime import syscalls
from tests.kernel.runtime.conftest import Box

ADD_KEY, KEYCTL = 248, 250  # of x86_64
SESSION_KEYRING, SETPERM, POSSESSOR_ALL = -3, 5, 0x3F000000


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls are those of x86_64")
def test_e4_a_session_keyring_of_its_own(box: Box) -> None:
    """A key that only who has the session's keyring sees; with /proc/keys shown, which it is not."""
    syscalls.keyctl_join_session_keyring("host")
    key = syscalls.syscall_number(ADD_KEY, b"user", b"canary", b"secret", 6, SESSION_KEYRING)
    syscalls.syscall_number(KEYCTL, SETPERM, key, POSSESSOR_ALL)
    box.config["linux"]["maskedPaths"] = []
    with open("/proc/keys") as file:
        assert "canary" in file.read()
    launched = box.start("sh", "-c", "cat /proc/keys >/keys; touch /done; exec sleep 1000")
    assert "canary" not in box.exec(launched, "cat", "/proc/keys").output
    assert box.exec(launched, "sh", "-c", "while ! [ -e /done ]; do sleep 0.01; done; cat /keys").output
    assert "canary" not in box.exec(launched, "cat", "/keys").output
