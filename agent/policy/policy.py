"""A policy as a value: what manifests may ask for. Pure; made by `read`, asked by `judge`.

Two kinds of rules. What can make a container the host's root is refused unless it is named (privileged,
namespaces, capabilities, devices, binds, unconfined). What only takes up room is allowed unless a rule
narrows it (ports, sysctls, images, external): None there is "any".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

NAMESPACES = ("network", "pid", "ipc", "uts", "cgroup", "container")
"""The host's own; `container` is joining one that is named rather than a service of the same project."""
CONFINEMENTS = ("seccomp", "apparmor", "masked_paths")
REQUIREMENTS = ("user_namespace", "no_new_privileges", "read_only")


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the host, and all below it. shared: mounts may propagate to the host."""

    path: str
    read_only: bool = False
    shared: bool = False

    def covers(self, path: str) -> bool:
        if ".." in path.split("/"):  # a manifest's are gone by now; those of the Docker API are not
            return False
        return path == self.path or path.startswith(self.path.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class PortRange:
    """Host ports; address "" is any, protocol "" is any."""

    first: int
    last: int
    address: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Allow:
    """What some manifests may ask for. The defaults allow nothing that reaches the host."""

    privileged: bool = False
    namespaces: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    devices: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    unconfined: frozenset[str] = frozenset()
    ports: tuple[PortRange, ...] | None = None
    sysctls: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    external: tuple[str, ...] | None = None

    def joined(self, other: Allow) -> Allow:
        """Whatever one of them allows."""
        return Allow(
            privileged=self.privileged or other.privileged,
            namespaces=self.namespaces | other.namespaces,
            capabilities=self.capabilities | other.capabilities,
            devices=self.devices + other.devices,
            binds=self.binds + other.binds,
            unconfined=self.unconfined | other.unconfined,
            ports=_more(self.ports, other.ports),
            sysctls=_more(self.sysctls, other.sysctls),
            images=_more(self.images, other.images),
            external=_more(self.external, other.external),
        )


def _more(one: tuple[T, ...] | None, other: tuple[T, ...] | None) -> tuple[T, ...] | None:
    """A rule that a project does not have adds nothing to the one for all."""
    return one if other is None else other if one is None else one + other


@dataclass(frozen=True, slots=True)
class ProjectRule:
    """More for one project. below: only for manifests of this directory, since a project's name is
    written by whoever writes the manifest; "" is anywhere."""

    allow: Allow
    below: str = ""


@dataclass(frozen=True, slots=True)
class ImageRule:
    """What an image must be whose host and path fit match. line: in the policy's file. pinned: its name has
    a digest. minimum_age_seconds: since this host first saw it. architectures: () is any. signed_by: public
    keys in PEM form, of which one must have signed it; identities: patterns for the name it was signed
    under, () is any."""

    name: str
    match: tuple[str, ...]
    line: int = 0
    deny: bool = False
    pinned: bool = False
    minimum_age_seconds: float = 0.0
    architectures: frozenset[str] = frozenset()
    signed_by: tuple[bytes, ...] = ()
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """origin: the file, or what stands for it, as messages name it. is_open: nothing is refused. images: the
    first that fits an image is its rule. lines: of the rules for all in the file, where it has them."""

    origin: str = ""
    allow: Allow = Allow()
    projects: Mapping[str, ProjectRule] = field(default_factory=dict)
    require: frozenset[str] = frozenset()
    is_open: bool = False
    images: tuple[ImageRule, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def allowed(self, project: str, file: str) -> Allow:
        """What an object of project may ask for that file describes ("" for none, as by the API)."""
        rule = self.projects.get(project)
        if rule is None or (rule.below and not f"/{file}".startswith(f"/{rule.below}/")):
            return self.allow
        return self.allow.joined(rule.allow)


OPEN = Policy(origin="no policy", is_open=True)
STRICT = Policy(origin="the policy for remote repositories")
