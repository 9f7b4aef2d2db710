"""The mounts of a create call (Binds, Mounts, Tmpfs, Volumes, VolumesFrom, Devices), to the spec's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from agent.api.docker.bodies import flag_of, list_of, map_of, text_map_of, text_of, texts_of, whole_of
from agent.manifest.parse_mounts import NO_EFFECT, PROPAGATIONS, TMPFS_FLAGS, container_path
from agent.manifest.parse_values import to_size
from agent.manifest.spec import Device, Mount
from runtime.devices import RULE
from runtime.errors import Invalid, Unsupported

# A volume's real name, and the options and labels that it is to have -> what the spec calls it
Volume = Callable[[str, Mapping[str, str], Mapping[str, str]], str]
MountsOf = Callable[[str], tuple[Mount, ...]]  # another container -> its mounts

MAX_MOUNTS = 1024
RECURSIVE = {  # how a mount says it -> how a request does
    "disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive", "readonly": "ReadOnlyForceRecursive",
}  # fmt: skip
_SELINUX = NO_EFFECT | {"copy", "consistency"}


def mounts_of(
    config: Mapping[str, Any], host: Mapping[str, Any], volume: Volume, others: MountsOf
) -> tuple[Mount, ...]:
    """All of them, a target once. Those said later win over what VolumesFrom and Volumes bring."""
    _check_count(config, host)
    said = [
        *(_bind(text, volume) for text in texts_of(host, "Binds")),
        *(_mount(item, volume) for item in list_of(host, "Mounts")),
        *(_tmpfs(path, options) for path, options in text_map_of(host, "Tmpfs").items()),
    ]
    targets = Counter(mount.target for mount in said)
    if twice := next((target for target, count in targets.items() if count > 1), ""):
        raise Invalid("", "", f"Duplicate mount point: {twice}")
    found = {mount.target: mount for name in texts_of(host, "VolumesFrom") for mount in _from(name, others)}
    anonymous = map(_anonymous, map_of(config, "Volumes").items())
    found |= {mount.target: mount for mount in anonymous if mount.target not in found}
    found |= {mount.target: mount for mount in said}
    return tuple(found.values())


def _anonymous(volume: tuple[str, Any]) -> Mount:
    """A path, and an object in which nothing is said."""
    path, said = volume
    map_of({"Volumes": said}, "Volumes")
    return Mount(type="volume", target=container_path(path))


def _check_count(config: Mapping[str, Any], host: Mapping[str, Any]) -> None:
    """Each is looked up among all volumes, and may be one to be made: of a body full of them, hours."""
    lists = [texts_of(host, name) for name in ("Binds", "VolumesFrom")]
    count = sum(map(len, (*lists, list_of(host, "Mounts"), map_of(host, "Tmpfs"), map_of(config, "Volumes"))))
    if count > MAX_MOUNTS:
        raise Invalid("", "", f"more than {MAX_MOUNTS} mounts")


def _bind(text: str, volume: Volume) -> Mount:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise Invalid("", "", f"invalid volume specification: '{text[:200]}'")
    source, target = parts[0], container_path(parts[1])
    options = _bind_options(parts[2]) if len(parts) == 3 else {}
    if source.startswith("/"):
        if options.pop("no_copy", False):
            raise Invalid("", "", f"nocopy is for volumes, and '{text[:200]}' is a bind mount")
        return Mount(type="bind", source=source, target=target, **options)
    if "propagation" in options:
        raise Invalid("", "", f"invalid volume specification: '{text[:200]}': propagation is for bind mounts")
    return Mount(type="volume", source=volume(source, {}, {}), target=target, **options)


def _bind_options(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in filter(None, text.split(",")):
        if option in ("ro", "rw"):
            values["read_only"] = option == "ro"
        elif option == "nocopy":
            values["no_copy"] = True
        elif option in PROPAGATIONS:
            values["propagation"] = option
        elif option not in _SELINUX:  # labels and caches that there are none of here
            raise Invalid("", "", f"invalid mode: {option[:40]}")
    return values


def _mount(item: Any, volume: Volume) -> Mount:
    if not isinstance(item, dict):
        raise Invalid("read request", "Mounts", "not a list of objects")
    kind, source = text_of(item, "Type"), text_of(item, "Source")
    values: dict[str, Any] = {
        "target": container_path(text_of(item, "Target")), "read_only": flag_of(item, "ReadOnly"),
    }  # fmt: skip
    for name, of in (("BindOptions", "bind"), ("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")):
        if map_of(item, name) and of != kind:
            raise Invalid("", "", f'invalid mount config for type "{kind}": cannot mix {name} with it')
    if kind == "bind":
        return _bind_mount(source, map_of(item, "BindOptions"), values)
    if kind == "volume":
        return _volume_mount(source, map_of(item, "VolumeOptions"), values, volume)
    if kind == "tmpfs":
        return _tmpfs_mount(source, map_of(item, "TmpfsOptions"), values)
    raise Unsupported("create", kind[:20], "no such type of mount here", "bind, volume or tmpfs")


def _bind_mount(source: str, options: Mapping[str, Any], values: dict[str, Any]) -> Mount:
    if not source.startswith("/"):
        raise Invalid("", "", 'invalid mount config for type "bind": invalid mount path: must be absolute')
    ways = tuple(way for way, name in RECURSIVE.items() if flag_of(options, name))
    if len(ways) > 1:
        raise Invalid("", "", f"conflicting options: {' and '.join(RECURSIVE[way] for way in ways)}")
    propagation = text_of(options, "Propagation") or "rprivate"
    if propagation not in PROPAGATIONS:
        raise Invalid("", "", f"invalid propagation mode: {propagation[:20]}")
    makes = flag_of(options, "CreateMountpoint")
    values |= {"recursive": ways[0]} if ways else {}
    return Mount(type="bind", source=source, propagation=propagation, create_host_path=makes, **values)


def _volume_mount(source: str, options: Mapping[str, Any], values: dict[str, Any], volume: Volume) -> Mount:
    driver = map_of(options, "DriverConfig")
    if text_of(driver, "Name") not in ("", "local"):
        raise Unsupported("create", "DriverConfig", "the local driver is the one there is")
    wanted, labels = text_map_of(driver, "Options"), text_map_of(options, "Labels")
    if wanted and not source:
        raise Unsupported("create", "DriverConfig", "a volume without a name has no options here", "name it")
    if labels and not source:
        raise Unsupported("create", "Labels", "a volume without a name has no labels here", "name it")
    subpath = text_of(options, "Subpath")
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise Invalid("", "", f"subpath {subpath[:100]!r} leads out of the volume")
    return Mount(
        type="volume", source=volume(source, wanted, labels) if source else "",
        no_copy=flag_of(options, "NoCopy"), subpath=subpath, **values,
    )  # fmt: skip


def _tmpfs_mount(source: str, options: Mapping[str, Any], values: dict[str, Any]) -> Mount:
    if source:
        raise Invalid("", "", 'invalid mount config for type "tmpfs": source must not be specified')
    size, mode = whole_of(options, "SizeBytes"), whole_of(options, "Mode")
    if size < 0 or not 0 <= mode <= 0o7777:
        raise Invalid("read request", "TmpfsOptions", "a size below 0, or a mode that is none")
    words = [item for item in list_of(options, "Options") if isinstance(item, list) and item]
    texts = tuple("=".join(str(word) for word in item) for item in words)
    if any(text.partition("=")[0] not in TMPFS_FLAGS for text in texts):
        raise Invalid("read request", "TmpfsOptions", "an option that tmpfs has not")
    return Mount(type="tmpfs", size_bytes=size or None, mode=mode or None, options=texts, **values)


def _tmpfs(path: str, text: str) -> Mount:
    values: dict[str, Any] = {"type": "tmpfs", "target": container_path(path)}
    others = []
    for option in filter(None, text.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            values["size_bytes"] = to_size(value)
        elif name == "mode":
            values["mode"] = _mode(value)
        elif name in TMPFS_FLAGS:
            others.append(option)
        else:
            raise Invalid("", "", f'invalid tmpfs option "{option[:40]}"')
    return Mount(**values, options=tuple(others))


def _mode(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and not set(text) & {"8", "9"}):
        raise Invalid("", "", f'invalid tmpfs option "mode={text[:20]}"')
    return int(text, 8) & 0o7777


def _from(text: str, others: MountsOf) -> tuple[Mount, ...]:
    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw"):
        raise Invalid("", "", f"invalid mode: {mode[:40]}")
    found = others(name)
    return tuple(mount.model_copy(update={"read_only": True}) for mount in found) if mode == "ro" else found


def devices_of(host: Mapping[str, Any]) -> tuple[Device, ...]:
    found = []
    for item in list_of(host, "Devices"):
        if not isinstance(item, dict):
            raise Invalid("read request", "Devices", "not a list of objects")
        source = text_of(item, "PathOnHost")
        target = text_of(item, "PathInContainer") or source
        permissions = text_of(item, "CgroupPermissions") or "rwm"
        if not source.startswith("/") or set(permissions) - set("rwm"):
            raise Invalid("", "", f"invalid device: {source[:100]}:{permissions[:10]}")
        found.append(Device(source=source, target=container_path(target), permissions=permissions))
    return tuple(found)


def device_rules_of(host: Mapping[str, Any]) -> tuple[str, ...]:
    for text in texts_of(host, "DeviceCgroupRules"):
        if not RULE.fullmatch(text):
            raise Invalid("", "", f"invalid device cgroup rule format: '{text[:60]}'")
    return texts_of(host, "DeviceCgroupRules")
