"""B8, CVE-2022-23648, CVE-2020-1726: volumes that an image declares where they must not be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.images.config import parse_config
from tests.kernel.runtime.conftest import Box, mount
from tests.threats.attack import attempt


@pytest.mark.parametrize(
    "target",
    [
        "", "/", "..", "/../../etc", "/proc", "/proc/1", "/sys/fs", "/dev/shm", "/./", "//", "/a/../..",
        "/x\0y", "relative",
    ],
)  # fmt: skip
def test_b8_a_target_that_is_none_is_refused(target: str) -> None:
    document = {"config": {"Volumes": {target: {}}}, "rootfs": {"type": "layers", "diff_ids": []}}
    with pytest.raises(Invalid):
        parse_config(json.dumps(document).encode(), "sha256:" + "0" * 64)


def test_b8_more_volumes_than_a_container_can_have_are_refused() -> None:
    names = {f"/v{number}": {} for number in range(10_000)}
    document = {"config": {"Volumes": names}, "rootfs": {"type": "layers", "diff_ids": []}}
    with pytest.raises(Invalid, match="more than 128 volumes"):
        parse_config(json.dumps(document).encode(), "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "link",
    [
        "/dev", "/dev/pts", "/proc", "/proc/sys/kernel", "/proc/self/fd", "/sys/firmware", "/sys", "/etc",
        "/", "{up}{canary}",
    ],
)  # fmt: skip
def test_b8_a_target_by_a_link_of_the_image_stays_inside(
    box: Box, canary: Path, tmp_path: Path, host_settings: None, link: str
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "core_pattern").write_text("mine")
    (box.layer / "link").symlink_to(link.format(up="../" * 20, canary=canary))
    box.config["mounts"].append(mount("/link", "bind", "bind", source=str(volume)))
    found = attempt(
        box, "sh", "-c", "cat /proc/sys/kernel/core_pattern; echo x >/proc/sysrq-trigger; echo end"
    )
    assert found.status == 125 or "mine" not in found.output
    assert str(volume) not in Path("/proc/self/mountinfo").read_text()
