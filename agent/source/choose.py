"""Which source a watched directory is: a git work tree's commits, or the plain directory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from agent.source.directory import DirectorySource
from agent.source.git import GitSource, find_repository
from agent.source.git_program import PLAIN
from agent.source.sandbox import Sandbox
from agent.source.source import Source
from runtime.errors import Invalid


def watch_directory(
    path: Path, kind: Literal["auto", "plain", "git"] = "auto", sandbox: Sandbox = PLAIN
) -> Source:
    """The source for `--watch DIR`. auto: git if the directory lies in a work tree. Raises Invalid when
    it is no directory, or kind is git and it is in no work tree; Unreadable when git says no."""
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise Invalid("watch", str(path), "not a directory")
    repository = find_repository(path) if kind != "plain" and path.is_dir() else None
    if repository is not None:
        return GitSource(path, repository, sandbox=sandbox)
    if kind == "git":
        raise Invalid("watch", str(path), "not in a git work tree", "run git init there, or watch it plain")
    return DirectorySource(path)
