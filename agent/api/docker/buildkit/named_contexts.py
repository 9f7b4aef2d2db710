"""What BuildKit's clients give a build beside its context: `--build-context`, and compose's
`additional_contexts`. Pure. A directory is one that the client shares by a name, as it does its context.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import Invalid, Unsupported
from runtime.images.build.order import NamedKind
from runtime.images.reference import parse_reference

_KEY, _LOCAL, _IMAGE = "context:", "local:", "docker-image://"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,250}")
MAX_NAMED = 100


@dataclass(frozen=True, slots=True)
class NamedContexts:
    """images: as an order has them. shared: name -> what the client calls the directory."""

    images: Mapping[str, tuple[NamedKind, str]] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)


def take_named(rest: dict[str, str]) -> NamedContexts:
    """Of the attributes, which have them no more. `Invalid` and `Unsupported`."""
    names = [name for name in rest if name.startswith(_KEY)]
    if len(names) > MAX_NAMED:
        raise Invalid("build image", "--build-context", f"more than {MAX_NAMED} of them")
    images: dict[str, tuple[NamedKind, str]] = {}
    shared: dict[str, str] = {}
    for name in names:
        own, where = name.removeprefix(_KEY), rest.pop(name)
        if not _NAME.fullmatch(own):
            raise Invalid(
                "build image", f"--build-context {own[:60]}", "not a name that COPY --from can have"
            )
        if where.startswith(_IMAGE):
            parse_reference(where.removeprefix(_IMAGE))
            images[own] = ("image", where.removeprefix(_IMAGE))
        elif where.startswith(_LOCAL):
            shared[own] = where.removeprefix(_LOCAL)
        else:
            hint = "a directory, or docker-image://NAME"
            reason = f"{where[:80]!r} is neither a directory nor an image"
            raise Unsupported("build image", f"--build-context {own[:60]}", reason, hint)
    return NamedContexts(images, shared)
