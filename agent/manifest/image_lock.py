"""`images.lock.yaml`, beside the manifests: which digest a tag means until somebody commits another. Pure.

    image: nginx:1.27   +   nginx:1.27: sha256:…   ─>   nginx:1.27@sha256:…, which is what is wanted

Written by `setpoint image lock`, applied by the reader of manifests. An image with a digest of its own is
left as it is. A lock that cannot be read is an error of every file that it would count for: they are frozen,
since to run what a tag means today is what it is there to prevent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from agent.manifest.nodes import Mapping as MappingNode
from agent.manifest.nodes import Node, Scalar
from agent.manifest.objects import ManifestError, Where
from agent.manifest.yaml_nodes import BadYaml, Report, read_documents
from runtime.errors import Invalid
from runtime.images.reference import Reference, is_digest, parse_reference

FILE = "images.lock.yaml"
VERSION = "1"
HINT = "`setpoint image lock` writes it anew"
COMMENT = """\
# What the tags of these manifests mean. Written by `setpoint image lock`: commit it with them, and review
# what it changes. `setpoint image lock --check` says whether it is up to date.
"""


@dataclass(frozen=True, slots=True)
class Lock:
    """digests: familiar name with its tag -> digest. places: the same -> its line and column."""

    digests: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    errors: tuple[ManifestError, ...] = ()


@lru_cache(maxsize=4)
def read_lock(data: bytes) -> Lock:
    """Every error with its place; with one there is nothing to go by. Kept: every file of a revision asks."""
    errors: list[ManifestError] = []

    def report(line: int, column: int, message: str, hint: str) -> None:
        errors.append(ManifestError(Where(FILE, line, column), message, hint or HINT))

    try:
        documents = read_documents(data, report)
    except BadYaml as error:
        report(error.line, error.column, error.message, error.hint)
        return Lock(errors=tuple(errors))
    found: dict[str, tuple[str, Scalar]] = {}
    if len(documents) != 1 or not isinstance(documents[0], MappingNode):
        report(1, 1, "a lock is one mapping, with version: and images:", "")
    else:
        _read(documents[0], found, report)
    if errors:
        return Lock(errors=tuple(errors))
    return Lock(
        {name: digest for name, (digest, _) in found.items()},
        {name: (key.line, key.column) for name, (_, key) in found.items()},
    )


def _read(document: MappingNode, found: dict[str, tuple[str, Scalar]], report: Report) -> None:
    for name, entry in document.entries.items():
        if name == "version":
            if _text(entry.value) != VERSION:
                report(entry.value.line, entry.value.column, f"version is not {VERSION}", "")
        elif name != "images":
            report(entry.key.line, entry.key.column, f'unknown field "{name[:60]}"', "")
        elif isinstance(entry.value, MappingNode):
            for image, each in entry.value.entries.items():
                if problem := _problem(image, _text(each.value)):
                    report(each.key.line, each.key.column, problem, "")
                else:
                    found[image] = (_text(each.value), each.key)
        elif not (isinstance(entry.value, Scalar) and entry.value.is_null):
            report(entry.value.line, entry.value.column, "images: is a mapping of names and digests", "")
    if "version" not in document.entries:
        report(document.line, document.column, "version is missing", "")


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) and not node.is_null else ""


def _problem(image: str, digest: str) -> str:
    reference = lockable(image)
    if reference is None or reference.familiar != image:
        return f'"{image[:80]}" is not a name with a tag, as `setpoint image lock` writes it'
    return "" if is_digest(digest) else f'"{image[:80]}" has no digest: sha256: and 64 hex digits'


def lockable(image: str) -> Reference | None:
    """The reference of an image that a lock can say something of: with a tag, and no digest."""
    try:
        reference = parse_reference(image)
    except Invalid:
        return None
    return reference if reference.tag and not reference.digest else None


def write_lock(digests: Mapping[str, str]) -> bytes:
    """The file: the same digests give the same bytes."""
    lines = [f"  {name}: {digest}\n" for name, digest in sorted(digests.items())]
    images = "images:\n" + "".join(lines) if lines else "images: {}\n"
    return f"{COMMENT}version: {VERSION}\n{images}".encode()


def unused(lock: Lock, named: Iterable[str]) -> tuple[ManifestError, ...]:
    """A warning for each entry that no manifest names."""
    return tuple(
        ManifestError(Where(FILE, *lock.places[name]), f"no manifest names {name}", HINT)
        for name in sorted(lock.digests.keys() - set(named))
    )
