"""What directories that something is built of look like, in a word that changes when a build would see
something else: names, modes, sizes and times of all that `.dockerignore` leaves. Used by `directory`, `tree`.

    a manifest is read ─ tree_of(name) ─> "dir:DIGEST", remembered
    events, the slow look ─ look(paths) ─> whether one of those has another word now

Nothing in them is read but `.dockerignore`; no link is followed out of the watched directory, and none in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import posixpath
import stat
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.manifest.objects import NO_DOCKERFILE, split_context
from agent.source.leases import has_writer
from runtime.images.dockerfile import limits
from runtime.images.dockerfile.ignore import Ignore, Matched, file_names, patterns_of, read_ignore
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

DIRECTORY = "dir:"
MAX_ENTRIES = 200_000
MAX_REMEMBERED = 1000  # directories
MAX_LOOKED_AT = 64  # files that changed, for who still writes to them
DOCKERFILES = ("Dockerfile", "Containerfile")
_WITHIN = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
_SCAN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
Facts = tuple[int, ...]
_NOTHING = patterns_of(())


@dataclass(frozen=True, slots=True)
class Print:
    """One directory as it was. steering: files that count whatever is ignored. facts: path -> mode, size,
    time and inode. is_over: it has more in it than is looked at."""

    directory: str
    word: str = ""
    ignore: Ignore = _NOTHING
    steering: frozenset[str] = frozenset()
    facts: dict[str, Facts] = field(default_factory=dict)
    is_over: bool = False

    def covers(self, path: str) -> bool:
        """Whether a path of the source is a part of what a build of it sees."""
        inner = _below(self.directory, path)
        return inner is not None and (inner in self.steering or not self.ignore.is_ignored(inner))


class Prints:
    """root: the watched directory. For any thread. busy: what changed and is still being written to."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.RLock()
        self._known: dict[str, Print] = {}
        self._before: dict[str, Print] = {}  # of the revision before; asked for again, it is known again
        self._waiting: dict[str, frozenset[str]] = {}  # directories, and who of them is still written to
        self._shown: tuple[Print, ...] = ()
        self.busy: frozenset[str] = frozenset()

    def tree_of(self, name: str) -> str:
        """As `Revision.tree_of`: "" for what is no directory."""
        with self._lock:
            found = self._known.get(name) or self._before.get(name) or take_print(self._root, name)
            if len(self._known) < MAX_REMEMBERED:
                self._known[name] = found
                self._show()
            return found.word

    def begin(self) -> tuple[str, ...]:
        """A new revision. Lines for its id. What is not asked for again is forgotten with the next one."""
        with self._lock:
            self._before, self._known = self._known or self._before, {}
            self._show()
            return tuple(f"{found.word} {name}" for name, found in sorted(self._before.items()))

    def is_relevant(self, path: str) -> bool:
        """Waits for nothing: a look may take its time."""
        return any(found.covers(path) for found in self._shown)

    def look(self, paths: Collection[str] | None, hurried: Collection[str] = ()) -> bool:
        """Look again at the directories that hold one of these, None: at all of them. Whether one changed;
        one with a file that somebody is writing changes when that has an end, or is hurried."""
        with self._lock:
            was_waiting, self._waiting = self._waiting, {}
            changed = False
            for name, before in {**self._before, **self._known}.items():
                left = [path for path in was_waiting.get(name, ()) if path not in hurried]
                if paths is None or name in was_waiting or any(map(before.covers, paths)):
                    changed |= self._look(name, before, left, hurried)
            self.busy = frozenset().union(*self._waiting.values())
            self._show()
            return changed

    def warnings(self) -> tuple[str, ...]:
        return tuple(
            f"{found.directory or '.'} has more than {MAX_ENTRIES} files: what changes in it is not seen"
            for found in self._shown
            if found.is_over
        )

    def _look(self, name: str, before: Print, left: Collection[str], hurried: Collection[str]) -> bool:
        writing = _written(self._root, left)  # as long as there are some, nothing else is looked at
        if not writing:
            now = take_print(self._root, name)
            if now.word == before.word:
                return False
            writing = _written(self._root, _changed(before, now)) - set(hurried)
        if writing:
            self._waiting[name] = writing
            return False
        (self._known if name in self._known else self._before)[name] = now
        return True

    def _show(self) -> None:
        self._shown = tuple({**self._before, **self._known}.values())


def take_print(root: Path, name: str) -> Print:
    """name: as `context_name` gives it. Its word is "" when there is no such directory."""
    directory, dockerfile = split_context(name)
    try:
        place = open_below(root, directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return Print(directory)
    try:
        ignore, steering = _steering(place, dockerfile)
        facts: dict[str, Facts] = {}
        for path, found in _walk(place, ignore, steering):
            facts[path] = found
            if len(facts) > MAX_ENTRIES:
                return Print(directory, f"{DIRECTORY}over-{MAX_ENTRIES}", ignore, steering, is_over=True)
        for path in steering - facts.keys():
            if (status := _status(place, path)) is not None:
                facts[path] = _facts(status)
    finally:
        os.close(place)
    return Print(directory, _word(facts), ignore, steering, facts)


def _word(facts: dict[str, Facts]) -> str:
    hasher = hashlib.sha256()
    for path in sorted(facts):
        hasher.update(f"{path}\0{facts[path]}\n".encode("utf-8", "surrogateescape"))
    return f"{DIRECTORY}{hasher.hexdigest()[:32]}"


def open_below(root: Path, path: str, flags: int) -> int:
    """No link leads out of the watched directory."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(top, path or ".", flags | os.O_CLOEXEC, resolve=_WITHIN)
    finally:
        os.close(top)


def _steering(place: int, dockerfile: str) -> tuple[Ignore, frozenset[str]]:
    """What is ignored, and the files that steer a build, as `runtime.images.build.context` finds them."""
    if dockerfile == NO_DOCKERFILE:
        ignoring: tuple[str, ...] = file_names("")[-1:]
        steering = frozenset(ignoring)
    else:
        names = (dockerfile,) if dockerfile else DOCKERFILES
        used = next((name for name in names if _status(place, name)), names[0])
        ignoring = file_names(used)
        steering = frozenset({*names, *(each for name in names for each in file_names(name))})
    for name in ignoring:
        if (data := _content(place, name)) is not None:
            try:
                return read_ignore(data, name), steering
            except DockerfileInvalid:  # the build says so
                return _NOTHING, steering
    return _NOTHING, steering


def _status(place: int, path: str) -> os.stat_result | None:
    try:
        descriptor = openat2(place, path, os.O_PATH | os.O_NOFOLLOW, resolve=_WITHIN)
    except OSError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _content(place: int, name: str) -> bytes | None:
    try:
        descriptor = openat2(place, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=_WITHIN)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return os.read(descriptor, limits.FILE_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _walk(place: int, ignore: Ignore, steering: frozenset[str]) -> Iterator[tuple[str, Facts]]:
    """What is not ignored, by descriptor; a directory in which nothing can be is not looked into."""
    waiting: list[tuple[str, Matched]] = [("", ())]
    while waiting:
        directory, above = waiting.pop()
        for name, is_directory, found in _entries(place, directory):
            path = f"{directory}/{name}" if directory else name
            is_ignored, matched = ignore.look(path, above)
            if is_directory and (not is_ignored or ignore.may_hold_exceptions(path)):
                waiting.append((path, matched))
            if not is_ignored or path in steering:
                yield path, _facts(found)


def _entries(place: int, directory: str) -> list[tuple[str, bool, os.stat_result]]:
    found: list[tuple[str, bool, os.stat_result]] = []
    try:
        descriptor = openat2(place, directory or ".", _SCAN, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError:
        return found
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    is_directory = entry.is_dir(follow_symlinks=False)
                    found.append((entry.name, is_directory, entry.stat(follow_symlinks=False)))
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return found


def _facts(found: os.stat_result) -> Facts:
    """A directory's times and size change with what is in it, which is looked at."""
    if stat.S_ISDIR(found.st_mode):
        return (found.st_mode,)
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino)


def _below(directory: str, path: str) -> str | None:
    """A path of the source as one of the directory; None for one that is not below it."""
    if not directory:
        return path
    return path[len(directory) + 1 :] if path.startswith(f"{directory}/") else None


def _changed(before: Print, now: Print) -> list[str]:
    """Some of the regular files that are others than before, as paths of the source."""
    changed = (path for path, found in now.facts.items() if before.facts.get(path) != found)
    files = (posixpath.join(now.directory, path) for path in changed if stat.S_ISREG(now.facts[path][0]))
    return list(itertools.islice(files, MAX_LOOKED_AT))


def _written(root: Path, paths: Collection[str]) -> frozenset[str]:
    """Those that somebody has open for writing."""
    found: set[str] = set()
    for path in paths:
        with contextlib.suppress(OSError):
            descriptor = open_below(root, path, _READ)
            try:
                if has_writer(descriptor):
                    found.add(path)
            finally:
                os.close(descriptor)
    return frozenset(found)
