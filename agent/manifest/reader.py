"""A revision to desired objects. Called by the daemon for each revision, and by `setpoint validate`.

    Revision -> read_one for each file that changed -> checks over each project that changed
             -> checks over all -> Manifest

A Reader keeps the results of files and projects, so that one changed file among 10,000 costs that
file. `read` is the same without a memory. Pure: what is read comes in with the revision.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from agent.manifest.checks import ProjectResult, check_all, check_project
from agent.manifest.files import COMPOSE_NAMES
from agent.manifest.objects import Manifest, ManifestError, Object, Revision, Where
from agent.manifest.one_file import FileResult, read_one
from agent.manifest.reading import ReadOptions
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
        self._files: dict[str, FileResult | None] = {}
        self._projects: dict[str, ProjectResult] = {}

    def read(self, revision: Revision) -> Manifest:
        """The manifest of a revision; objects that did not change are the same values as before."""
        if revision.base != self._base:
            self._base, self._files, self._projects = revision.base, {}, {}
        options = ReadOptions(self.environment, revision.base, self.home, self.profiles)
        old = self._files
        files = revision.files
        self._files = {
            path: before
            if (before := old.get(path)) and _is_current(before, files)
            else read_one(path, files, options)
            for path in sorted(files)
        }
        shadowed = _shadowed(revision.files)
        results = [
            result for path, result in self._files.items() if result is not None and path not in shadowed
        ]
        self._projects = _check_projects(results, self._projects)
        return _assemble(results, list(self._projects.values()), shadowed)


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
    results: list[FileResult], projects: list[ProjectResult], shadowed: Mapping[str, str]
) -> Manifest:
    """All that is wanted, but nothing of a file that has an error anywhere."""
    overall = check_all(projects)
    errors = [error for result in results for error in result.errors]
    errors += [error for project in projects for error in project.errors] + list(overall.errors)
    frozen = {result.path for result in results if result.is_frozen} | set(overall.frozen)
    for project in projects:
        frozen |= project.frozen
    frozen |= _overridden(results)
    objects: dict[Key, Object] = {}
    for project in projects:
        objects |= project.objects_outside(frozen)
    warnings = [warning for result in results for warning in result.warnings]
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
