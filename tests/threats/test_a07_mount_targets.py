"""A7, CVE-2021-30465: the place of a mount is exchanged while it is mounted."""

from __future__ import annotations

from pathlib import Path

from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import attempt, exchanging, rounds


def test_a7_a_target_exchanged_with_a_link_while_it_is_mounted(
    box: Box, canary: Path, tmp_path: Path
) -> None:
    """CVE-2021-30465: another container swaps a directory of a shared volume for a link."""
    shared = tmp_path / "shared"
    (shared / "target").mkdir(parents=True)
    (shared / "link").symlink_to(f"../../../../../../../../..{canary}")
    box.config["mounts"] += [
        mount("/shared", "bind", "rbind", source=str(shared)),
        mount("/shared/target", "tmpfs", "size=4096"),
        mount("/shared/target/made/deep", "tmpfs", "size=4096"),
    ]
    with exchanging(shared, "target", "link"):
        for _ in range(rounds(60)):
            attempt(box)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
