"""E2 and A1 with userns_mode: auto: root inside, with all capabilities, is nobody outside."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import security
from runtime.engine import NativeEngine
from runtime.errors import Invalid, SetpointError
from runtime.layout import Layout
from runtime.model import Security
from tests.kernel.runtime.conftest import Box, messages_of, mount
from tests.kernel.runtime.own_ids import FIRST, give_ids, owner
from tests.native import config_of, run

AUTO = Security(user_namespace="auto")
# Run as the host's id of a container's root, as one that got out of all its other namespaces would be.
_OPEN_ALL = """
import os, sys
os.setgroups(()); os.setresgid(*[int(sys.argv[1])] * 3); os.setresuid(*[int(sys.argv[1])] * 3)
for path in sys.stdin.read().split("\\0"):
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW))
            print(path)
        except OSError:
            pass
"""


@pytest.fixture
def mighty(box: Box) -> Box:
    """All capabilities, no filter, nothing hidden, nothing read-only."""
    give_ids(box)
    caps = list(security.CAPABILITIES)
    box.config["process"]["capabilities"] = {"bounding": caps, "effective": caps, "permitted": caps}
    box.config["linux"] |= {"maskedPaths": [], "readonlyPaths": []}
    return box


@pytest.mark.usefixtures("host_settings")
def test_e2_all_capabilities_and_nothing_hidden_change_nothing_of_the_host(mighty: Box) -> None:
    script = (
        "echo h > /proc/sysrq-trigger; echo x > /proc/sys/kernel/core_pattern; mknod /n b 7 0;"
        "cat /proc/kcore; echo x > /sys/kernel/uevent_helper; mount -t cgroup -o devices x /tmp; dmesg -c;"
        "mount -o remount,rw /sys/fs/cgroup; mkdir /sys/fs/cgroup/x; chroot /proc/1/root mknod /m c 1 1"
    )
    told = mighty.run("sh", "-c", f"for each in 1; do {script}; done; echo end").output
    refused = sum(told.count(word) for word in ("denied", "not permitted", "nonexistent", "an't", "No such"))
    assert refused >= 9 and told.endswith("end\n"), told


def test_e2_what_hides_a_path_is_locked(mighty: Box) -> None:
    """The same capabilities without a user namespace take the cover off."""
    mighty.config["linux"]["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    mighty.config["linux"]["readonlyPaths"] = ["/proc/sys"]
    script = (
        "for each in /proc/keys /sys/firmware /proc/sys; do umount $each || echo locked; done;"
        "mount -o remount,bind,rw /proc/sys || echo locked; mount -t proc proc /tmp || echo locked"
    )
    assert mighty.run("sh", "-c", script).output.count("locked") == 5


def test_e2_root_inside_is_an_id_without_rights(box: Box) -> None:
    launched = give_ids(box).start("sleep", "100")
    status = Path(f"/proc/{launched.pid}/status").read_text().splitlines()
    ids = [line.split()[1:] for line in status if line.startswith(("Uid:", "Gid:"))]
    assert ids == [[str(FIRST)] * 4] * 2
    own = Path("/proc/self/ns/user").readlink()
    for kind in ("user", "mnt", "ipc", "uts", "cgroup"):
        assert Path(f"/proc/{launched.pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    assert Path(f"/proc/{launched.pid}/ns/user").readlink() != own


def test_e2_a_setuid_program_on_a_volume_is_of_the_unshifted_owner(box: Box, tmp_path: Path) -> None:
    """Which is why a volume's directory is not for the host's users to enter."""
    box.config["mounts"].append(mount("/srv", "bind", "rbind", "ridmap", source=str(tmp_path)))
    give_ids(box).run("sh", "-c", "cp /bin/busybox /srv/su; chmod 4755 /srv/su; cp /bin/busybox /tmp/su")
    assert owner(tmp_path / "su") == (0, 0)
    assert (tmp_path / "su").stat().st_mode & 0o7777 == 0o4755


async def test_e2_no_state_of_the_engine_opens_for_root_of_a_container(
    engine: NativeEngine, instance: Layout
) -> None:
    ids = []
    for name in ("one", "two"):
        config = config_of(engine, name, "sleep", "100", security=AUTO)
        await run(engine, config)
        state = engine.state(config.id)
        assert state is not None
        ids.append(int(Path(f"/proc/{state.pid}/uid_map").read_text().split()[1]))
    assert len(set(ids)) == 2
    paths = [
        os.path.join(place, name)
        for root in (instance.data, instance.run)
        for place, _, names in os.walk(root)
        for name in names
    ]
    assert len(paths) > 20
    for first in ids:
        found = subprocess.run(
            [sys.executable, "-c", _OPEN_ALL, str(first)], input="\0".join(paths),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"security": replace(AUTO, privileged=True)}, "privileged"),
        ({"pid_mode": "container:"}, "another user namespace"),
        ({"ipc_mode": "container:"}, "another user namespace"),
    ],
)
async def test_e2_what_would_take_the_boundary_away_is_refused(
    engine: NativeEngine, change: dict[str, object], reason: str
) -> None:
    other = config_of(engine, "other", "sleep", "100", security=AUTO)
    await run(engine, other)
    full = {key: f"{value}{other.id}" if value == "container:" else value for key, value in change.items()}
    config = config_of(engine, "mine", "sleep", "100", **({"security": AUTO} | full))
    with pytest.raises(Invalid, match=reason):
        await run(engine, config)


def test_a1_the_joining_interpreter_is_neither_seen_nor_written(box: Box) -> None:
    """Root inside looks at every process of its pid namespace for a way to the host's program."""
    loop = (
        "while :; do for p in /proc/[0-9]*; do l=$(readlink $p/exe) && case $l in *python*) echo $l;; esac;"
        " (exec 3>>$p/exe) 2>/dev/null && echo written; done; done"
    )
    box.config["annotations"]["setpoint.groups"] = "[]"
    give_ids(box)
    reader, writer = os.pipe()
    try:
        launched = box.launch("sh", "-c", loop, stdout=writer)
    finally:
        os.close(writer)
    assert not messages_of(launched)
    for _ in range(20):
        assert box.exec(launched, "true").status == 0
    os.kill(launched.pid, 9)
    assert box.collect(launched, reader).output == ""


async def test_e2_many_starts_at_once_have_ranges_of_their_own(engine: NativeEngine) -> None:
    configs = [config_of(engine, f"c{n}", "sleep", "100", security=AUTO) for n in range(8)]
    done = await asyncio.gather(*(run(engine, config) for config in configs), return_exceptions=True)
    assert not [each for each in done if isinstance(each, SetpointError)]
    pids = [state.pid for state in engine.list()]
    assert len({Path(f"/proc/{pid}/uid_map").read_text() for pid in pids}) == 8
