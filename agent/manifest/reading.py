"""The reading of one file: its problems, its variables, what it refers to. Used by every parser.

A parser takes a Reading and a node and gives a value, or raises Refuse. Where several things can be
wrong at once, the one that loops catches (`parse_values.guard`), so that all errors come out in one go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingABC
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from agent.manifest import image_lock
from agent.manifest.interpolate import BadVariable, interpolate
from agent.manifest.nodes import Node, Scalar
from agent.manifest.objects import ManifestError, Where, context_name
from agent.manifest.spec import BuildSecret

MAX_ERRORS = 200
TREE = "\0tree/"  # no file's name begins so: what stands for a directory among the files of a revision
ReferenceKind = Literal["service", "network", "volume", "container_name"]
ClaimKind = Literal["port", "container_name", "network_name", "volume_name", "bridge_name", "address"]


class Refuse(Exception):
    """A value that cannot be taken: why, what to do, and (else the field's value) where."""

    def __init__(self, message: str, hint: str = "", at: Node | None = None) -> None:
        super().__init__(message, hint)
        self.message, self.hint, self.at = message, hint, at


class TooManyErrors(Exception):
    """A file has so many errors that reading on helps nobody."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a manifest's meaning depends on beside its files.

    environment: variables for `${VAR}`; they go before those of `.env`. base: the absolute host
    directory that the files lie in, "" for none. home: what `~` stands for. profiles: the active
    ones, "*" is all. tree_of: as `Revision` has it; "" when nobody knows.
    """

    environment: MappingABC[str, str] = field(default_factory=dict)
    base: str = ""
    home: str = "/root"
    profiles: frozenset[str] = frozenset()
    tree_of: Callable[[str], str] = lambda path: ""


@dataclass(frozen=True, slots=True)
class Reference:
    """An object names another one of its project."""

    kind: ReferenceKind
    name: str
    line: int
    column: int
    is_dependency: bool = False  # counts for cycles
    required: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """An object takes what only one can have: a host port, a real name."""

    kind: ClaimKind
    value: tuple[str, ...]
    line: int
    column: int


class Reading:
    """file: its path in the revision. files: all of the revision; whatever is read from it beside the
    file itself is noted in `dependencies`, so that a cache knows when to read again."""

    def __init__(self, file: str, files: MappingABC[str, bytes], options: ReadOptions) -> None:
        self.file = file
        self.directory = posixpath.dirname(file)
        self.files = files
        self.options = options
        self.variables: MappingABC[str, str] = options.environment
        self.errors: dict[ManifestError, None] = {}
        self.warnings: dict[ManifestError, None] = {}
        self.dependencies: dict[str, bytes | None] = {}
        self.references: list[Reference] = []
        self.claims: list[Claim] = []
        self.secrets: MappingABC[str, BuildSecret | None] = {}  # of the file's own section; None: broken
        self.images: set[str] = set()  # with a tag and no digest, by their familiar names
        self.subject = ""
        self.unset: set[str] = set()

    # problems

    def report(self, line: int, column: int, message: str, hint: str = "") -> None:
        if len(self.errors) >= MAX_ERRORS:
            raise TooManyErrors
        self.errors[ManifestError(Where(self.file, line, column), message, hint)] = None

    def error(self, at: Node, message: str, hint: str = "") -> None:
        self.report(at.line, at.column, f"{self.subject}{message}", hint)

    def warn(self, at: Node, message: str, hint: str = "") -> None:
        where = Where(self.file, at.line, at.column)
        self.warnings[ManifestError(where, f"{self.subject}{message}", hint)] = None

    @contextmanager
    def about(self, subject: str) -> Iterator[None]:
        """Problems inside are those of subject."""
        before = self.subject
        self.subject = f"{before}{subject}: "
        try:
            yield
        finally:
            self.subject = before

    # texts

    def text(self, scalar: Scalar) -> str:
        """A scalar's text with its variables replaced."""
        if "$" not in scalar.text:
            return scalar.text
        try:
            return interpolate(scalar.text, self.variables.get, lambda name: self.note_unset(scalar, name))
        except BadVariable as error:
            raise Refuse(error.message, error.hint, scalar) from None

    def note_unset(self, at: Node, name: str) -> None:
        if name in self.unset:
            return
        self.unset.add(name)
        message = f'variable "{name}" is not set and counts as empty'
        hint = f"set it in .env, or write ${{{name}:-default}}"
        self.warnings[ManifestError(Where(self.file, at.line, at.column), message, hint)] = None

    # other files

    def other_file(self, path: str) -> bytes | None:
        """Another file of the revision, by its path in it."""
        data = self.files.get(path)
        self.dependencies[path] = data
        return data

    def tree(self, path: str, dockerfile: str = "") -> str:
        """What a directory of the source holds, in one word that changes with it. dockerfile: as
        `context_name` has it."""
        context = context_name(path, dockerfile)
        name = TREE + context
        data = self.files.get(name)
        if data is None:
            data = self.options.tree_of(context).encode()
        self.dependencies[name] = data
        return data.decode()

    def locked_image(self, image: str) -> str:
        """The image with the digest that the lock gives its tag, if there is one."""
        reference, data = image_lock.lockable(image), self.other_file(image_lock.FILE)
        if reference is None or data is None:
            return image
        self.images.add(reference.familiar)
        lock = image_lock.read_lock(data)
        self.errors.update(dict.fromkeys(lock.errors[:MAX_ERRORS]))
        digest = lock.digests.get(reference.familiar)
        return f"{reference.familiar}@{digest}" if digest else image

    def host_path(self, text: str) -> str:
        """An absolute path on the host of a path as manifests write it: absolute, `~`, or relative to the
        file's own directory."""
        if text == "~" or text.startswith("~/"):
            return posixpath.normpath(self.options.home + text[1:])
        if text.startswith("/"):
            return _normal(text)
        if not self.options.base:
            raise Refuse(
                f'"{text}" is relative, but these manifests have no directory on this host',
                "write an absolute path",
            )
        return _normal(posixpath.join(self.options.base, self.directory, text))

    # what objects have to do with each other

    def refer(self, kind: ReferenceKind, name: str, at: Node, *, required: bool = True) -> None:
        is_dependency = kind == "service"
        self.references.append(Reference(kind, name, at.line, at.column, is_dependency, required))

    def claim(self, kind: ClaimKind, *value: str, at: Node) -> None:
        self.claims.append(Claim(kind, value, at.line, at.column))


def _normal(path: str) -> str:
    """normpath keeps two leading slashes, which POSIX lets mean something else; here they do not."""
    return "/" + posixpath.normpath(path).lstrip("/")
