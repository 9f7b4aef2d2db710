"""What only who asked for a build has, asked of them while it runs: logins, secrets, ssh agents.

Made by the API for clients that keep those to themselves (BuildKit's session) or send logins with one build
(`X-Registry-Config`). Called by `builds`, in the event loop. Nothing of an answer is written to a disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runtime.images.registry.credentials import Credential


@dataclass(frozen=True, slots=True)
class BuildCaller:
    """None: the caller has none of that, or it came with the order.

    credential: of a registry, by its domain (docker.io, registry.example.org:5000). secret: by its id.
    ssh: the path of a socket on this host that leads to the agent of that id, which is there as long as the
    build is. context: the path of a tar of the files that fit one of these paths or patterns, of all for
    None, there as long as the build is. name: what the caller calls the build, for `Builds.cancel`.
    check_image: raises for an image that the caller may not build upon or copy from.
    """

    credential: Callable[[str], Awaitable[Credential | None]] | None = None
    secret: Callable[[str], Awaitable[bytes | None]] | None = None
    ssh: Callable[[str], Awaitable[str | None]] | None = None
    context: Callable[[tuple[str, ...] | None], Awaitable[str]] | None = None
    name: str = ""
    check_image: Callable[[str], None] | None = None


NOBODY = BuildCaller()
