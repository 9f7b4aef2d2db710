"""A6, CVE-2026-41579, CVE-2026-47766: /dev of the image leads elsewhere."""

from __future__ import annotations

from pathlib import Path

from tests.kernel.runtime.conftest import Box
from tests.threats.attack import attempt, replace_directory


def test_a6_dev_to_a_place_outside(box: Box, canary: Path) -> None:
    replace_directory(box, "dev", f"../../../../../../../..{canary}")
    assert attempt(box).status == 125
