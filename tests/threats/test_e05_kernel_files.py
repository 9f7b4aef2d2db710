"""E5, GHSA-jq35-85cj-fj4p, CVE-2018-10892: what sysfs and procfs tell of the host, and let be changed."""

from __future__ import annotations

import pytest

from runtime import security
from runtime.engine import NativeEngine
from tests.kernel.runtime.conftest import Box
from tests.native import config_of, ended, output, run

SCRIPT = """
for path in "$@"; do
  if [ -d $path ]; then ls -A $path | grep . && echo "$path shows"
  elif [ -e $path ]; then cat $path 2>/dev/null | grep -q . && echo "$path shows"; fi
  [ -e $path ] && (echo h >$path/new) 2>/dev/null && echo "$path takes"
done
echo end
"""
WRITES = """
for path in /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/irq/default_smp_affinity \
  /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run /proc/bus/x /proc/sys/vm/drop_caches /sys/module/x; do
  (echo h >$path) 2>/dev/null && echo "$path takes"
done
echo end
"""


def test_e5_hidden_paths_show_nothing(box: Box) -> None:
    assert box.run("sh", "-c", SCRIPT, "sh", *security.MASKED_PATHS).output == "end\n"


def test_e5_nothing_of_the_kernel_is_to_be_changed(box: Box, host_settings: None) -> None:
    assert box.run("sh", "-c", WRITES).output == "end\n"


CGROUP = """
    find /sys/fs/cgroup -type f | while read file; do (echo 1 >$file) 2>/dev/null && echo "$file takes"; done
    mkdir /sys/fs/cgroup/new 2>/dev/null && echo made
    find /sys/fs/cgroup -name cgroup.procs | grep -q . && echo end
"""


def test_e2_the_own_cgroup_is_not_to_be_changed(box: Box) -> None:
    """CVE-2022-0492: release_agent; and the rules for devices."""
    assert box.run("sh", "-c", CGROUP).output == "end\n"


@pytest.mark.parametrize("script", [SCRIPT, WRITES, CGROUP])
async def test_e2_e5_by_the_engines_own_defaults(
    engine: NativeEngine, host_settings: None, script: str
) -> None:
    config = config_of(engine, "box", "sh", "-c", script, "sh", *security.MASKED_PATHS)
    await run(engine, config)
    await ended(engine, config.id)
    assert output(engine, config.id) == b"end\n"
