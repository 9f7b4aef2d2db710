"""Lengths, times, ports and mounts in the short forms that manifests have for them. Pure.

Each is the inverse of a parser in `parse_values`, `parse_ports` or `parse_mounts`; where a short form
cannot hold the value, the long one is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from agent.manifest.parse_mounts import TMPFS_FLAGS
from agent.manifest.parse_values import SIZE_UNITS, to_duration
from agent.manifest.spec import Device, Mount, Port
from agent.manifest.writer.yaml_text import Quoted

LEAST_RUN = 3  # so many ports in a row are written as a range


def size_text(count: int) -> str | int:
    """67108864 is 64m; what is no whole number of a unit is written in bytes."""
    for unit, factor in reversed(SIZE_UNITS.items()):
        if unit and count >= factor and count % factor == 0:
            return f"{count // factor}{unit}"
    return count


def duration_text(seconds: float) -> str:
    """10s, 1m30s, 500ms; a fraction of a second as it is."""
    if seconds == int(seconds):
        text = _whole_duration(int(seconds))
    elif round(seconds * 1000, 6) == round(seconds * 1000) and seconds < 1:
        text = f"{round(seconds * 1000)}ms"
    else:
        text = ""
    if not text or to_duration(text) != seconds:
        text = f"{seconds:.9f}".rstrip("0") + "s"
    return text


def _whole_duration(seconds: int) -> str:
    parts = ((seconds // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def number(value: float) -> int | float:
    return int(value) if value == int(value) else value


# --- ports --------------------------------------------------------------------------------------


def ports(found: Iterable[Port]) -> list[Any]:
    """Each in its short form, runs of them as a range."""
    result: list[Any] = []
    for run in _runs(list(found)):
        if len(run) >= LEAST_RUN:
            result.append(_short(run[0], run[-1]))
        else:
            result += [_long_port(port) if port.name else _short(port, port) for port in run]
    return result


def _runs(found: list[Port]) -> Iterator[list[Port]]:
    """Neighbours that differ by one in both numbers and by nothing else."""

    def place(item: tuple[int, Port]) -> tuple[object, ...]:
        at, port = item
        shift = None if port.published is None else port.published - at
        alone = at if port.published_last is not None or port.name else None
        return (port.target - at, shift, port.protocol, port.host_ip, alone)

    for _, group in groupby(enumerate(found), key=place):
        yield [port for _, port in group]


def _short(first: Port, last: Port) -> Quoted:
    target = _range(first.target, last.target)
    host = ""
    if first.published is not None:
        end = first.published_last or last.published
        host = _range(first.published, end or first.published) + ":"
    if first.host_ip:
        address = f"[{first.host_ip}]" if ":" in first.host_ip else first.host_ip
        host = f"{address}:{host or ':'}"
    protocol = "" if first.protocol == "tcp" else f"/{first.protocol}"
    return Quoted(f"{host}{target}{protocol}")


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _long_port(port: Port) -> dict[str, Any]:
    result: dict[str, Any] = {"name": port.name, "target": port.target}
    if port.published is not None:
        result["published"] = Quoted(_range(port.published, port.published_last or port.published))
    if port.protocol != "tcp":
        result["protocol"] = port.protocol
    if port.host_ip:
        result["host_ip"] = port.host_ip
    return result


# --- mounts ---------------------------------------------------------------------------------------


def volumes_and_tmpfs(mounts: tuple[Mount, ...]) -> tuple[list[Any], list[str]]:
    """What is written under `volumes:`, and under `tmpfs:`, which comes after it in the spec."""
    first_tmpfs = len(mounts)
    while first_tmpfs and _is_short_tmpfs(mounts[first_tmpfs - 1]):
        first_tmpfs -= 1
    volumes = [_volume(mount) for mount in mounts[:first_tmpfs]]
    return volumes, [_tmpfs(mount) for mount in mounts[first_tmpfs:]]


def _is_short_tmpfs(mount: Mount) -> bool:
    return mount.type == "tmpfs" and ":" not in mount.target and not mount.source


def _volume(mount: Mount) -> str | dict[str, Any]:
    """SOURCE:TARGET:OPTIONS where that can say it."""
    options = _short_options(mount)
    has_colon = ":" in mount.target + mount.source
    plain = Mount(
        type=mount.type, target=mount.target, source=mount.source, read_only=mount.read_only,
        no_copy=mount.no_copy, propagation=mount.propagation,
    )  # fmt: skip
    if mount != plain or has_colon or mount.type == "tmpfs" or not _source_fits(mount):
        return _long_mount(mount)
    if not mount.source:
        return mount.target if not options else _long_mount(mount)
    return ":".join(filter(None, (mount.source, mount.target, ",".join(options))))


def _source_fits(mount: Mount) -> bool:
    """Whether the short form takes the source for the kind that it is."""
    if mount.type == "bind":
        return mount.source.startswith("/") and not mount.no_copy
    return mount.source[:1] not in tuple("./~") and mount.propagation == "rprivate"


def _short_options(mount: Mount) -> list[str]:
    options = ["ro"] if mount.read_only else []
    options += ["nocopy"] if mount.no_copy else []
    return options + ([mount.propagation] if mount.propagation != "rprivate" else [])


def _long_mount(mount: Mount) -> dict[str, Any]:
    result: dict[str, Any] = {"type": mount.type}
    if mount.source:
        result["source"] = mount.source
    result["target"] = mount.target
    if mount.read_only:
        result["read_only"] = True
    section = _section(mount)
    if section:
        result[mount.type] = section
    return result


def _section(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if mount.type == "bind":
        if mount.propagation != "rprivate":
            found["propagation"] = mount.propagation
        if mount.recursive:
            found["recursive"] = mount.recursive
        if not mount.create_host_path:
            found["create_host_path"] = False
    if mount.type == "volume":
        if mount.no_copy:
            found["nocopy"] = True
        if mount.subpath:
            found["subpath"] = mount.subpath
    if mount.type == "tmpfs":
        if mount.size_bytes is not None:
            found["size"] = size_text(mount.size_bytes)
        if mount.mode is not None:
            found["mode"] = Quoted(f"{mount.mode:04o}")
    return found


def _tmpfs(mount: Mount) -> str:
    options = []
    if mount.size_bytes is not None:
        options.append(f"size={size_text(mount.size_bytes)}")
    if mount.mode is not None:
        options.append(f"mode={mount.mode:04o}")
    if mount.read_only:
        options.append("ro")
    options += [option for option in mount.options if option.partition("=")[0] in TMPFS_FLAGS]
    return mount.target + (f":{','.join(options)}" if options else "")


def device(found: Device) -> str | dict[str, Any]:
    if ":" in found.source + found.target:
        return {"source": found.source, "target": found.target, "permissions": found.permissions}
    if found.permissions != "rwm":
        return f"{found.source}:{found.target}:{found.permissions}"
    return found.source if found.source == found.target else f"{found.source}:{found.target}"
