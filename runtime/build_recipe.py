"""What a manifest's image is built of, as the engine is told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any


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


FindContext = Callable[[BuildRecipe], AbstractContextManager[tuple[Any, str]]]
"""(kind, path) as `BuildOrder` takes them, for as long as it is open; it may block."""
