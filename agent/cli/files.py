"""Manifests of a directory as they are saved, read for `validate` and `plan DIR`. Uses the agent's own
reading, so that what is checked here is what would run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import Invalid, NotFound

if TYPE_CHECKING:
    from agent.manifest.objects import Manifest, ManifestError, Revision


def read_revision(directory: str) -> Revision:
    """The files below a directory; or one file alone, as if its directory held nothing else."""
    from agent.source.source import Unreadable
    from agent.source.tree import read_directory

    if not directory:
        raise Invalid("read manifests", "''", "no directory is named", "give a directory of manifests")
    path = Path(directory).absolute()
    if not path.exists():
        raise NotFound(
            "read manifests", str(path), "no such file or directory", "give a directory of manifests"
        )
    if path.is_dir():
        try:
            return read_directory(path)
        except Unreadable as error:
            raise Invalid("read manifests", str(path), str(error), "") from error
    return _one_file(path)


def _one_file(path: Path) -> Revision:
    from dataclasses import replace

    from agent.manifest import image_lock

    revision = read_revision(str(path.parent))
    if path.name not in revision.files:
        raise Invalid("read manifests", str(path), "not a manifest", "manifests end in .yaml or .yml")
    beside = {
        name: data
        for name, data in revision.files.items()
        if not name.endswith((".yaml", ".yml")) or name == image_lock.FILE
    }
    return replace(revision, files={path.name: revision.files[path.name], **beside})


def read_manifest(arguments: Namespace) -> tuple[Revision, Manifest]:
    """What the directory says, with every error."""
    from agent.manifest.reader import read

    revision = read_revision(arguments.directory)
    environment = read_environment(arguments.env_file)
    return revision, read(revision, environment=environment, profiles=frozenset(arguments.profile))


def read_environment(path: str) -> dict[str, str]:
    """What `--env-file` says; nothing for ""."""
    from agent.manifest.env_file import BadEnvFile, read_env_file

    if not path:
        return {}
    try:
        return read_env_file(Path(path).read_bytes(), {})
    except OSError as error:
        raise Invalid(
            "read variables", path, error.strerror or str(error), "give a file of NAME=value"
        ) from None
    except BadEnvFile as error:
        raise Invalid("read variables", f"{path}:{error.line}", error.message, error.hint) from None


def problem(error: ManifestError) -> dict[str, Any]:
    where = error.where
    data = {"file": where.file, "line": where.line, "column": where.column}
    return {**data, "message": error.message, "hint": error.hint}
