"""One file of a revision to what it holds: objects, what they refer to, problems. Pure.

All or nothing: a file with an error gives no object at all, only the names that it declares.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent.manifest.compose import Contents, Found, read_compose
from agent.manifest.env_file import BadEnvFile, read_env_file
from agent.manifest.envelope import API_VERSION, is_envelope, may_be_cut, read_envelope
from agent.manifest.files import Form, form_of, project_of
from agent.manifest.nodes import Mapping as MappingNode
from agent.manifest.nodes import Node
from agent.manifest.objects import ManifestError, Where
from agent.manifest.reading import MAX_ERRORS, Reading, ReadOptions, TooManyErrors
from agent.manifest.yaml_nodes import BadYaml, read_documents
from store.records import Key

Outcome = Literal["read", "broken", "unclear", "ignored"]
"""How far a file could be read: with the names it declares; not even those; it is not one of ours, but
may be the first half of one that is; it is not one of ours."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What one file holds.

    projects: those that it declares something of. is_frozen: has an error, or cannot be told to be a
    manifest; what it held before stays. is_opaque: not even the names that it declares are known.
    dependencies: what was read beside the file itself. images: what a lock could say something of.
    """

    path: str
    data: bytes
    form: Form
    projects: frozenset[str]
    declared: Mapping[Key, Where]
    found: tuple[Found, ...] = ()
    inactive: frozenset[Key] = frozenset()
    errors: tuple[ManifestError, ...] = ()
    warnings: tuple[ManifestError, ...] = ()
    dependencies: tuple[tuple[str, bytes | None], ...] = ()
    is_frozen: bool = False
    is_opaque: bool = False
    images: frozenset[str] = frozenset()


def read_one(path: str, files: Mapping[str, bytes], options: ReadOptions) -> FileResult | None:
    """None for a file that is no manifest by its name."""
    form = form_of(path)
    if not form:
        return None
    r = Reading(path, files, options)
    project = project_of(path)
    contents = Contents()
    outcome: Outcome
    try:
        outcome = _read(r, form, project, contents)
    except TooManyErrors:
        message = f"over {MAX_ERRORS} errors: the rest of the file was not read"
        r.errors[ManifestError(Where(path), message)] = None
        outcome = "broken"
    is_frozen = bool(r.errors) or outcome in ("broken", "unclear")
    projects = frozenset(key.project for key in contents.declared)
    if outcome != "read" or not projects:
        projects |= {project}
    return FileResult(
        path,
        files[path],
        form,
        projects,
        contents.declared,
        () if is_frozen else tuple(contents.found),
        frozenset(contents.inactive),
        tuple(r.errors),
        tuple(r.warnings),
        tuple(r.dependencies.items()),
        is_frozen,
        outcome == "broken",
        frozenset(r.images),
    )


def _read(r: Reading, form: Form, project: str, contents: Contents) -> Outcome:
    if form == "override":
        message = "compose override files are not supported yet"
        r.report(1, 1, message, "merge it into the compose file, and remove it")
        return "broken"
    r.variables = _variables(r)
    try:
        documents = read_documents(r.files[r.file], r.report)
    except BadYaml as error:
        r.report(error.line, error.column, error.message, error.hint)
        return "broken"
    if not documents:
        return _read_nothing(r, form)
    if form == "compose":
        return _read_compose_documents(r, documents, project, contents)
    return _read_envelopes(r, documents, project, contents)


def _read_nothing(r: Reading, form: Form) -> Outcome:
    if form == "compose":
        r.report(1, 1, "file is empty", "to remove what it held, delete the file")
        return "broken"
    _warn_ignored(r, None, "it is empty", "to remove what it held, delete the file")
    return "unclear"


def _read_compose_documents(r: Reading, documents: list[Node], project: str, contents: Contents) -> Outcome:
    if len(documents) > 1:
        r.error(documents[1], "a compose file holds one document", "put it into a file of its own")
        return "broken"
    document = documents[0]
    if not project and not (isinstance(document, MappingNode) and "name" in document.entries):
        r.error(document, f'directory "{r.file.split("/")[0]}" makes no project\'s name', "set name:")
        return "broken"
    read_compose(r, document, project, contents)
    return "read"


def _read_envelopes(r: Reading, documents: list[Node], project: str, contents: Contents) -> Outcome:
    """A file where nothing says setpoint/ is not ours; in one where something does, everything must."""
    if not any(is_envelope(document) for document in documents):
        hint = "compose files are named compose.yaml or NAME.compose.yaml"
        _warn_ignored(r, documents[0], f"no apiVersion: {API_VERSION}", hint)
        return "unclear" if may_be_cut(documents[-1]) else "ignored"
    for document in documents:
        if is_envelope(document):
            read_envelope(r, document, project, contents)
        else:
            r.error(document, f"apiVersion: {API_VERSION} is missing")
    return "read"


def _warn_ignored(r: Reading, at: Node | None, reason: str, hint: str) -> None:
    place = Where(r.file, at.line, at.column) if at else Where(r.file)
    r.warnings[ManifestError(place, f"file is ignored: {reason}", hint)] = None


def _variables(r: Reading) -> Mapping[str, str]:
    """Those around, before those of the `.env` that is nearest: the file's own directory, else the
    project's."""
    for directory in dict.fromkeys((r.directory, r.directory.split("/")[0])):
        path = posixpath.join(directory, ".env")
        data = r.other_file(path)
        if data is None:
            continue
        try:
            return read_env_file(data, r.options.environment) | dict(r.options.environment)
        except BadEnvFile as error:
            r.errors[ManifestError(Where(path, error.line), error.message, error.hint)] = None
            break
    return r.options.environment
