"""System call filters: an OCI `linux.seccomp` object compiled to BPF, once a profile.

Called by the agent and by `oci` (never by the supervisor, which only loads the compiled bytes).
libseccomp is imported when something has to be compiled and at no other time: a profile that was seen
before is found in the cache by the hash of its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import seccomp_told
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.seccomp_default import ENOSYS, EPERM, default_profile
from runtime.seccomp_ranges import smaller
from runtime.supervisor.prepare import TOLD

_FORMAT = 3  # a change of what is compiled from the same profile: raises the cache's keys
MAX_PROFILE_BYTES = 1 << 20

_ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
}
# linux/audit.h, to tell the native architecture in the instructions that are put before.
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
# The names that other engines' profiles use for an architecture.
_SHORT = {"x86_64": "amd64", "aarch64": "arm64"}


def profile_for(
    choice: str, capabilities: Collection[str], machine: str = "", kernel: str = ""
) -> Mapping[str, Any] | None:
    """The OCI object for a manifest's choice: "default", "unconfined" (None) or a host path.

    A file may be an OCI object or the form that Docker's `--security-opt seccomp=` takes.
    """
    machine = machine or platform.machine()
    if choice == "unconfined":
        return None
    if choice in ("", "default"):
        return default_profile(capabilities, machine)
    try:
        found = json.loads(_read_profile(choice))
    except OSError as error:
        raise NotFound("read seccomp profile", choice, error.strerror or "", "name a JSON profile") from error
    except ValueError as error:
        raise Invalid("read seccomp profile", choice, f"not JSON: {error}", "name a JSON profile") from error
    if not isinstance(found, dict) or "defaultAction" not in found:
        raise Invalid("read seccomp profile", choice, "no defaultAction in it", "name a seccomp profile")
    return narrow(found, capabilities, machine, kernel or platform.release())


def _read_profile(path: str) -> bytes:
    """A FIFO, a device and a file without an end are hostile; OSError."""
    found = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(found, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise Invalid("read seccomp profile", path, "not a regular file", "name a JSON profile")
        data: bytes = file.read(MAX_PROFILE_BYTES + 1)
    if len(data) > MAX_PROFILE_BYTES:
        raise Invalid("read seccomp profile", path, "larger than 1 MiB", "name a JSON profile")
    return data


def narrow(
    profile: Mapping[str, Any], capabilities: Collection[str], machine: str, kernel: str
) -> dict[str, Any]:
    """A profile with conditions (includes, excludes) as a plain OCI object for one container. Pure."""
    short = _SHORT.get(machine, machine)
    rules = [
        {key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key) is not None}
        for rule in profile.get("syscalls") or ()
        if _applies(rule, capabilities, short, kernel)
    ]
    made = {key: value for key, value in profile.items() if key not in ("syscalls", "archMap")}
    return made | {"syscalls": rules}


def _applies(rule: Mapping[str, Any], capabilities: Collection[str], short: str, kernel: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("arches") and short not in includes["arches"]:
        return False
    if any(each not in capabilities for each in includes.get("caps") or ()):
        return False
    if includes.get("minKernel") and _version(kernel) < _version(includes["minKernel"]):
        return False
    if short in (excludes.get("arches") or ()):
        return False
    if any(each in capabilities for each in excludes.get("caps") or ()):
        return False
    return not (excludes.get("minKernel") and _version(kernel) >= _version(excludes["minKernel"]))


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) for part in text.split("-")[0].split(".")[:2] if part.isdigit()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def compiled_file(profile: Mapping[str, Any], directory: Path, told: Collection[str] = ()) -> Path:
    """The compiled filter of a profile in the cache directory, made when it is not there. told: calls whose
    refusal is to be told (`seccomp_told`)."""
    text = json.dumps([_FORMAT, platform.machine(), profile, sorted(told)], sort_keys=True)
    path = directory / f"{hashlib.sha256(text.encode()).hexdigest()}.bpf"
    if path.exists():
        return path
    program = compile_profile(profile) + (_told(told) if told else b"")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(program)
    temporary.rename(path)
    return path


def _told(names: Collection[str]) -> bytes:
    import pyseccomp

    audit = _AUDIT.get(platform.machine())
    numbers = (pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) for name in names)
    known = [number for number in numbers if number >= 0]  # not every architecture has all
    return TOLD + smaller(seccomp_told.program(known, audit)) if audit is not None else b""


def name_of(number: int) -> str:
    """The native system call of a number."""
    try:
        import pyseccomp

        found = pyseccomp.resolve_syscall(pyseccomp.system_arch(), number)
    except (ImportError, RuntimeError, OSError, ValueError):
        return f"system call {number}"
    return found.decode() if isinstance(found, bytes) else str(found)


def compile_profile(profile: Mapping[str, Any]) -> bytes:
    """The BPF program of an OCI object. `Invalid` for a profile that libseccomp refuses, `Unsupported`
    without libseccomp."""
    try:
        import pyseccomp  # slow, and needed once a profile
    except (ImportError, RuntimeError, OSError) as error:
        raise Unsupported("compile seccomp", "", f"libseccomp: {error}", "install libseccomp2") from error
    default = _action(pyseccomp, profile["defaultAction"], profile.get("defaultErrnoRet"))
    made = pyseccomp.SyscallFilter(default)
    # A binary tree in place of a list: each call of the container passes about ten comparisons, and
    # the kernel's walk over all numbers at load time is short. libseccomp 2.5.
    made.set_attr(8, 2)
    highest = _add_architectures(pyseccomp, made, profile.get("architectures") or ())
    for rule in profile.get("syscalls") or ():
        _add_rule(pyseccomp, made, rule, default)
    return smaller(_unknown_is_enosys(profile, highest) + _export(made))


def _export(made: Any) -> bytes:
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _add_architectures(pyseccomp: Any, made: Any, wanted: Sequence[str]) -> int:
    """Add the asked-for ones; returns the highest system call number that the compiler knows."""
    native = _ARCHITECTURES.get(platform.machine(), "")
    # A program of another architecture (int 0x80 in a 64-bit one) sees a kernel without system calls.
    made.set_attr(2, _errno(pyseccomp, ENOSYS))
    for name in wanted:
        if name == native:
            continue
        arch = getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_"), None)
        if arch is None:
            raise Invalid("compile seccomp", name, "no such architecture", "SCMP_ARCH_X86_64, for example")
        if made.exist_arch(arch) is False:
            continue
        try:
            made.add_arch(arch)
        except OSError as error:
            if error.errno not in (17, 33):  # EEXIST; EDOM: the other byte order
                raise
    return highest_known(pyseccomp)


def highest_known(pyseccomp: Any) -> int:
    """The last system call that this libseccomp has a name for; newer ones are unknown to a profile."""
    number, missing = 400, 0
    highest = number
    while missing < 64:
        number += 1
        try:
            known = bool(pyseccomp.resolve_syscall(pyseccomp.system_arch(), number))
        except ValueError:
            known = False
        highest, missing = (number, 0) if known else (highest, missing + 1)
    return highest


def _unknown_is_enosys(profile: Mapping[str, Any], highest: int) -> bytes:
    """BPF that answers ENOSYS to native calls above the highest known number, then falls through.

    A program that probes for a new call takes EPERM for a refusal and gives up; ENOSYS it understands.
    Only where the default is a refusal.
    """
    audit = _AUDIT.get(platform.machine())
    if audit is None or profile["defaultAction"] != "SCMP_ACT_ERRNO":
        return b""
    load, jump_equal, jump_greater, jump_at_least, give = 0x20, 0x15, 0x25, 0x35, 0x06
    code = (
        (load, 0, 0, 4),  # A = arch
        (jump_equal, 0, 4, audit),  # another one: on to the program
        (load, 0, 0, 0),  # A = number
        (jump_at_least, 2, 0, 0x4000_0000),  # x32's range: on to the program
        (jump_greater, 0, 1, highest),
        (give, 0, 0, 0x0005_0000 | ENOSYS),  # SECCOMP_RET_ERRNO
    )
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _errno(pyseccomp: Any, number: int) -> int:
    value: int = pyseccomp.ERRNO(number)
    return value


def _action(pyseccomp: Any, name: str, number: int | None) -> int:
    value = EPERM if number is None else number
    simple = {
        "SCMP_ACT_ALLOW": pyseccomp.ALLOW, "SCMP_ACT_LOG": pyseccomp.LOG, "SCMP_ACT_TRAP": pyseccomp.TRAP,
        "SCMP_ACT_KILL": pyseccomp.KILL, "SCMP_ACT_KILL_THREAD": pyseccomp.KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": pyseccomp.KILL_PROCESS,
    }  # fmt: skip
    if name in simple:
        found: int = simple[name]
        return found
    if name == "SCMP_ACT_ERRNO":
        return _errno(pyseccomp, value)
    if name == "SCMP_ACT_TRACE":
        traced: int = pyseccomp.TRACE(value)
        return traced
    raise Unsupported("compile seccomp", name, "this action is not supported", "SCMP_ACT_ERRNO, for example")


def _add_rule(pyseccomp: Any, made: Any, rule: Mapping[str, Any], default: int) -> None:
    action = _action(pyseccomp, rule["action"], rule.get("errnoRet"))
    if action == default:
        return  # libseccomp refuses a rule that says what the default does
    arguments = rule.get("args") or ()
    for name in rule["names"]:
        number = pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
        if number == -1:
            continue  # newer than this libseccomp: the default applies
        for group in _groups(arguments):
            made.add_rule(action, number, *(_argument(pyseccomp, each) for each in group))


def _groups(arguments: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Conditions on different arguments are joined by "and"; several on one are alternatives."""
    indexes = [each["index"] for each in arguments]
    if len(set(indexes)) == len(indexes):
        return [list(arguments)]
    return [[each] for each in arguments]


def _argument(pyseccomp: Any, found: Mapping[str, Any]) -> Any:
    operator = getattr(pyseccomp, found["op"].removeprefix("SCMP_CMP_"), None)
    if operator is None:
        raise Invalid("compile seccomp", found["op"], "no such comparison", "SCMP_CMP_EQ, for example")
    value, second = found["value"], found.get("valueTwo") or 0
    if found["op"] == "SCMP_CMP_MASKED_EQ":
        return pyseccomp.Arg(found["index"], operator, value, second)
    return pyseccomp.Arg(found["index"], operator, value)
