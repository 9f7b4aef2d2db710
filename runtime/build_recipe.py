"""What a manifest's image is built of, as the engine is told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

BUILT = "setpoint.local/build"
"""The repository of images that manifests build: each tag stands for all that it was built of."""


@dataclass(frozen=True, slots=True)
class BuildRecipe:
    """context, tree: where it takes files from, as the agent's source knows it. The rest as `BuildOrder`."""

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
FindContext = Callable[[BuildRecipe], AbstractContextManager[tuple[Any, str]]]
"""(kind, path) as `BuildOrder` takes them, for as long as it is open; it may block."""
