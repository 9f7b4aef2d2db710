"""Contexts of builds, as a source has them: what a directory holds, in a word, and its files for a build.

    git:ID       a tree of the repository: its files are read from git's objects, as manifests are
    dir:DIGEST   a directory of this host, as it is saved (see `prints`)

Blocking: called in threads, by who makes revisions and by the engine's builds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

from agent.settings import Settings
from agent.source.build_secrets import find_sockets, read_secrets
from agent.source.git import find_repository
from agent.source.git_program import ObjectReader
from agent.source.git_tree import LINK, MAX_TREE_BYTES, SUBMODULE, TREE, parse_tree
from agent.source.prints import open_below
from agent.source.sandbox import ALL_READ, Sandbox, programs
from agent.source.source import Unreadable
from runtime.build_recipe import BuildRecipe, Files, Given
from runtime.errors import Invalid, NotFound, Temporary
from runtime.landlock import Reach

MAX_BLOB_BYTES = 512 << 20
MAX_DEPTH = 100
EXECUTABLE = "100755"
TIME = 946_684_800  # of all files: git keeps none, and zip knows none before 1980
GIT = "git:"


class Contexts:
    """The contexts of one agent's source."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextlib.contextmanager
    def opened(self, recipe: BuildRecipe) -> Iterator[Given]:
        """All that a build is given, while it is open. `NotFound`, `Invalid`, `Temporary`."""
        with contextlib.ExitStack() as stack:
            yield Given(
                self._files(stack, recipe.context, recipe.tree),
                {
                    name: self._files(stack, source.context, source.tree)
                    for name, source in recipe.named.items()
                    if not source.image
                },
                read_secrets(recipe.secrets, self._settings.environment),
                find_sockets(recipe.ssh, os.environ),
            )

    def _files(self, stack: contextlib.ExitStack, context: str, tree: str) -> Files:
        if not tree.startswith(GIT):
            return "directory", self._directory(stack, context)
        descriptor = os.open(self._settings.layout.data, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            self._pack(tree.removeprefix(GIT), file)
        return "tar", f"/proc/{os.getpid()}/fd/{descriptor}"

    def _directory(self, stack: contextlib.ExitStack, context: str) -> str:
        """By its descriptor: no link leads out of the watched directory, now or later."""
        watch = self._settings.watch
        if watch is None:
            raise Invalid("build image", context, "its source has no directory on this host")
        try:
            found = open_below(Path(watch).absolute(), context, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            reason = "there is no such directory beside the manifest"
            if error.errno == errno.EXDEV:
                reason = "a link leads out of the directory of the manifests"
            raise NotFound("build image", context or ".", reason) from error
        stack.callback(os.close, found)
        return f"/proc/{os.getpid()}/fd/{found}"

    def _pack(self, tree: str, file: IO[bytes]) -> None:
        objects = self._objects()
        try:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                add_tree(tar, objects, tree, "", 0)
        except Unreadable as error:
            raise Temporary("build image", tree[:12], str(error), "is the repository whole?", 60) from error
        finally:
            objects.close()

    def _objects(self) -> ObjectReader:
        layout = self._settings.layout
        sandbox = Sandbox(layout.git_cgroup)
        if self._settings.git_url:
            mirror = layout.data / "source"
            return ObjectReader(mirror, sandbox, Reach((*programs(), str(mirror)), ("/dev/null",)))
        found = find_repository(Path(self._settings.watch or Path()).absolute())
        if found is None:
            raise NotFound(
                "build image", str(self._settings.watch), "it is in no git repository any more", ""
            )
        return ObjectReader(found.git_directory, sandbox, ALL_READ)


def add_tree(tar: tarfile.TarFile, objects: ObjectReader, tree: str, prefix: str, depth: int) -> None:
    """A tree and what is below it. Times are none of git's: all is of the same one."""
    if depth > MAX_DEPTH:
        raise Unreadable(f"{prefix} is deeper than {MAX_DEPTH} directories")
    found = next(objects.read([tree], MAX_TREE_BYTES))
    if found is None or found.data is None or found.type != "tree":
        raise Unreadable(f"tree {tree} is missing")
    entries = list(parse_tree(found.data, len(tree) // 2))
    blobs = {id: name for mode, name, id in entries if mode not in (TREE, SUBMODULE)}
    contents = dict(zip(blobs, objects.read(blobs, MAX_BLOB_BYTES), strict=True))
    for mode, name, id in entries:
        info = tarfile.TarInfo(prefix + name)
        info.mtime = TIME
        if mode == SUBMODULE:
            continue
        if mode == TREE:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
            add_tree(tar, objects, id, f"{prefix}{name}/", depth + 1)
            continue
        blob = contents[id]
        if blob is None or blob.data is None:
            raise Unreadable(f"{prefix}{name} is missing, or over {MAX_BLOB_BYTES} bytes")
        if mode == LINK:
            info.type, info.linkname = tarfile.SYMTYPE, blob.data.decode("utf-8", "surrogateescape")
            tar.addfile(info)
            continue
        info.mode, info.size = 0o755 if mode == EXECUTABLE else 0o644, len(blob.data)
        tar.addfile(info, BytesIO(blob.data))
