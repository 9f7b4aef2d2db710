"""Seccomp profiles that clients send with a create: each is kept as a file, named for its content, which
containers and manifests name.

    path_of ─> keep, as the container is wanted ... nobody names it any more ─> collect

A file outlives the agent that wrote it and may lack the container that it was for; so none is removed by
name: `collect` removes all that nothing names, when another is to be kept and when an agent begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from agent.api.context import Context
from runtime.images.content import replace_file

HELD = 0o400  # a manifest was written that names it: the manifest may come and go, and come back
_PART = ".part"  # of a file that an agent was killed over


def path_of(context: Context, content: str) -> Path:
    name = hashlib.sha256(content.encode()).hexdigest()
    return _directory(context) / f"{name}.json"


def keep(context: Context, profiles: Mapping[Path, str]) -> None:
    """Once the container may be made: of who is refused, nothing stays on the disk. From here to where it is
    wanted nobody else may have a turn."""
    new = {path: content for path, content in profiles.items() if not path.exists()}
    if new:
        collect(context)
    for path, content in new.items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(path, content.encode())


def hold(context: Context, profile: str) -> None:
    """A manifest that names it was given away."""
    path = Path(profile)
    if path.parent == _directory(context):
        with contextlib.suppress(FileNotFoundError):
            path.chmod(HELD)


def collect(context: Context) -> None:
    """Remove the profiles that no object and no container names, and what was not written to its end."""
    named = {str(record.spec.get("seccomp", "")) for record in context.loop.objects().values()}
    named |= context.engine.profiles()
    with contextlib.suppress(FileNotFoundError), os.scandir(_directory(context)) as entries:
        for entry in entries:
            if entry.name.endswith(_PART) or (entry.path not in named and _is_free(entry)):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_free(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".json") and stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode) != HELD


def _directory(context: Context) -> Path:
    found: Path = context.settings.layout.data / "seccomp"
    return found
