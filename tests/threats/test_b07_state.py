"""B7, CVE-2024-25621, CVE-2021-41091: other users of the host walk to files of containers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from runtime.engine import NativeEngine
from runtime.model import EndpointConfig, MountConfig, NetworkConfig, SandboxConfig
from tests.native import run, shell, until

NOBODY = 65534


def reachable(paths: list[Path]) -> list[str]:
    """Those that a user without rights can read, write, enter or connect to."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            found = [str(path) for path in paths if _can_use(path)]
            os.write(writer, "\n".join(found).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text.split("\n") if text else []


def _can_use(path: Path) -> bool:
    if any(os.access(path, mode) for mode in (os.R_OK, os.W_OK, os.X_OK)):
        return True
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True


async def test_b7_nothing_of_an_instance_is_for_others(engine: NativeEngine) -> None:
    await engine.create_network(NetworkConfig(name="net"))
    script = "cp /bin/busybox /root-shell; chmod 4755 /root-shell; chmod 777 / /data; touch /done; sleep 1000"
    config = shell(
        engine, "box", script, mounts=(MountConfig("volume", "/data", "data"),),
        sandbox=SandboxConfig("own", id="one", endpoints=(EndpointConfig("net"),)),
    )  # fmt: skip
    await run(engine, config)
    upper = engine.layout.containers / config.id / "upper"
    await until((upper / "done").exists)
    assert (upper / "root-shell").stat().st_mode & 0o4000
    layout = engine.layout
    paths = [path for top in (layout.data, layout.run) for path in (top, *top.rglob("*"))]
    assert len(paths) > 50
    assert reachable(paths) == [str(layout.run)]  # to be passed through, and no more
    assert layout.run.stat().st_mode & 0o777 == 0o711
    assert layout.data.stat().st_mode & 0o777 == 0o700
