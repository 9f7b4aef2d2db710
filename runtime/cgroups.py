"""A container's control groups: find, make, limit, join, freeze, kill, remove. The plain applier.

What to write comes from `cgroup_limits`. A container has one path ("/setpoint/<id>") in every
hierarchy that it needs. Called by the launch path, the engine and `oci`. Standard library only; makes
no directory outside the paths that it is given and leaves the host's mounts alone.
"""

from __future__ import annotations

import errno
import functools
import itertools
import math
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter

from runtime import syscalls
from runtime.cgroup_devices import device_program
from runtime.cgroup_limits import (
    RT_RUNTIME,
    Hierarchies,
    Write,
    controllers,
    device_writes,
    differs,
    limit_writes,
)
from runtime.devices import parse_rules
from runtime.errors import Conflict, Invalid, Temporary, Unsupported
from runtime.typed import Any

RT_PERIOD = "cpu.rt_period_us"
WEIGHTS_OF_DISKS = ("blkio.bfq.weight_device", "io.weight")
_V2_WANTED = frozenset(["cpu", "cpuset", "io", "memory", "pids"])


@functools.cache
def hierarchies() -> Hierarchies:
    """The cgroup file systems of this host, read once from /proc/self/mountinfo."""
    found = parse_mountinfo(_read("/proc/self/mountinfo"))
    if not found.unified:
        return found
    available = _read(f"{found.unified}/cgroup.controllers").split()
    return Hierarchies(found.v1, found.unified, frozenset(available))


def parse_mountinfo(text: str) -> Hierarchies:
    """The hierarchies that a mountinfo (proc(5)) shows; v2 controllers are left empty."""
    v1: dict[str, str] = {}
    unified = ""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _source, options = (*after.split(" "), "", "")[:3]
        point = before.split(" ")[4]
        if kind == "cgroup2" and not unified:
            unified = point
        elif kind == "cgroup":
            for option in options.split(","):
                if option in _V1_CONTROLLERS:
                    v1.setdefault(option, point)
    return Hierarchies(v1, unified, frozenset())


_V1_CONTROLLERS = frozenset(
    ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"]
)


def check_path(path: str) -> str:
    """The path of a container's cgroups, with a leading slash. `Invalid` for one that climbs."""
    parts = [part for part in path.split("/") if part]
    if not parts or any(part in (".", "..") or part.startswith("cgroup.") for part in parts):
        raise Invalid("use cgroup", path, "not a cgroup's path", "/parent/name, for example")
    if "\0" in path or len(parts[-1]) > 255:
        raise Invalid("use cgroup", path, "not a cgroup's path", "/parent/name, for example")
    return "/" + "/".join(parts)


def directories(path: str, resources: Mapping[str, Any]) -> tuple[str, ...]:
    """The directories of a container's cgroups on this host, the unified one first."""
    found = hierarchies()
    return tuple(found.directory(each, path) for each in controllers(resources, found))


def create(path: str, resources: Mapping[str, Any]) -> tuple[str, ...]:
    """Make a container's cgroups with their limits; returns the directories, the unified one first.

    What an earlier life left is made anew. `Invalid` when the kernel refuses a limit, `Conflict` when
    processes live in it.
    """
    found = hierarchies()
    names = controllers(resources, found)
    if not names:
        raise Unsupported("make cgroup", path, "this host has no cgroups mounted", "mount /sys/fs/cgroup")
    made = tuple(found.directory(each, path) for each in names)
    for name, directory in zip(names, made, strict=True):
        make_anew(directory)
        if name == "cpuset":
            _inherit_cpuset(directory)
    if found.v2:
        wanted = _V2_WANTED | {"hugetlb"} if resources.get("hugepageLimits") else _V2_WANTED
        parent = path.rpartition("/")[0]
        # The inode tells a parent that was removed and made again, which has lost what it was given.
        inode = os.stat(f"{found.unified}{parent}").st_ino
        _delegate(found.unified, parent, inode, found.v2 & wanted)
    apply(path, limit_writes(resources, found))
    _check_weight(path, resources)
    if found.unified and "devices" not in found.v1:
        _guard_devices(made[0], resources)
    else:
        _limit_devices(path, device_writes(resources, found))
    return made


def _check_weight(path: str, resources: Mapping[str, Any]) -> None:
    """`Unsupported` when a weight was asked for and the kernel has no file for it, which is seen in a made
    group alone."""
    if (resources.get("blockIO") or {}).get("weight") is None:
        return
    found = hierarchies()
    controller = "blkio" if "blkio" in found.v1 else ""
    directory = found.directory(controller, path)
    names = ("blkio.bfq.weight",) if controller else ("io.weight", "io.bfq.weight")
    if not any(os.path.exists(f"{directory}/{name}") for name in names):
        raise Unsupported(
            "limit", path, "this kernel has no weights of block I/O",
            "needs the scheduler bfq (modprobe bfq), or CONFIG_BLK_CGROUP_IOCOST on cgroup v2",
        )  # fmt: skip


def _guard_devices(directory: str, resources: Mapping[str, Any]) -> None:
    """Have the kernel ask a program about every device that a process of a v2 cgroup opens or makes.

    It lives as long as the cgroup. A container whose rules cannot be put in force does not start.
    """
    code = device_program(parse_rules(resources.get("devices") or ()))
    if not code:
        return
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.bpf_attach_device_program(cgroup, _device_program(code))
    except OSError as error:
        raise Unsupported(
            "limit devices",
            directory,
            f"{error.strerror}: the kernel takes no program for them",
            "needs CONFIG_CGROUP_BPF and the capabilities BPF and NET_ADMIN",
        ) from error
    finally:
        os.close(cgroup)


_programs: dict[bytes, int] = {}
_PROGRAMS_KEPT = 32


def _device_program(code: bytes) -> int:
    """A descriptor of the loaded program. Kept: most containers have the same rules, and the kernel takes
    0.25 ms to check a program, 0.1 ms to attach one."""
    if code not in _programs:
        if len(_programs) >= _PROGRAMS_KEPT:
            os.close(_programs.pop(next(iter(_programs))))
        _programs[code] = syscalls.bpf_load_device_program(code, "setpoint_dev")
    return _programs[code]


def _make(directory: str) -> bool:
    """mkdir with parents; False when it was there."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if _make(parent) and os.path.exists(f"{parent}/cpuset.cpus"):
            _inherit_cpuset(parent)
        return _make(directory)
    return True


def make_anew(directory: str) -> None:
    """A new directory with its parents, in the place of an empty one. Conflict when processes live in it.

    Counts and limits of an earlier life would count for this one, and so would its end: a process that
    clone3(2) puts into a cgroup which cgroup.kill was ever written to dies at once (kernel 6.14 to 6.18
    at least, where a fork remembers its parent's kill_seq)."""
    if _make(directory):
        return
    if pids(directory):
        raise Conflict("make cgroup", directory, "processes live in it", "is the container running already?")
    if not _remove(directory):
        raise Conflict("make cgroup", directory, "processes are still dying in it", "it is tried again")
    _make(directory)


def _inherit_cpuset(directory: str) -> None:
    """A new v1 cpuset is empty, and no process may join it: it starts with its parent's."""
    if os.path.exists(f"{directory}/cgroup.type"):
        return
    for file in ("cpuset.cpus", "cpuset.mems"):
        _write(f"{directory}/{file}", _read(f"{os.path.dirname(directory)}/{file}"))


def cpuset_of_parent(path: str) -> dict[str, str]:
    """cpus and mems that a cgroup without a cpuset of its own has; {} where nothing limits them."""
    found = hierarchies()
    controller = "cpuset" if "cpuset" in found.v1 else ""
    suffix = "" if controller else ".effective"
    parent = os.path.dirname(found.directory(controller, path))
    with suppress(OSError):
        return {name: _read(f"{parent}/cpuset.{name}{suffix}").strip() for name in ("cpus", "mems")}
    return {}


def swappiness_of_parent(path: str) -> int:
    """What a group of cgroup v1 without one of its own has; 60, the kernel's, where that cannot be told."""
    with suppress(OSError, KeyError, ValueError):
        return int(_read(f"{os.path.dirname(hierarchies().v1['memory'] + path)}/memory.swappiness"))
    return 60


def delegate(path: str) -> None:
    """Have the unified hierarchy count and limit in a directory that is to be made at this path."""
    found, parent = hierarchies(), path.rpartition("/")[0]
    if found.v2:
        inode = os.stat(f"{found.unified}{parent}").st_ino
        _delegate(found.unified, parent, inode, found.v2 & _V2_WANTED)


@functools.lru_cache(maxsize=64)
def _delegate(unified: str, parent: str, _inode: int, wanted: frozenset[str]) -> None:
    """Enable controllers on the way down to the parent of a container's cgroup, once for each."""
    parts = [part for part in parent.split("/") if part]
    for depth in range(len(parts) + 1):
        file = "/".join((unified, *parts[:depth], "cgroup.subtree_control"))
        missing = wanted - set(_read(file).split())
        for each in sorted(missing):
            # One at a time: a controller that cannot be had here must not cost the others.
            with suppress(OSError):
                _write(file, f"+{each}")


def apply(path: str, writes: Iterable[Write]) -> None:
    """Write limits. `Invalid` names the limit that the kernel refused."""
    found = hierarchies()
    pending = list(writes)
    for index, write in enumerate(pending):
        try:
            _write(f"{found.directory(write.controller, path)}/{write.file}", write.value)
        except FileNotFoundError as error:
            if not write.optional:
                raise _refused(path, write, error) from error
        except OSError as error:
            # v1 keeps limit <= memsw: raising both needs the second one first.
            if write.file == "memory.limit_in_bytes" and _swap_first(path, pending[index + 1 :]):
                _write(f"{found.directory(write.controller, path)}/{write.file}", write.value)
                continue
            if write.file == RT_RUNTIME and _has_realtime(found, write, path):
                continue
            raise _refused(path, write, error) from error


def _limit_devices(path: str, writes: Iterable[Write]) -> None:
    """Write the rules of a v1 device cgroup: a write for each, and those that follow each other in one file
    while it is open."""
    found = hierarchies()
    for file, rules in itertools.groupby(writes, key=attrgetter("controller", "file")):
        rule = Write(*file, "")
        try:
            opened = os.open(f"{found.directory(file[0], path)}/{file[1]}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                for rule in rules:
                    os.write(opened, rule.value.encode())
            finally:
                os.close(opened)
        except OSError as error:
            raise _refused(path, rule, error) from error


def _swap_first(path: str, rest: Sequence[Write]) -> bool:
    for write in rest:
        if write.file == "memory.memsw.limit_in_bytes":
            with suppress(OSError):
                _write(f"{hierarchies().directory(write.controller, path)}/{write.file}", write.value)
                return True
    return False


def _has_realtime(found: Hierarchies, write: Write, path: str) -> bool:
    """Write a real-time limit once more, after the groups above have room for it: a new one has none."""
    directory = found.directory(write.controller, path)
    try:
        period = int(_read(f"{directory}/{RT_PERIOD}"))
        _make_room(directory, int(write.value) / period, found.v1[write.controller])
        _write(f"{directory}/{write.file}", write.value)
    except (OSError, ValueError):
        return False
    return True


def _make_room(directory: str, share: float, top: str) -> None:
    """Have the group above pass on as much real time as all in it have, with this share for one of them."""
    above = os.path.dirname(directory)
    if above == top:
        return
    for name in os.listdir(above):
        other = f"{above}/{name}"
        if other != directory and os.path.exists(f"{other}/{RT_PERIOD}"):
            share += int(_read(f"{other}/{RT_RUNTIME}")) / int(_read(f"{other}/{RT_PERIOD}"))
    needed = math.ceil(share * int(_read(f"{above}/{RT_PERIOD}")))
    if int(_read(f"{above}/{RT_RUNTIME}")) < needed:
        _make_room(above, share, top)
        _write(f"{above}/{RT_RUNTIME}", str(needed))


def _refused(path: str, write: Write, error: OSError) -> Invalid | Unsupported:
    if error.errno == errno.ENOENT:
        return Unsupported("limit", path, f"{write.file}: this kernel has no such limit", "leave it out")
    return Invalid(
        "limit",
        path,
        f"{write.file} = {write.value}: {os.strerror(error.errno or 0)}",
        "the disk needs the scheduler bfq" if write.file in WEIGHTS_OF_DISKS else "choose another limit",
    )


def _read(file: str) -> str:
    with open(file) as opened:
        return opened.read()


def _write(file: str, value: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def join(procs_files: Iterable[str], pid: int = 0) -> None:
    """Move a process (0: the caller) into cgroups, by their cgroup.procs files."""
    for file in procs_files:
        _write(file, str(pid))


def pids(directory: str) -> tuple[int, ...]:
    """The processes of one cgroup directory and of all below it; () when it is gone."""
    found: list[int] = []
    with suppress(FileNotFoundError, NotADirectoryError):
        found += map(int, _read(f"{directory}/cgroup.procs").split())
        for child in os.scandir(directory):
            if child.is_dir(follow_symlinks=False):
                found += pids(child.path)
    return tuple(found)


def existing(path: str) -> tuple[str, ...]:
    """The directories that a cgroup path has in any hierarchy now, the unified one first."""
    return tuple(directory for directory in _possible(path) if os.path.isdir(directory))


def _possible(path: str) -> tuple[str, ...]:
    """The same, whether they are there or not."""
    found = hierarchies()
    roots = dict.fromkeys([found.unified, *found.v1.values()] if found.unified else found.v1.values())
    return tuple(f"{root}{path}" for root in roots)


def list_pids(path: str) -> tuple[int, ...]:
    """The processes of a container, in the order of their numbers; () when it is gone."""
    for directory in existing(path):
        return tuple(sorted(pids(directory)))
    return ()


def kill(path: str) -> None:
    """SIGKILL every process of a container's cgroup. Returns at once; a repeated call is harmless."""
    found = existing(path)
    for directory in found:
        try:
            _write(f"{directory}/cgroup.kill", "1")  # kernel 5.14, v2
            return
        except OSError:
            continue
    for directory in found:
        _kill_each(directory)
        return


def _kill_each(directory: str) -> None:
    # Twice: a process may have forked between reading the list and the signal. A v1 group lists the process
    # of any thread in it: one of ours, that is there to start something or has just ended, is not meant.
    for _ in range(2):
        for pid in set(pids(directory)) - {os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def delete(path: str, timeout_seconds: float = 2.0) -> None:
    """Remove a container's cgroups everywhere. A dying process holds its cgroup for a moment: EBUSY
    is retried until the timeout, then `Temporary`."""
    deadline = time.monotonic() + timeout_seconds
    for directory in _possible(path):
        pause = 0.0005
        while not _remove(directory):
            if time.monotonic() > deadline:
                raise Temporary(
                    "remove cgroup", directory, "processes are still dying in it", "it is retried"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def _remove(directory: str) -> bool:
    """rmdir with all below; False while the kernel says it is busy."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            if not os.path.isdir(directory):  # in a hierarchy that nobody may write to
                return True
            raise
        try:
            below = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return True
        removed = [_remove(each) for each in below]
        return bool(removed) and all(removed) and _remove(directory)
    return True


def freeze(path: str, timeout_seconds: float = 5.0) -> None:
    """Stop every process of a container where it is. `Temporary` when that does not happen in time."""
    _set_frozen(path, True, timeout_seconds)


def thaw(path: str, timeout_seconds: float = 5.0) -> None:
    """Let a frozen container go on."""
    _set_frozen(path, False, timeout_seconds)


def thaw_below(path: str) -> None:
    """Let everything below a container's cgroup go on, and it too; waits for nothing."""
    freezer = hierarchies().v1.get("freezer")
    if freezer is None:
        return  # a frozen cgroup of v2 can be killed as it is
    for directory, _, _ in os.walk(f"{freezer}{path}"):
        with suppress(OSError):
            _write(f"{directory}/freezer.state", "THAWED")


def is_frozen(path: str) -> bool:
    """Whether a container is frozen."""
    found = hierarchies()
    with suppress(OSError):
        return "frozen 1" in _read(f"{found.unified}{path}/cgroup.events")
    with suppress(OSError, KeyError):
        return _read(f"{found.v1['freezer']}{path}/freezer.state").strip() != "THAWED"
    return False


def _set_frozen(path: str, frozen: bool, timeout_seconds: float) -> None:
    found = hierarchies()
    deadline = time.monotonic() + timeout_seconds
    if found.unified and os.path.exists(f"{found.unified}{path}/cgroup.freeze"):
        _freeze_v2(f"{found.unified}{path}", frozen, deadline)
        return
    if "freezer" not in found.v1:
        raise Unsupported("pause", path, "this host has no freezer", "mount cgroup v2")
    state = f"{found.v1['freezer']}{path}/freezer.state"
    wanted = "FROZEN" if frozen else "THAWED"
    while True:
        # A v1 freezer that stays in FREEZING is pushed on by writing again.
        _write(state, wanted)
        if _read(state).strip() == wanted:
            return
        if time.monotonic() > deadline:
            raise Temporary("pause", path, "a process cannot be frozen", "it waits in the kernel")
        time.sleep(0.002)


def _freeze_v2(directory: str, frozen: bool, deadline: float) -> None:
    events = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _write(f"{directory}/cgroup.freeze", "1" if frozen else "0")
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        wanted = b"frozen 1" if frozen else b"frozen 0"
        while wanted not in os.pread(events, 4096, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Temporary("pause", directory, "a process cannot be frozen", "it waits in the kernel")
            poller.poll(left * 1000)
    finally:
        os.close(events)


def update(path: str, resources: Mapping[str, Any]) -> None:
    """Change limits of a running container. `Invalid` for one whose hierarchy it has not joined."""
    found = hierarchies()
    writes = limit_writes(resources, found)
    for name in {*(write.controller for write in writes), *controllers(resources, found)}:
        directory = found.directory(name, path)
        if name and not os.path.isdir(directory):
            _join_late(found, name, path)
    apply(path, writes)
    _check_weight(path, resources)


def _join_late(found: Hierarchies, name: str, path: str) -> None:
    """A v1 controller that the container had no need of until now."""
    members = list_pids(path)
    directory = found.directory(name, path)
    _make(directory)
    if name == "cpuset":
        _inherit_cpuset(directory)
    for pid in members:
        with suppress(ProcessLookupError):
            _write(f"{directory}/cgroup.procs", str(pid))


def find_drift(path: str, resources: Mapping[str, Any]) -> tuple[str, ...]:
    """Limits that are not as they were written, each in words; () when all is well."""
    found = hierarchies()
    differences = []
    for write in limit_writes(resources, found):
        file = f"{found.directory(write.controller, path)}/{write.file}"
        try:
            shown = _read(file)
        except OSError as error:
            if not write.optional:
                differences.append(f"{write.file}: {os.strerror(error.errno or 0)}")
            continue
        if differs(write, shown):
            differences.append(f"{write.file}: expected {write.value}, found {' '.join(shown.split())}")
    return tuple(differences)
