"""One COPY or ADD: which files it takes, what they come to (for the cache), and their way into the root.

action + SourceTree ─ find ─> Chosen, … ─ describe ─> the parts of its key
                                      └─ Transfer.carry_out ─> the root's upper directory
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime import users
from runtime.errors import Invalid, NotFound
from runtime.images.build import archives, paths
from runtime.images.build.copy import Copier, Owner
from runtime.images.build.modes import parse_mode
from runtime.images.build.paths import Parts
from runtime.images.build.sources import Digests, SourceTree
from runtime.images.dockerfile.globs import compiled, fixed_part
from runtime.images.dockerfile.ignore import patterns_of
from runtime.images.dockerfile.steps import InlineSource, PathSource, Source, TransferAction

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
_INLINE_MODE, _DOWNLOAD_MODE = 0o644, 0o600


@dataclass(frozen=True, slots=True)
class Chosen:
    """given: the path by which it was found, whose last part names a copied file. real: where it leads."""

    given: Parts
    real: Parts
    is_tree: bool
    pivot: int = 0  # how many parts of `given` --parents leaves out


@dataclass(frozen=True, slots=True)
class Download:
    """What a URL gave. name: of the file below a directory. mtime_ns: None where the server does not say."""

    path: Path
    name: str
    digest: str
    mtime_ns: int | None


def find(source: SourceTree, wanted: PathSource) -> Iterator[Chosen]:
    """What a source's path means, sorted. `NotFound` for a plain path that is not there; a pattern may fit
    nothing, as in BuildKit."""
    pivot = len(paths.parts_of(wanted.pivot))
    before = f"{wanted.pivot}/" if pivot else ""
    if not wanted.has_pattern:
        real = source.real(before + wanted.path)
        found = source.status(real)
        if found is None:
            raise NotFound(
                "copy files", f"/{wanted.path}", f"there is no such file in {source.name}",
                "is it left out by .dockerignore?" if not source.keeps_owner else "",
            )  # fmt: skip
        yield Chosen(tuple(paths.parts_of(before + wanted.path)), real, stat.S_ISDIR(found.st_mode), pivot)
        return
    fixed = tuple(paths.parts_of(fixed_part(wanted.path)))
    rest = "/".join(wanted.path.split("/")[len(fixed) :])
    fixed = (*paths.parts_of(wanted.pivot), *fixed)
    for inner in _matching(source, source.real("/".join(fixed)), rest):
        given = (*fixed, *inner)
        real = source.real("/".join(given))
        found = source.status(real)
        if found is not None:
            yield Chosen(given, real, stat.S_ISDIR(found.st_mode), pivot)


def _matching(source: SourceTree, base: Parts, pattern: str) -> Iterator[Parts]:
    """Paths below base that a pattern fits, parents first. Links on the way are not followed.

    Each directory is looked into once, whatever the pattern says, and none in which nothing can fit.
    """
    glob = compiled(pattern)
    waiting: list[tuple[Parts, int]] = [((), glob.begin)]
    count = 0
    while waiting:
        inner, places = waiting.pop()
        if inner:
            count += 1
            source.check(count, inner)
            if glob.is_end(places):
                yield inner
            places = glob.advance(places, "/")
        if not places or not _is_directory(source, (*base, *inner)):
            continue
        for name, _ in reversed(list(source.names((*base, *inner)))):
            if after := glob.advance(places, name):
                waiting.append(((*inner, name), after))


def _is_directory(source: SourceTree, parts: Parts) -> bool:
    found = source.status(parts)
    return found is not None and stat.S_ISDIR(found.st_mode)


class Transfer:
    """One action over one source. downloads: of its URLs and repositories, in their order."""

    def __init__(
        self,
        action: TransferAction,
        digests: Digests | None,
        downloads: Sequence[Download],
        directory: Callable[[], Path],
        now_ns: int,
    ) -> None:
        self._action = action
        self._digests = digests
        self._downloads = list(downloads)
        self._directory = directory
        self._now_ns = now_ns
        self._excluded = patterns_of(action.exclude) if action.exclude else None

    # --- for the key

    def describe(self) -> list[object]:
        """All that the files come to. The same for the same content, whatever its times and inodes."""
        found: list[object] = []
        for source in self._action.sources:
            if isinstance(source, InlineSource):
                found.append(["inline", source.name, source.content])
            elif isinstance(source, PathSource):
                found += [self._described(chosen) for chosen in self._chosen(source)]
        return found + [["download", each.name, each.digest] for each in self._downloads]

    def _described(self, chosen: Chosen) -> list[object]:
        digests = self._whole()
        items = digests.source.items(chosen.real, self._excludes)
        kept = list(chosen.given if self._action.keeps_parents else chosen.given[-1:])
        return ["path", kept, chosen.pivot, chosen.is_tree, digests.digest(items)]

    def _chosen(self, source: PathSource) -> Iterator[Chosen]:
        for chosen in find(self._whole().source, source):
            if chosen.is_tree or not self._excludes(chosen.given[-1] if chosen.given else ""):
                yield chosen

    def _whole(self) -> Digests:
        assert self._digests is not None
        return self._digests

    def _excludes(self, path: str) -> bool:
        return self._excluded is not None and bool(path) and self._excluded.is_ignored(path)

    # --- carrying out

    def carry_out(self, root: int, owner: Owner | None) -> None:
        """root: of the step, to be written. owner: as `owner_in` says."""
        copier = Copier(root, owner, parse_mode(self._action.mode), self._now_ns)
        downloads = iter(self._downloads)
        for source in self._action.sources:
            self._copy(copier, source, downloads)

    def _copy(self, copier: Copier, source: Source, downloads: Iterator[Download]) -> None:
        action = self._action
        if isinstance(source, InlineSource):
            target = self._target(copier, source.name, is_tree=False)
            copier.write_file(target, source.content.encode("utf-8", "surrogateescape"), _INLINE_MODE)
            return
        if isinstance(source, PathSource):
            for chosen in self._chosen(source):
                self._copy_chosen(copier, chosen)
            return
        got = next(downloads)
        if got.path.is_dir():
            self._copy_tree(copier, got.path)
        elif action.unpack and archives.is_archive(got.path):
            self._unpack(copier, got.path)
        else:
            target = self._target(copier, got.name, is_tree=False)
            copier.write_from(target, got.path, _DOWNLOAD_MODE, got.mtime_ns)

    def _target(self, copier: Copier, name: str, *, is_tree: bool) -> Parts:
        return copier.target_of(
            self._action.destination, is_directory=self._action.is_directory, name=name, is_tree=is_tree
        )

    def _copy_chosen(self, copier: Copier, chosen: Chosen) -> None:
        digests, action = self._whole(), self._action
        if action.keeps_parents:
            self._copy_with_parents(copier, chosen)
            return
        if action.is_add and action.unpack is not False and not chosen.is_tree:
            opened = paths.open_file(digests.source.root, chosen.real)
            try:
                path = Path(f"/proc/self/fd/{opened}")
                if archives.is_archive(path):
                    self._unpack(copier, path)
                    return
            finally:
                os.close(opened)
        name = chosen.given[-1] if chosen.given else ""
        target = self._target(copier, name, is_tree=chosen.is_tree)
        copier.copy(digests, chosen.real, target, self._excludes)

    def _copy_with_parents(self, copier: Copier, chosen: Chosen) -> None:
        digests = self._whole()
        kept = chosen.given[chosen.pivot :]
        base = self._target(copier, "", is_tree=True)
        copier.make_parents(base)
        for count in range(1, len(kept) + chosen.is_tree):
            real = digests.source.real("/".join(chosen.given[: chosen.pivot + count]))
            copier.copy_parent(digests.source, real, (*base, *kept[:count]))
        copier.copy(digests, chosen.real, (*base, *kept), self._excludes)

    def _unpack(self, copier: Copier, archive: Path) -> None:
        """With the archive's owners and modes: --chown is of the directories on the way, as in BuildKit."""
        place = self._directory()
        tree = archives.unpack(archive, place)
        copier.make_parents(self._target(copier, "", is_tree=True))
        self._copy_tree(copier.keeping(), tree)

    def _copy_tree(self, copier: Copier, tree: Path) -> None:
        target = self._target(copier, "", is_tree=True)
        root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            source = SourceTree(root, "the archive", keeps_owner=True)
            copier.copy(Digests(source), (), target, self._excludes)
        finally:
            os.close(root)


def owner_in(root: int, text: str) -> Owner | None:
    """`--chown` as numbers, by the root's own files; None for "": the source's. `Invalid` for a lost name."""
    if not text:
        return None
    name, _, group = text.partition(":")
    uid, gid = _user(root, name, text) if name else (0, 0)
    return uid, _group(root, group, text) if group else gid


def _user(root: int, name: str, text: str) -> Owner:
    """Without a group, a number stands for both, as in BuildKit; a name has the group that passwd says."""
    number = users.parse_id(name)
    if number is not None:
        return number, number
    entries = users.parse_passwd(_read(root, _PASSWD))
    entry = next((each for each in entries if each.name == name), None)
    if entry is None:
        raise Invalid("copy files", f"--chown={text}", f"no user {name} in the image", "use a number")
    return entry.uid, entry.gid


def _group(root: int, name: str, text: str) -> int:
    number = users.parse_id(name)
    if number is not None:
        return number
    entry = next(
        (each for each in users.parse_group(_read(root, _GROUP), (name,)) if each.name == name), None
    )
    if entry is None:
        raise Invalid("copy files", f"--chown={text}", f"no group {name} in the image", "use a number")
    return entry.gid


def _read(root: int, path: str) -> bytes:
    try:
        opened = paths.open_file(root, paths.real_path(root, path))
    except OSError:
        return b""
    try:
        if os.fstat(opened).st_size > users.MAX_FILE_BYTES:
            raise Invalid("copy files", path, f"longer than {users.MAX_FILE_BYTES} bytes")
        return os.read(opened, users.MAX_FILE_BYTES)
    finally:
        os.close(opened)
