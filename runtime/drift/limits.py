"""A container's limits as they were written, and as nobody else may set them: found and put back.

A limit that the container was not given is one too: whoever sets it from outside holds the container
back, and the manifest says otherwise. Device rules of cgroup v1 can be read and are compared; those of
v2 are a program in the kernel, which goes only with the cgroup. Called by `containers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runtime import cgroups
from runtime.cgroup_limits import Hierarchies, Write, controllers, device_writes, differs, limit_writes

# What a new cgroup has (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/): no limit.
_UNLIMITED = (
    Write("memory", "memory.limit_in_bytes", "-1", True),
    Write("memory", "memory.memsw.limit_in_bytes", "-1", True),
    Write("cpu", "cpu.cfs_quota_us", "-1", True),
    Write("pids", "pids.max", "max", True),
)
_UNLIMITED_V2 = (
    Write("memory", "memory.max", "max", True),
    Write("memory", "memory.high", "max", True),
    Write("cpu", "cpu.max", "max 100000", True),
    Write("pids", "pids.max", "max", True),
)
_ALL_DEVICES = "a *:* rwm"


def expected(resources: Mapping[str, Any], found: Hierarchies) -> tuple[Write, ...]:
    """What a container's cgroup files say: its limits, and no others."""
    limits = limit_writes(resources, found)
    named = {write.file for write in limits}
    unlimited = [write._replace(controller="") for write in _UNLIMITED_V2 if write.controller in found.v2]
    unlimited += [write for write in _UNLIMITED if write.controller in found.v1]
    has_cgroup = controllers(resources, found)
    return (*limits, *(w for w in unlimited if w.file not in named and w.controller in has_cgroup))


def files(path: str, resources: Mapping[str, Any]) -> tuple[str, ...]:
    """The files whose writing is worth a look."""
    found = cgroups.hierarchies()
    names = [(write.controller, write.file) for write in expected(resources, found)]
    if "devices" in found.v1:
        names += [("devices", "devices.allow"), ("devices", "devices.deny")]
    if found.unified:
        # cgroup.events: the kernel tells when the last process has left, to wherever.
        names += [("", "cgroup.freeze"), ("", "cgroup.events")]
    elif "freezer" in found.v1:
        names.append(("freezer", "freezer.state"))
    return tuple(f"{found.directory(controller, path)}/{file}" for controller, file in names)


def wanted(path: str, resources: Mapping[str, Any]) -> tuple[tuple[str, Write], ...]:
    """(file, what it says) of a container's cgroup: worked out once, for any number of looks."""
    found = cgroups.hierarchies()
    return tuple(
        (f"{found.directory(write.controller, path)}/{write.file}", write)
        for write in expected(resources, found)
    )


def find(files_wanted: Iterable[tuple[str, Write]]) -> tuple[str, ...]:
    """Limits that are not as they should be, each in words."""
    told = []
    for file, write in files_wanted:
        try:
            shown = _read(file)
        except OSError as error:
            if not write.optional:
                told.append(f"{write.file}: {os.strerror(error.errno or 0)}")
            continue
        if shown != f"{write.value}\n" and differs(write, shown):
            told.append(f"{write.file}: expected {write.value}, found {' '.join(shown.split())}")
    return tuple(told)


def put_back(path: str, resources: Mapping[str, Any]) -> None:
    """Write them all again."""
    cgroups.update(path, resources)
    named = {write.file for write in limit_writes(resources, cgroups.hierarchies())}
    rest = (w for w in expected(resources, cgroups.hierarchies()) if w.file not in named)
    cgroups.apply(path, rest)


def device_rules(devices: Iterable[Mapping[str, Any]]) -> frozenset[str] | None:
    """What devices.list has to show; None where this cannot be told: rules beyond "none but these"."""
    writes = device_writes({"devices": list(devices)}, cgroups.hierarchies())
    if not writes or writes[0].file != "devices.deny" or not writes[0].value.startswith("a"):
        return None
    if any(write.file != "devices.allow" or write.value.startswith("a") for write in writes[1:]):
        return None
    return frozenset(_merged(write.value for write in writes[1:]))


def _merged(rules: Iterable[str]) -> Iterator[str]:
    """As the kernel keeps them: one for each device, with all that may be done with it."""
    access: dict[str, str] = {}
    for rule in rules:
        device, _, letters = rule.rpartition(" ")
        access[device] = access.get(device, "") + letters
    for device, letters in access.items():
        yield f"{device} {''.join(letter for letter in 'rwm' if letter in letters)}"


def find_devices(path: str, rules: frozenset[str]) -> tuple[str, ...]:
    """Device rules of cgroup v1 that are not as they were written."""
    shown = _device_list(path)
    return (
        *(f"devices: {rule} is missing" for rule in sorted(rules - shown)),
        *(f"devices: {rule} is allowed, too" for rule in sorted(shown - rules)),
    )


def put_devices_back(path: str, rules: frozenset[str]) -> None:
    """Only what differs is written, so that no device is denied for a moment that is wanted."""
    shown = _device_list(path)
    if _ALL_DEVICES in shown:
        cgroups.apply(path, [Write("devices", "devices.deny", "a")])
        shown = frozenset()
    cgroups.apply(path, [Write("devices", "devices.deny", rule) for rule in sorted(shown - rules)])
    cgroups.apply(path, [Write("devices", "devices.allow", rule) for rule in sorted(rules - shown)])


def _device_list(path: str) -> frozenset[str]:
    file = f"{cgroups.hierarchies().directory('devices', path)}/devices.list"
    return frozenset(_read(file).splitlines())


def joined(resources: Mapping[str, Any]) -> frozenset[str]:
    """The hierarchies in which a container has a cgroup."""
    return frozenset(controllers(resources, cgroups.hierarchies()))


def has_left(path: str, pid: int, joined: frozenset[str]) -> tuple[str, ...]:
    """Those of the joined hierarchies in which a process is in another cgroup than the container's, or one
    below it."""
    try:
        lines = _read(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return ()
    return tuple(
        names or "unified"
        for _number, names, place in (line.split(":", 2) for line in lines)
        if not joined.isdisjoint(names.split(",")) and f"{path}/" not in f"{place}/"
    )


def take_in(path: str, pid: int) -> None:
    """Move a process back into the container's cgroups."""
    cgroups.join((f"{directory}/cgroup.procs" for directory in cgroups.existing(path)), pid)


def _read(file: str) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536).decode()
    finally:
        os.close(descriptor)
