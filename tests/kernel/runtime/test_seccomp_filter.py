"""The default filter on the real kernel: loaded into a forked child, one call after the other."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import socket
from collections.abc import Callable

import pytest

from runtime import seccomp, security, syscalls
from runtime.seccomp_default import default_profile
from tests.kernel.runtime.conftest import Box

pytest.importorskip("pyseccomp")
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers here are x86-64's")

NUMBERS = {
    "clone": 56, "mount": 165, "unshare": 272, "setns": 308, "bpf": 321, "userfaultfd": 323, "add_key": 248,
    "request_key": 249, "keyctl": 250, "io_uring_setup": 425, "io_uring_enter": 426, "kexec_load": 246,
    "init_module": 175, "finit_module": 313, "delete_module": 176, "perf_event_open": 298, "reboot": 169,
    "open_by_handle_at": 304, "swapon": 167, "settimeofday": 164, "iopl": 172, "ioperm": 173, "acct": 163,
    "move_pages": 279, "lookup_dcookie": 212, "fsopen": 430, "fsmount": 432, "move_mount": 429,
    "open_tree": 428,
    "mount_setattr": 442, "pivot_root": 155, "quotactl": 179, "syslog": 103, "vhangup": 153, "kcmp": 312,
    "mbind": 237, "set_mempolicy": 238, "uselib": 134, "ustat": 136, "sysfs": 139, "nfsservctl": 180,
}  # fmt: skip


@pytest.fixture(scope="module")
def program() -> bytes:
    return seccomp.compile_profile(default_profile(security.DEFAULT_CAPABILITIES, "x86_64"))


def under_filter(program: bytes, work: Callable[[], int]) -> int:
    """What `work` returned in a child with the filter: an errno, 0 for success."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.seccomp_set_filter(program)
        os.write(writer, str(work()).encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 16)
    os.close(reader)
    os.waitpid(pid, 0)
    return int(answer) if answer else -1


def call(number: int, *arguments: int) -> int:
    try:
        syscalls.syscall_number(number, *arguments)
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.parametrize("name", NUMBERS)
def test_e3_a_dangerous_call_is_refused(program: bytes, name: str) -> None:
    arguments = (syscalls.CLONE_NEWUSER, 0, 0, 0, 0) if name == "clone" else (0, 0, 0, 0, 0)
    assert under_filter(program, lambda: call(NUMBERS[name], *arguments)) == errno.EPERM


@pytest.mark.parametrize("flag", [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)])
def test_clone_makes_no_namespace(program: bytes, flag: int) -> None:
    assert under_filter(program, lambda: call(NUMBERS["clone"], flag, 0, 0, 0, 0)) == errno.EPERM


def test_clone3_does_not_exist(program: bytes) -> None:
    """So that libraries fall back to clone, whose flags can be seen."""
    assert under_filter(program, lambda: call(435, 0, 0)) == errno.ENOSYS


@pytest.mark.parametrize("number", [467, 470, 500, 1000])
def test_a_call_from_the_future_does_not_exist(program: bytes, number: int) -> None:
    assert under_filter(program, lambda: call(number)) == errno.ENOSYS


@pytest.mark.parametrize("number", [0x40000000, 0x40000000 + 41, 0x40000000 + 321])
def test_a13_x32_is_refused(program: bytes, number: int) -> None:
    assert under_filter(program, lambda: call(number, 38, 3, 0)) in (errno.EPERM, errno.ENOSYS)


def family(number: int) -> int:
    try:
        os.close(socket.socket(number, socket.SOCK_STREAM).detach())
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.parametrize(("number", "answer"), [(38, errno.EPERM), (40, errno.EPERM), (1, 0), (2, 0)])
def test_e1_socket_families(program: bytes, number: int, answer: int) -> None:
    assert under_filter(program, lambda: family(number)) == answer


def test_a13_the_32_bit_door_is_shut(program: bytes) -> None:
    """int 0x80 from a 64-bit program: socketcall would open any family, past the rule on socket."""

    def through_the_door() -> int:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        # push rbx; mov eax, 102 (socketcall); mov ebx, 1 (SYS_SOCKET); xor ecx, ecx; int 0x80; pop rbx; ret
        code.write(b"\x53\xb8\x66\x00\x00\x00\xbb\x01\x00\x00\x00\x31\xc9\xcd\x80\x5b\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return -ctypes.CFUNCTYPE(ctypes.c_int)(address)()

    assert under_filter(program, through_the_door) in (errno.ENOSYS, errno.EPERM)


@pytest.mark.parametrize(("persona", "answer"), [(0, 0), (8, 0), (0xFFFFFFFF, 0), (0x0040000, errno.EPERM)])
def test_personality(program: bytes, persona: int, answer: int) -> None:
    assert under_filter(program, lambda: call(135, persona)) == answer


def test_ordinary_work_goes_on(program: bytes) -> None:
    def work() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(os.open("/proc/self/status", os.O_RDONLY))
        return 0

    assert under_filter(program, work) == 0


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("user", ["", "web"])
def test_it_is_loaded_in_a_container(box: Box, program: bytes, no_new_privileges: bool, user: str) -> None:
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    box.config["process"]["user"]["username"] = user
    found = box.run("grep", "Seccomp:", "/proc/self/status", seccomp=program)
    assert found.output.split() == ["Seccomp:", "2"]
    assert box.run("id", "-u", seccomp=program).output.strip() == ("1000" if user else "0")
