"""E4: the keys of the host."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.kernel.runtime.conftest import Box


def test_e4_a_session_keyring_of_its_own(box: Box) -> None:
    def keyring() -> str:
        return next(line for line in Path("/proc/keys").read_text().splitlines() if "_ses" in line)

    with suppress(StopIteration):
        keyring()
    launched = box.start("sleep", "1000")
    assert box.exec(launched, "cat", "/proc/keys").output == ""
