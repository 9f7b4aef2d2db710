"""What a container's bundle is put together from: image, volumes, devices, seccomp filter, names.

    create: bundle/{upper, work}, volumes made and filled
    start:  run/{config.json, resolv.conf, hostname}

The OCI config is of this boot (device numbers, namespaces), follows from the container's record, and lies
in memory with the rest of the run directory: an inode on a disk costs what ten in memory do.

Called by `engine`, on the start path: plain strings and single system calls. Starts nothing and
changes no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime import (
    bundle,
    cgroup_limits,
    cgroups,
    container_ids,
    disk,
    mount_points,
    mounts,
    seccomp_cache,
    security,
)
from runtime.bundle import (
    NOFILE_HARD,
    HostLimits,
    HostPaths,
    apparmor_of,
    bind_to_oci,
    find_devices,
    mount_to_oci,
    oci_config,
)
from runtime.container_places import Places, places_of
from runtime.errors import Conflict, Invalid, NotFound, Temporary
from runtime.images.images import Images, Stack
from runtime.images.snapshots import prepare, prepare_stack
from runtime.layout import Layout
from runtime.model import ContainerConfig, ImageInfo, MountConfig
from runtime.mounts import Overlay
from runtime.network.hosts import is_too_large
from runtime.network.names import extra_lines
from runtime.network.networks import Networks
from runtime.supervisor.prepare import SECCOMP
from runtime.volumes import DATA, Volumes

CONFIG = "config.json"
NO_IMAGE = ImageInfo("", (), 0, 0.0, "", "linux")
# O_NONBLOCK: what lives on of an earlier start may hold a lease on a file that it had (fcntl(2)).
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Assembly:
    """process_of: number and start time of a running container's first process. apparmor: the profile
    of containers that name none, "" for none."""

    def __init__(
        self,
        layout: Layout,
        images: Images,
        volumes: Volumes,
        networks: Networks,
        process_of: Callable[[str], tuple[int, int] | None],
        apparmor: str = "",
    ) -> None:
        self._layout = layout
        self._images = images
        self._volumes = volumes
        self._networks = networks
        self._process_of = process_of
        self._containers = os.fspath(layout.containers)
        self._run = os.fspath(layout.run_containers)
        self._filters: dict[tuple[object, ...], str] = {}
        self._filters_in_use = 0
        self._filling: dict[str, asyncio.Lock] = {}
        self._mount_points = ""
        self._checked: dict[str, dict[str, Any]] = {}  # configs of what was created and not yet started
        self._limits = replace(_host_limits(), apparmor=apparmor)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """All that this host can give."""
        return self._limits.capabilities

    def bundle(self, id: str) -> str:
        return f"{self._containers}/{id}"

    def run_directory(self, id: str) -> str:
        return f"{self._run}/{id}"

    def places(self, config: ContainerConfig) -> Places:
        """Where its things lie on this host by now."""
        sandbox = config.sandbox.id if config.sandbox.mode != "host" else ""
        found = places_of(
            self.bundle(config.id), self.run_directory(config.id), self._lower(config),
            self._networks.hosts_path(sandbox) if sandbox else "",
            self._networks.netns_path(sandbox) if sandbox else "",
        )  # fmt: skip
        return replace(found, apparmor=apparmor_of(config.security, self._limits))

    def _lower(self, config: ContainerConfig) -> tuple[str, ...]:
        """The directories below its writable layer; () where its image is damaged or gone."""
        if config.lower is not None:
            return (*config.lower, os.fspath(self._layout.mount_points))
        try:
            return (*self._images.stack(config.image).lower, os.fspath(self._layout.mount_points))
        except NotFound:
            return ()

    def cgroup(self, id: str) -> str:
        """The container's path in every hierarchy, as `runtime.cgroups` takes it."""
        return f"/{self._layout.cgroup_parent}/{id}"

    def sources(self, config: ContainerConfig) -> list[str]:
        """The places on the host that its mounts come from. Not those of volumes that are yet to be made:
        nobody has looked them up, and a child would be sent to wherever a server's file system is mounted."""
        volumes = os.fspath(self._layout.volumes)
        binds = [mount.source for mount in config.mounts if mount.kind == "bind"]
        there = (name for name in config.volumes if self._volumes.get(name) is not None)
        return [*binds, *(f"{volumes}/{name}/{DATA}" for name in there)]

    def image(self, config: ContainerConfig, op: str) -> ImageInfo:
        if config.lower is not None:
            return NO_IMAGE
        image = self._images.get(config.image)
        if image is None:
            raise NotFound(op, config.name, f"image {config.image[:19]} is not in the store", "load it again")
        return image

    # --- create

    async def assemble(self, config: ContainerConfig) -> None:
        """Make the bundle but for the record that says it is whole. Everything that can be wrong with a
        config shows here. May be repeated."""
        container_ids.refuse_unfit(config)
        image = self.image(config, "create")
        bundle = self.bundle(config.id)
        _make_directory(bundle)
        overlay = self._overlay(config, image)
        await self._make_volumes(config, image)
        oci = self._oci(config, image, overlay, is_starting=False)
        cgroup_limits.check(oci["linux"]["resources"], cgroups.hierarchies())
        self._checked[config.id] = oci

    def _overlay(self, config: ContainerConfig, image: ImageInfo) -> Overlay:
        if not self._mount_points:
            self._mount_points = mount_points.make(self._layout.mount_points)
        place = Path(self.bundle(config.id))
        if config.lower is None:
            overlay = prepare(self._images, image.id, place)
        else:
            overlay = prepare_stack(Stack(config.lower, config.lower_root), place)
        return overlay._replace(lower=(*overlay.lower, self._mount_points))

    def _oci(
        self, config: ContainerConfig, image: ImageInfo, overlay: Overlay, *, is_starting: bool
    ) -> dict[str, Any]:
        paths = self._paths(config, image, overlay, is_starting)
        return oci_config(
            config,
            image,
            paths,
            found_devices=find_devices(config) if _has_devices(config) else (),
            host=self._limits,
        )

    def _paths(
        self, config: ContainerConfig, image: ImageInfo, overlay: Overlay, is_starting: bool
    ) -> HostPaths:
        run = self.run_directory(config.id)
        sandbox = config.sandbox.id if config.sandbox.mode != "host" else ""
        return HostPaths(
            overlay=overlay,
            cgroup=self.cgroup(config.id),
            netns=self._networks.netns_path(sandbox) if sandbox else "",
            hosts=self._networks.hosts_path(sandbox) if sandbox else f"{run}/hosts",
            resolv=f"{run}/resolv.conf",
            hostname=f"{run}/hostname" if config.uts_mode != "host" else "",
            volumes=self._volume_paths(config),
            rbinds=self._rbinds(config),
            pid_namespace=self._namespace(config, config.pid_mode, "pid") if is_starting else "",
            ipc_namespace=self._namespace(config, config.ipc_mode, "ipc") if is_starting else "",
            shm_namespace=self._namespace(config, config.ipc_mode, "mnt") if is_starting else "",
            joined=self._joined(config) if is_starting else (),
            seccomp=self._filter(config),
            ids=container_ids.ids_of(self._networks, config) if is_starting else 0,
        )

    def _namespace(self, config: ContainerConfig, mode: str, kind: str) -> str:
        """The file of another container's namespace for "container:<id>"; "" for every other mode."""
        kept, _, other = mode.partition(":")
        if kept != "container":
            return ""
        process = self._process_of(other)
        if process is None:
            raise Conflict(
                "start", config.name, f"its {kind} namespace is that of {other[:12]}, which does not run",
                "start that one first",
            )  # fmt: skip
        netns = self._networks.netns_path(config.sandbox.id) if config.sandbox.mode != "host" else ""
        container_ids.refuse_stranger(config, netns, process[0], kind, other)
        return f"/proc/{process[0]}/ns/{kind}"

    def _joined(self, config: ContainerConfig) -> tuple[tuple[int, int], ...]:
        """Whose namespaces it joins: for the supervisor to see that a number is still that process's."""
        modes = (mode.partition(":") for mode in (config.pid_mode, config.ipc_mode))
        found = (self._process_of(other) for kept, _, other in modes if kept == "container")
        return tuple(process for process in found if process is not None)

    def _filter(self, config: ContainerConfig) -> str:
        """The compiled seccomp filter's file; each profile is compiled once."""
        wanted = config.security
        if wanted.privileged or wanted.seccomp == "unconfined":
            return ""
        key = (wanted.seccomp, wanted.cap_add, wanted.cap_drop, _version_of(wanted.seccomp))
        known = self._filters.get(key)
        if known is not None:
            return known
        from runtime import denials, seccomp, seccomp_told  # late: the compiler is needed once a profile

        names = security.capabilities(wanted.cap_add, wanted.cap_drop, False, self._limits.capabilities)
        profile = seccomp.profile_for(wanted.seccomp, names)
        is_told = wanted.seccomp in ("", "default") and not denials.why_deaf()
        told = seccomp_told.names(names) if is_told else ()
        directory = self._layout.data / "seccomp"
        path = os.fspath(seccomp.compiled_file(profile, directory, told)) if profile else ""
        self._bound_filters(path)
        self._filters[key] = path
        return path

    def _bound_filters(self, path: str) -> None:
        """path: of the one that was asked for now, which is in no config yet."""
        directory = os.fspath(self._layout.data / "seccomp")
        if not path or not seccomp_cache.is_full(directory, self._filters_in_use):
            return
        made = [oci["annotations"].get(SECCOMP, "") for oci in self._checked.values()]
        self._filters_in_use = seccomp_cache.clear(directory, self._run, CONFIG, {path, *made})
        self._filters.clear()

    # --- volumes

    def _volume_paths(self, config: ContainerConfig) -> dict[str, str]:
        return {name: os.fspath(self._volumes.path(name)) for name in config.volumes}

    def _rbinds(self, config: ContainerConfig) -> list[str]:
        return [name for name in config.volumes if self._volumes.is_rbind(name)]

    async def _make_volumes(self, config: ContainerConfig, image: ImageInfo) -> None:
        for mount in config.mounts:
            if mount.kind == "volume":
                self._volumes.ensure(mount.source)
                if not mount.no_copy and not mount.subpath:
                    await self._fill(mount, image)
            elif mount.kind == "bind":
                _check_bind(config, mount)

    async def _fill(self, mount: MountConfig, image: ImageInfo) -> None:
        if not self._volumes.wants_filling(mount.source):
            return
        lock = self._filling.setdefault(mount.source, asyncio.Lock())
        async with lock:
            if self._volumes.wants_filling(mount.source):
                lower = self._images.stack(image.id).lower
                await asyncio.to_thread(self._volumes.fill, mount.source, lower, mount.target)
        self._filling.pop(mount.source, None)

    # --- start

    def complete(self, config: ContainerConfig) -> None:
        """What only a start can know: files that tell the container its names, namespaces to join,
        device numbers of this boot."""
        run = self.run_directory(config.id)
        _make_directory(self._run)
        _make_directory(run)
        owner = container_ids.ids_of(self._networks, config)
        for name, text in self._names(config):
            _write(f"{run}/{name}", text, 0o644, owner)
        self.write_config(config.id, self._config_to_start(config))

    def _names(self, config: ContainerConfig) -> Iterator[tuple[str, str]]:
        """(file, content) of what tells a container its names and the others'; a sandbox has a hosts file
        of its own."""
        yield "resolv.conf", self.resolv_conf(config)
        if config.uts_mode != "host":
            yield "hostname", f"{config.hostname or config.id[:12]}\n"
        if config.sandbox.mode == "host":
            yield "hosts", _host_names(config)

    def resolv_conf(self, config: ContainerConfig) -> str:
        """As a start would write it now."""
        sandbox = config.sandbox.id if config.sandbox.mode != "host" else ""
        return self._networks.resolv_content(
            sandbox, servers=config.dns, search=config.dns_search, options=config.dns_options
        )

    def rewrite_resolv_conf(self, config: ContainerConfig, before: str) -> None:
        """Its networks are others now. What the container wrote itself stays: what is not as `before`."""
        path, text = f"{self.run_directory(config.id)}/resolv.conf", self.resolv_conf(config)
        if text != before and _is_text(path, before):
            _write(path, text, 0o644, container_ids.ids_of(self._networks, config))

    def restore_files(self, config: ContainerConfig) -> None:
        """Write those again that are gone or empty, while the container runs. What it wrote itself stays."""
        run = self.run_directory(config.id)
        os.makedirs(run, 0o700, exist_ok=True)  # noqa: PTH103
        for name, text in self._names(config):
            if not _has_content(f"{run}/{name}"):
                _write(f"{run}/{name}", text, 0o644, container_ids.ids_of(self._networks, config))

    def empty_files(self, config: ContainerConfig) -> list[str]:
        """The names of those that are gone, empty or far too large."""
        run = self.run_directory(config.id)
        names = ["resolv.conf"]
        if config.uts_mode != "host":
            names.append("hostname")
        if config.sandbox.mode == "host":
            names.append("hosts")
        return [name for name in names if not _has_content(f"{run}/{name}")]

    def restore_config(self, config: ContainerConfig) -> dict[str, Any]:
        """The OCI config of a running container, written again."""
        image = self.image(config, "write config")
        oci = self._oci(config, image, self._overlay(config, image), is_starting=True)
        self.write_config(config.id, oci)
        return oci

    def _config_to_start(self, config: ContainerConfig) -> dict[str, Any]:
        checked = self._checked.pop(config.id, None)
        modes = (config.pid_mode, config.ipc_mode)
        depends = bool(config.devices) or any(mode.startswith("container:") for mode in modes)
        depends = depends or config.security.user_namespace == "auto"
        if checked is not None and not depends:
            return checked
        image = self.image(config, "start")
        return self._oci(config, image, self._overlay(config, image), is_starting=True)

    def forget(self, id: str) -> None:
        """A container that is no more."""
        self._checked.pop(id, None)

    def idle_root(self, config: ContainerConfig) -> tuple[Overlay, list[dict[str, Any]]]:
        """What the root of a container that does not run is made of: its layers, and OCI mounts over them."""
        overlay = self._overlay(config, self.image(config, "copy"))
        run, volumes, rbinds = (
            self.run_directory(config.id), self._volume_paths(config), self._rbinds(config)
        )  # fmt: skip
        shown = sorted(config.mounts, key=lambda mount: mount.target.count("/"))
        made = [mount_to_oci(mount, volumes, rbinds) for mount in shown if mount.kind != "tmpfs"]
        taken = {mount["destination"] for mount in made}
        for name in ("hosts", "hostname", "resolv.conf"):  # as its latest run left them
            if f"/etc/{name}" not in taken and _has_content(f"{run}/{name}"):
                made.append(bind_to_oci(f"{run}/{name}", f"/etc/{name}"))
        return overlay, made

    # --- the OCI config

    def write_config(self, id: str, oci: Mapping[str, Any]) -> None:
        """Whole or not at all: an exec may read it at this moment."""
        run = self.run_directory(id)
        try:
            _write(f"{run}/.{CONFIG}.new", _encode(oci), 0o600)
            os.rename(f"{run}/.{CONFIG}.new", f"{run}/{CONFIG}")  # noqa: PTH104
        except OSError as error:
            raise _full("write config", id, error) from error

    def read_config(self, id: str) -> dict[str, Any]:
        """That of a running container. NotFound where there is none."""
        try:
            found = json.loads(Path(self.run_directory(id), CONFIG).read_bytes())
        except (OSError, ValueError) as error:
            raise NotFound("read config", id, str(error)) from error
        if not isinstance(found, dict):
            raise NotFound("read config", id, "it is not an object")
        return found


def _has_content(path: str) -> bool:
    """Something, and not so much that it fills the host's memory."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        return found.st_size > 0 and not is_too_large(found)
    except OSError:
        return False


def _is_text(path: str, text: str) -> bool:
    """Whether a file that its container may write is this text."""
    wanted = text.encode("utf-8", "surrogateescape")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.pread(fd, len(wanted) + 1, 0) == wanted
    finally:
        os.close(fd)


def _has_devices(config: ContainerConfig) -> bool:
    return bool(config.devices) or config.security.privileged


def _check_bind(config: ContainerConfig, mount: MountConfig) -> None:
    """A bind's source is there, or is made when the manifest says so."""
    if not mount.source.startswith("/"):
        raise Invalid("create", config.name, f"bind source {mount.source} is not an absolute path")
    if mount.below:
        _check_bind_below(config, mount)
        return
    if os.path.exists(mount.source):  # noqa: PTH110
        return
    if not mount.create_host_path:
        raise Invalid(
            "create", config.name, f"bind source {mount.source} is not there",
            "make it, or set create_host_path",
        )  # fmt: skip
    try:
        os.makedirs(mount.source, 0o755, exist_ok=True)  # noqa: PTH103
    except OSError as error:
        raise Invalid(
            "create", config.name, f"make {mount.source}: {os.strerror(error.errno or 0)}"
        ) from error


def _check_bind_below(config: ContainerConfig, mount: MountConfig) -> None:
    """The same, where no link may lead out of the directory that the source must be below."""
    path = bundle.below(mount)
    try:
        root = os.open(mount.below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:  # a file that is allowed by its own name
        return
    except OSError as error:
        raise Invalid("create", config.name, f"{mount.below}: {os.strerror(error.errno or 0)}") from error
    try:
        is_made = mount.create_host_path
        found = mounts.open_target(root, path, True) if is_made else mounts.open_in_root(root, path)
        os.close(found)
    except OSError as error:
        reason = f"bind source {mount.source}, without leaving {mount.below}: {os.strerror(error.errno or 0)}"
        raise Invalid("create", config.name, reason, "make it, or set create_host_path") from error
    finally:
        os.close(root)


def _host_names(config: ContainerConfig) -> str:
    """The host's own names, for a container in the host's network."""
    with contextlib.suppress(OSError):
        own = Path("/etc/hosts").read_text(errors="replace")
        return f"{own.rstrip()}\n{extra_lines(config.extra_hosts, '127.0.0.1')}"
    return "127.0.0.1\tlocalhost\n"


def _version_of(profile: str) -> int:
    """Changes with a profile's file; 0 for the built-in one."""
    if not profile.startswith("/"):
        return 0
    try:
        return Path(profile).stat().st_mtime_ns
    except OSError:
        return -1


def _host_limits() -> HostLimits:
    """The capabilities and open files that this host can give."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    bounding = int(line.split()[1], 16)
    names = tuple(name for name, number in security.CAPABILITY_NUMBERS.items() if bounding >> number & 1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return HostLimits(names, NOFILE_HARD if hard == resource.RLIM_INFINITY else hard)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, 0o700, exist_ok=True)  # noqa: PTH103
    except OSError as error:
        raise _full("make directory", path, error) from error


def _write(path: str, text: str, mode: int, owner: int = 0) -> None:
    try:
        fd = os.open(path, _FLAGS, mode)
        try:
            if owner:
                os.fchown(fd, owner, owner)
            disk.write_all(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
    except OSError as error:
        raise _full("write", path, error) from error


def _full(op: str, subject: str, error: OSError) -> Temporary:
    return disk.explained(op, subject, error) or Temporary(op, subject, str(error), "", 5.0)
