"""A revision to desired objects. Called by the daemon for each revision, and by `setpoint validate`.

    Revision -> read_one for each file that changed -> checks over each project that changed
             -> checks over all -> Manifest

A Reader keeps the results of files and projects, so that one changed file among 10,000 costs that
file and its project: what is left to do for all is a comparison of identities. `read` is the same without
a memory. Pure: what is read comes in with the revision.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from agent.manifest import image_lock
from agent.manifest.checks import ProjectResult, check_all, check_project
from agent.manifest.files import COMPOSE_NAMES
from agent.manifest.objects import Manifest, ManifestError, Object, Revision, Where
from agent.manifest.one_file import FileResult, read_one
from agent.manifest.reading import TREE, ReadOptions
from store.records import Key


def read(
    revision: Revision,
    *,
    environment: Mapping[str, str] | None = None,
    profiles: frozenset[str] = frozenset(),
    home: str = "/root",
) -> Manifest:
    """The manifest of a revision. environment: variables for `${VAR}`, before those of `.env`.
    profiles: the active ones. Never raises: what is wrong is in `errors`, with its place."""
    return Reader(environment=environment, profiles=profiles, home=home).read(revision)


class Reader:
    """Reads one source's revisions, one after the other."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        profiles: frozenset[str] = frozenset(),
        home: str = "/root",
    ) -> None:
        self.environment = dict(environment or {})
        self.profiles = profiles
        self.home = home
        self._base: str | None = None
        self._given: Mapping[str, bytes] = {}
        self._files: dict[str, FileResult | None] = {}
        self._projects: dict[str, ProjectResult] = {}
        self._notable: dict[str, FileResult] = {}
        self._dependents: dict[str, set[str]] = {}
        self._shadowed: dict[str, str] = {}
        self._overridden: set[str] = set()
        self._manifest: Manifest | None = None

    def read(self, revision: Revision) -> Manifest:
        """The manifest of a revision; objects that did not change are the same values as before."""
        if revision.base != self._base:
            self._base, self._given, self._files, self._projects = revision.base, {}, {}, {}
            self._manifest = None
        options = ReadOptions(
            self.environment, revision.base, self.home, self.profiles, revision.tree_of
        )  # fmt: skip
        files = self._with_trees(revision)
        manifest = self._read_changed(files, options) or self._read_all(files, options)
        self._manifest, self._given = manifest, files
        return manifest

    def _with_trees(self, revision: Revision) -> Mapping[str, bytes]:
        """The files, and beside them a word for each directory that something is built of: another one has
        what depends on it read again."""
        names = [name for name, whose in self._dependents.items() if whose and name.startswith(TREE)]
        if not names:
            return revision.files
        words = {name: revision.tree_of(name.removeprefix(TREE)).encode() for name in names}
        return {**revision.files, **words}

    def _read_changed(self, files: Mapping[str, bytes], options: ReadOptions) -> Manifest | None:
        """The same files as before, some with another content: those alone. None when there is more to it
        (a file that came or went, names a project for the first time or the last, is an override)."""
        given = self._given
        if self._manifest is None or files.keys() != given.keys():
            return None
        changed = {path for path, data in files.items() if given[path] is not data and given[path] != data}
        for path in tuple(changed):
            changed |= self._dependents.get(path, set())
        if not changed:
            return self._manifest
        results: dict[str, FileResult] = {}
        for path in sorted(changed):
            before = self._files[path]
            if before is None:
                continue  # no manifest by its name; who depends on it is among the changed
            result = read_one(path, files, options)
            if result is None or (result.form, result.projects) != (before.form, before.projects):
                return None
            results[path] = result
        self._take(results)
        return self._assembled(files)

    def _take(self, results: Mapping[str, FileResult]) -> None:
        """Put these in the place of what was known of their files."""
        for path, result in results.items():
            before = self._files[path]
            for needed, _ in before.dependencies if before else ():
                self._dependents.get(needed, set()).discard(path)
            self._files[path] = result
            self._note(path, result)
        shown = {path: result for path, result in results.items() if path not in self._shadowed}
        for project in {project for result in shown.values() for project in result.projects}:
            group = tuple(shown.get(file.path, file) for file in self._projects[project].files)
            self._projects[project] = check_project(project, group)

    def _note(self, path: str, result: FileResult) -> None:
        """Remember who depends on what, and who has more to say than its objects."""
        for needed, _ in result.dependencies:
            self._dependents.setdefault(needed, set()).add(path)
        if (result.errors or result.warnings or result.is_frozen) and path not in self._shadowed:
            self._notable[path] = result
        else:
            self._notable.pop(path, None)

    def _read_all(self, files: Mapping[str, bytes], options: ReadOptions) -> Manifest:
        old = self._files
        self._files = {
            path: before
            if (before := old.get(path)) and _is_current(before, files)
            else read_one(path, files, options)
            for path in sorted(files)
        }
        self._shadowed = _shadowed(files)
        self._notable, self._dependents = {}, {}
        results = [result for result in self._files.values() if result is not None]
        for result in results:
            self._note(result.path, result)
        shown = [result for result in results if result.path not in self._shadowed]
        self._overridden = _overridden(shown)
        self._projects = _check_projects(shown, self._projects)
        return self._assembled(files)

    def _assembled(self, files: Mapping[str, bytes]) -> Manifest:
        notable, projects = list(self._notable.values()), list(self._projects.values())
        unused = self._unused_locks(files.get(image_lock.FILE))
        return _assemble(notable, projects, self._shadowed, self._overridden, unused)

    def _unused_locks(self, data: bytes | None) -> tuple[ManifestError, ...]:
        """Entries of the lock that no manifest names; where one cannot be read, nobody knows."""
        if data is None:
            return ()
        results = [result for result in self._files.values() if result is not None]
        if any(result.is_frozen for result in results):
            return ()
        named = frozenset().union(*(result.images for result in results))
        return image_lock.unused(image_lock.read_lock(data), named)


def _is_current(result: FileResult, files: Mapping[str, bytes]) -> bool:
    """Whether nothing changed that the result was made of. Cheap where the bytes are the same object."""
    data = files[result.path]
    if result.data is not data and result.data != data:
        return False
    for path, before in result.dependencies:
        if (now := files.get(path)) is not before and now != before:
            return False
    return True


def _shadowed(files: Mapping[str, bytes]) -> dict[str, str]:
    """Compose files that compose would not look at, since another one in their directory goes before
    them: path -> the one that counts."""
    result: dict[str, str] = {}
    for path in files:
        directory, slash, name = path.rpartition("/")
        if name not in COMPOSE_NAMES:
            continue
        for better in COMPOSE_NAMES[: COMPOSE_NAMES.index(name)]:
            if f"{directory}{slash}{better}" in files:
                result[path] = f"{directory}{slash}{better}"
                break
    return result


def _overridden(results: list[FileResult]) -> set[str]:
    """Compose files with an override beside them, which is not supported: without it they would say
    something else than was meant."""
    directories = {result.path.rpartition("/")[0] for result in results if result.form == "override"}
    if not directories:
        return set()
    paths = (result.path.rpartition("/") for result in results)
    return {"".join(path) for path in paths if path[0] in directories and path[2] in COMPOSE_NAMES}


def _check_projects(results: list[FileResult], old: Mapping[str, ProjectResult]) -> dict[str, ProjectResult]:
    """The checks over each project, those of an unchanged one from before."""
    groups: dict[str, list[FileResult]] = {}
    for result in results:
        for project in result.projects:
            groups.setdefault(project, []).append(result)
    checked: dict[str, ProjectResult] = {}
    for project, group in groups.items():
        before = old.get(project)
        is_same = before is not None and _same(before.files, group)
        checked[project] = before if before and is_same else check_project(project, tuple(group))
    return checked


def _same(before: Sequence[FileResult], now: Sequence[FileResult]) -> bool:
    return len(before) == len(now) and all(map(operator.is_, before, now))


def _assemble(
    results: list[FileResult],
    projects: list[ProjectResult],
    shadowed: Mapping[str, str],
    overridden: set[str],
    unused: tuple[ManifestError, ...],
) -> Manifest:
    """All that is wanted, but nothing of a file that has an error anywhere. results: of files that have
    more to say than their objects."""
    overall = check_all(projects)
    errors = [error for result in results for error in result.errors]
    errors += [error for project in projects for error in project.errors] + list(overall.errors)
    frozen = {result.path for result in results if result.is_frozen} | set(overall.frozen)
    for project in projects:
        frozen |= project.frozen
    frozen |= overridden
    objects: dict[Key, Object] = {}
    for project in projects:
        objects |= project.objects_outside(frozen)
    warnings = [*unused, *(warning for result in results for warning in result.warnings)]
    warnings += [warning for project in projects for warning in project.warnings]
    warnings += [
        ManifestError(Where(path), f"file is ignored: {better} goes before it", "remove one of them")
        for path, better in sorted(shadowed.items())
    ]
    return Manifest(objects, _sorted(errors), frozenset(frozen), _sorted(warnings))


def _sorted(problems: list[ManifestError]) -> tuple[ManifestError, ...]:
    unique = dict.fromkeys(problems)
    return tuple(
        sorted(unique, key=lambda problem: (problem.where.file, problem.where.line, problem.where.column))
    )
