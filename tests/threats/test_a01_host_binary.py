"""A1, CVE-2019-5736: the container gets hold of the program that starts it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

from runtime.engine import NativeEngine
from runtime.errors import SetpointError
from runtime.supervisor import interpreter
from tests.kernel.runtime.conftest import Box
from tests.native import config_of, run, supervisor_pid
from tests.threats.attack import exchanging, rounds


def test_a1_the_interpreter_is_not_to_be_had(box: Box) -> None:
    """CVE-2019-5736: an entrypoint that is, or names, the program that starts it."""
    script = box.layer / "start"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    (box.layer / "exe").symlink_to("/proc/self/exe")
    for argv in ("/start", "/exe", "/proc/self/exe"):
        found = box.run(argv)
        assert found.status == 126 and "symbolic links" in found.error, found


def is_read_only(pid: int) -> bool:
    return bool(os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY)


async def test_a1_who_forks_into_containers_runs_from_a_read_only_mount(engine: NativeEngine) -> None:
    """So that who wins a race for /proc/self/exe has nothing that can be written to; also after the
    supervisor has executed itself anew."""
    pid = await supervisor_pid(engine)
    assert is_read_only(pid)
    before = Path(f"/proc/{pid}/stat").read_text().split()[21]
    await engine._client.call("reexec")
    assert await supervisor_pid(engine) == pid
    assert is_read_only(pid)
    assert Path(f"/proc/{pid}/stat").read_text().split()[21] == before


def test_a1_nothing_of_the_host_is_to_be_written_to_through_the_mount(tmp_path: Path) -> None:
    """The same with a program that nobody runs, which is what an attacker waits for."""
    program = tmp_path / "program"
    program.write_text("whole")
    was, sys.executable = sys.executable, str(program)
    try:
        descriptor = interpreter.open_read_only()
    finally:
        sys.executable = was
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/self/fd/{descriptor}", flags))
            raise AssertionError("it was opened for writing")
    os.close(descriptor)
    assert program.read_text() == "whole"


async def test_a1_a_race_for_the_interpreter(engine: NativeEngine) -> None:
    """What is checked is a program of the image, what is executed a link to /proc/self/exe."""
    hashed = hashlib.sha256(Path(sys.executable).resolve().read_bytes()).digest()
    config = config_of(engine, "box", "sleep", "1000")
    await run(engine, config)
    root = Path("/proc", str(engine._index.pid_of(config.id)), "root")
    (root / "tmp/link").symlink_to("/proc/self/exe")
    (root / "tmp/target").write_bytes((root / "bin/true").read_bytes())
    (root / "tmp/target").chmod(0o755)
    pid = await supervisor_pid(engine)
    begun = time.monotonic()
    with exchanging(root / "tmp", "target", "link"):
        for _ in range(rounds(10)):
            commands = (engine.exec(config.id, ["/tmp/target"], timeout_seconds=5) for _ in range(10))
            for result in await asyncio.gather(*commands, return_exceptions=True):
                assert not isinstance(result, BaseException) or isinstance(result, SetpointError)
    assert time.monotonic() - begun < 60 * rounds(1)
    assert is_read_only(pid)
    assert hashlib.sha256(Path(sys.executable).resolve().read_bytes()).digest() == hashed
