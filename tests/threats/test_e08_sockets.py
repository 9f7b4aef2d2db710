"""E8, CVE-2020-15257: sockets of the engine that a container in the host's network reaches."""

from __future__ import annotations

import os
import socket
import stat
import struct

from runtime.engine import NativeEngine
from tests.native import run, shell, until

NOBODY = 65534
PING = b'{"id":1,"op":"ping"}'


async def test_e8_none_has_an_abstract_name(engine: NativeEngine) -> None:
    script = "cat /proc/net/unix >/seen; touch /done; sleep 1000"
    config = shell(engine, "box", script)
    await run(engine, config)
    upper = engine.layout.containers / config.id / "upper"
    await until((upper / "done").exists)
    seen = (upper / "seen").read_text()
    names = [line.split()[-1] for line in seen.splitlines() if engine.layout.instance in line]
    assert names and all(name.startswith("/") for name in names)


async def test_e8_the_supervisor_answers_root_alone(engine: NativeEngine) -> None:
    path = engine.layout.supervisor_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)  # should the file's mode be lost, who asks still counts
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(path))
                connection.sendall(struct.pack("!I", len(PING)) + PING)
                code = 0 if connection.recv(100) == b"" else 2
        except ConnectionError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
