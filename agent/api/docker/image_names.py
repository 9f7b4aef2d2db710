"""Names of images as Docker's clients say and read them. Pure.

    fromImage, tag ─> Reference          records of the store ─> RepoTags, RepoDigests

Every name of an image that is here is also shown with a digest, as Docker's daemon does where containerd
keeps its images: what `docker push` brings to a registry, and what a pull brought from there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from runtime.errors import Invalid
from runtime.images.index import Record
from runtime.images.reference import Reference, is_digest, parse_reference

SHORT_DIGITS = 12
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_RESERVED = "docker.io/library/scratch"


@dataclass(frozen=True, slots=True)
class ShownNames:
    """RepoTags and RepoDigests."""

    tags: tuple[str, ...]
    digests: tuple[str, ...]


def read_name(text: str) -> Reference:
    """`Invalid` in the daemon's words."""
    try:
        return parse_reference(text)
    except Invalid as error:
        reason = error.reason
        name = text.partition("@")[0]
        if name != name.lower() and _is_named(name.lower()):
            shown_as = name if "/" in name else f"library/{name}"
            reason = f"repository name ({shown_as[:100]}) must be lowercase"
        raise Invalid("", "", f"invalid reference format: {reason}", error.hint) from None


def _is_named(text: str) -> bool:
    try:
        parse_reference(text)
    except Invalid:
        return False
    return True


def with_tag(name: str, tag: str) -> Reference:
    """A name and the tag that came beside it, which may be a digest; "" for what the name says itself. As
    the daemon reads them: the tag counts before the name's own."""
    reference = read_name(name.removesuffix(":"))
    if not tag:
        return reference
    if is_digest(tag):
        return reference.with_digest(tag)
    if not _TAG.fullmatch(tag):
        raise Invalid("", "", "invalid tag format")
    return replace(reference, tag=tag, digest="")


def new_name(repository: str, tag: str) -> str:
    """The canonical name for an image that is made, "" where none is wanted. `Invalid` for a digest, which
    nobody can choose."""
    if not repository:
        return ""
    if "@" in repository or is_digest(tag):
        raise Invalid("", "", "cannot import digest reference")
    return checked_tag(with_tag(repository, tag)).canonical


def checked_tag(reference: Reference) -> Reference:
    """For a name that is given here: names that mean something else are refused, in the daemon's words."""
    if reference.digest:
        raise Invalid("", "", "refusing to create a tag with a digest reference")
    if reference.familiar_repository == "sha256":
        raise Invalid("", "", "refusing to create an ambiguous tag using digest algorithm as name")
    return reference


def is_reserved(reference: Reference) -> bool:
    """`scratch` is the image of nothing."""
    return reference.repository == _RESERVED


def has_tag(name: str) -> bool:
    """Whether a name says which image of its repository is meant."""
    return "@" in name or ":" in name.rpartition("/")[2]


def short(digest: str) -> str:
    """The first digits of an id or a digest, as in the lines of progress."""
    return digest.rpartition(":")[2][:SHORT_DIGITS]


def shown(records: Iterable[Record]) -> ShownNames:
    """Of one image's records."""
    tags, digests = [], []
    for record in records:
        if not record.name:
            continue
        repository, familiar, pinned = _read(record.name)
        if pinned:
            digests.append(familiar)
        else:
            tags.append(familiar)
            digests.append(f"{repository}@{registry_digest(record)}")
    return ShownNames(tuple(sorted(tags)), tuple(sorted(dict.fromkeys(digests))))


def registry_digest(record: Record) -> str:
    """What the registry has under that name: the index that it was pulled by; else what a push sends."""
    return record.source_digest if record.is_pulled and record.source_digest else record.digest


@functools.lru_cache(maxsize=16_384)
def _read(name: str) -> tuple[str, str, bool]:
    """Familiar repository, familiar name, whether it is a digest's: a list of 1,000 images asks often."""
    reference = parse_reference(name)
    return reference.familiar_repository, reference.familiar, bool(reference.digest)
