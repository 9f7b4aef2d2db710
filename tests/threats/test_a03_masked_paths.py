"""A3, CVE-2025-31133: what hides a path is taken from the image."""

from __future__ import annotations

from tests.kernel.runtime.conftest import Box


def test_a3_masks_do_not_come_from_the_image(box: Box, host_settings: None) -> None:
    """CVE-2025-31133: /dev/null of the image is a link to what the attacker wants bound."""
    (box.layer / "dev").mkdir()
    (box.layer / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    found = box.run(
        "sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; echo x > /proc/keys; stat -c %t:%T /proc/keys"
    )
    assert found.output.split() == ["0", "1:3"]
