"""Which image a request names. Reads; changes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.api.context import Context
from agent.api.docker.image_names import ShownNames, read_name, shown
from runtime.errors import Invalid, NotFound
from runtime.images.index import Record
from runtime.images.platforms import parse_platform
from runtime.images.reference import is_digest, parse_reference
from runtime.model import ImageInfo

_DIGITS = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


@dataclass(frozen=True, slots=True)
class FoundImage:
    """records: all of it, by name. record: the one that was asked by; name: its canonical name, "" when it
    was asked for by its id."""

    info: ImageInfo
    records: tuple[Record, ...]
    record: Record
    name: str

    @property
    def shown(self) -> ShownNames:
        return shown(self.records)


def find_image(context: Context, text: str) -> FoundImage:
    """By name, by name and digest, by id or its first digits. NotFound, or Invalid for what is no name or
    begins several ids."""
    if not text.strip():
        raise Invalid("", "", "image name cannot be blank")
    info = _by_name(context, text) or _by_digits(context, text)
    if info is None:
        raise no_such_image(text)
    records = tuple(each for each in context.engine.images.records() if each.image_id == info.id)
    if not records:
        raise no_such_image(text)
    record = _asked_by(records, text)
    return FoundImage(info, records, record or records[0], record.name if record else "")


def no_such_image(text: str) -> NotFound:
    """In the daemon's words, which clients look for: docker-py pulls, compose builds."""
    try:
        shown_as = text if is_digest(text) else parse_reference(text).familiar
    except Invalid:
        shown_as = text[:300]
    return NotFound("", "", f"No such image: {shown_as}")


def check_platform(found: FoundImage, text: str) -> None:
    """NotFound for an image that is not the platform's which is asked for; "" asks for none. text: JSON, as
    {"os": "linux", "architecture": "arm64"}, or `linux/arm64`."""
    if not text:
        return
    wanted = parse_platform(text)
    info = found.info
    if (wanted.os, wanted.architecture) != (info.os, info.architecture):
        name = found.name or info.id
        reason = (
            f"image with reference {name} was found but does not provide the specified platform ({wanted})"
        )
        raise NotFound("", "", reason)


def _by_name(context: Context, text: str) -> ImageInfo | None:
    try:
        found: ImageInfo | None = context.engine.image(text)
    except Invalid:
        if _DIGITS.fullmatch(text):
            return None  # several begin so, which `_by_digits` tells
        read_name(text)
        raise
    return found


def _by_digits(context: Context, text: str) -> ImageInfo | None:
    """Docker's clients may say fewer digits than ours."""
    digits = _DIGITS.fullmatch(text)
    if digits is None:
        return None
    ids = {each.image_id for each in context.engine.images.records()}
    found = [id for id in ids if id.startswith(f"sha256:{digits[1]}")]
    if len(found) > 1:
        raise Invalid("", "", f"multiple IDs found with provided prefix: {text[:64]}")
    image: ImageInfo | None = context.engine.image(found[0]) if found else None
    return image


def _asked_by(records: tuple[Record, ...], text: str) -> Record | None:
    """None for an id, and for the digest of a manifest that stands alone."""
    try:
        asked = parse_reference(text)
    except Invalid:
        return None
    for record in records:
        if record.name and record.name == asked.canonical:
            return record
    if asked.digest:
        repositories = ((parse_reference(each.name).repository, each) for each in records if each.name)
        return next((each for repository, each in repositories if repository == asked.repository), None)
    return None
