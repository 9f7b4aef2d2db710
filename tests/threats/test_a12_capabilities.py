"""A12, CVE-2022-27649, CVE-2022-24769: capabilities that are inherited."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.runtime.conftest import Box


@pytest.mark.parametrize("user", ["", "web"])
def test_a12_no_capability_is_inherited(box: Box, user: str) -> None:
    box.config["process"]["user"]["username"] = user
    launched = box.start("sleep", "1000")
    inside = box.exec(launched, "grep", "Cap", "/proc/self/status").output
    first = Path(f"/proc/{launched.pid}/status").read_text()
    for text in (inside, first):
        sets = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
        assert sets["CapInh"] == sets["CapAmb"] == "0" * 16
        assert sets["CapBnd"] == "00000000a80425fb"
        assert sets["CapEff"] == sets["CapPrm"] == ("0" * 16 if user else "00000000a80425fb")


def test_no_new_privileges(box: Box) -> None:
    box.config["process"]["noNewPrivileges"] = True
    assert "NoNewPrivs:\t1" in box.run("cat", "/proc/self/status").output
