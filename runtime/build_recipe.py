"""What a manifest's image is built of, as the engine is told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

from runtime.model import Ulimit

BUILT = "setpoint.local/build"
"""The repository of images that manifests build: each tag stands for all that it was built of."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret is when a build begins; its value is in no recipe. file: absolute, on this host; below:
    the directory that no link may lead out of, "" for anywhere. environment: a variable of the agent's."""

    file: str = ""
    environment: str = ""
    below: str = ""


@dataclass(frozen=True, slots=True)
class NamedSource:
    """What a Dockerfile may name beside its stages: an image, or a directory of the source (as the recipe's
    own context)."""

    image: str = ""
    context: str = ""
    tree: str = ""


@dataclass(frozen=True, slots=True)
class BuildRecipe:
    """context, tree: where it takes files from, as the agent's source knows it. secrets, named: by their ids
    and names. ssh: id -> a socket, "" for that of the agent's own ssh agent. shm_bytes, ulimits, extra_hosts:
    of RUN steps. The rest as `BuildOrder`."""

    context: str
    tree: str = ""
    dockerfile: str = ""
    dockerfile_text: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    network: str = "default"
    no_cache: bool = False
    pull: bool = False
    tags: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    platform: str = ""
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, NamedSource] = field(default_factory=dict)
    shm_bytes: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()


Files = tuple[Literal["directory", "tar"], str]
"""(kind, path), as `BuildOrder` takes a context."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a recipe comes to when it is carried out. named: the directories among them. secrets: id ->
    content, never on a disk. ssh: id -> a socket."""

    context: Files
    named: Mapping[str, Files] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GitWish:
    """A tree of a repository elsewhere. ref "": its default branch. commit: what it must be, or begin with;
    "" for any. reaches_host: its server may be this machine. is_trusted: root asks, who may also name ssh and
    file, and whose keys count."""

    url: str
    ref: str = ""
    subdir: str = ""
    commit: str = ""
    reaches_host: bool = False
    is_trusted: bool = False


FetchGit = Callable[[GitWish], AbstractContextManager[tuple[str, str]]]
"""(the file of a tar, the id of the tree in it), for as long as it is open; it blocks."""
FindContext = Callable[[BuildRecipe], AbstractContextManager[Given]]
"""For as long as it is open; it may block."""
