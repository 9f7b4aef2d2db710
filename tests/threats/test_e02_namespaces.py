"""E2, CVE-2022-0492, CVE-2022-0185: new namespaces, and mounts in them."""

from __future__ import annotations

from tests.kernel.runtime.conftest import Box


def test_e2_no_new_namespaces_or_mounts_inside(box: Box) -> None:
    found = box.run("sh", "-c", "mount -t tmpfs x /tmp; unshare -U true; unshare -m true; echo end")
    assert found.output.count("denied") + found.output.count("not permitted") >= 2
