"""The image that the drill runs: one program of some hundred bytes, which sleeps. Pure.

Made here, so that a drill needs no registry and no package: a static ELF file (elf(5)) whose code asks the
kernel to sleep until a signal, for ever.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile

from runtime.errors import Unsupported

NAME = "setpoint.local/drill:1"
PROGRAM = "/sleep"
_LOAD_AT = 0x400000
_HEADERS_BYTES = 64 + 56
# pause(2) on x86-64; ppoll(2) with nothing to wait for elsewhere. Then again.
_CODE = {
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    "aarch64": (183, bytes.fromhex("000080d2 010080d2 020080d2 030080d2 280980d2 010000d4 faffff17")),
    "riscv64": (243, bytes.fromhex("13050000 93050000 13060000 93060000 93089004 73000000 6ff0dffe")),
}


def archive() -> bytes:
    """A root file system as a tar: the program, and a place for volumes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("data", "etc", "proc", "dev", "sys"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        program = tarfile.TarInfo(PROGRAM[1:])
        content = elf(os.uname().machine)
        program.size, program.mode = len(content), 0o755
        tar.addfile(program, io.BytesIO(content))
    return buffer.getvalue()


def elf(machine: str) -> bytes:
    """The program for a machine of uname(2). Unsupported for one that we have no code for."""
    if machine not in _CODE:
        raise Unsupported("drill", machine, "there is no program for this processor", "")
    number, code = _CODE[machine]
    size = _HEADERS_BYTES + len(code)
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    entry = _LOAD_AT + _HEADERS_BYTES
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_AT, _LOAD_AT, size, size, 0x1000)
    return identity + header + segment + code
