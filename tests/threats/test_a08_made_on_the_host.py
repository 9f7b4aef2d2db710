"""A8, CVE-2024-45310: directories and files that are made follow a link out of the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import attempt


@pytest.mark.parametrize("name", ["", "/new"])
@pytest.mark.parametrize("kind", ["cwd", "mount", "tmpfs", "file"])
@pytest.mark.parametrize("up", ["", "../../../../../../../../../.."])
def test_a8_nothing_is_made_on_the_host(box: Box, canary: Path, kind: str, up: str, name: str) -> None:
    """CVE-2024-45310: the place of a mount or a working directory is made where a link leads."""
    (box.layer / "link").symlink_to(f"{up}{canary}{name}")
    source = str(canary / "marker") if kind == "file" else str(canary)
    if kind == "cwd":
        box.config["process"]["cwd"] = "/link/deep"
    elif kind == "tmpfs":
        box.config["mounts"].append(mount("/link/deep", "tmpfs"))
    else:
        box.config["mounts"].append(mount("/link/deep", "bind", "rbind", "ro", source=source))
    attempt(box)
