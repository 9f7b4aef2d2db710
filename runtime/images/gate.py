"""The store's side of the gate that every image goes through: gathers what is known of one, and asks who
judges.

    name, digests, architecture (the caller) + times, signatures (`evidence`) ─> Admission.admit_image

Called by `Images` for pulls, loads, imports, tags, commits and builds, before there is a name, and by who
builds on an image or runs one. Where the judge has no rules it keeps nothing and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from runtime import disk
from runtime.errors import NotFound, SetpointError
from runtime.images.evidence import Evidence
from runtime.images.facts import Admission, Admit, ImageFacts
from runtime.images.index import Record


class Gate:
    """root: of the image store."""

    def __init__(self, root: Path, admission: Admission) -> None:
        self._admission = admission
        self._evidence = Evidence(root)

    # It is an Admission itself, whose facts are made whole.

    def has_image_rules(self) -> bool:
        return self._admission.has_image_rules()

    def wants_signatures(self, name: str) -> bool:
        return self._admission.wants_signatures(name)

    def check_image(self, op: str, name: str) -> None:
        self._admission.check_image(op, name)

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        """What is new of it is kept, also of one that is refused: so it grows old."""
        if self._admission.has_image_rules():
            self._admission.admit_image(op, self.keep(op, facts))

    def keep(self, op: str, facts: ImageFacts) -> ImageFacts:
        """All that is known of it, with what is new; lasting when this returns."""
        try:
            return self._evidence.complete(facts)
        except OSError as error:  # what cannot be kept is no reason to let it in
            if (told := disk.explained(op, facts.name, error)) is None:
                raise
            raise told from error

    def admit_for(self, op: str) -> Admit:
        """The same for a `Stage`."""
        return partial(self.admit_image, op)

    def facts_of(self, name: str, record: Record, architecture: str) -> ImageFacts:
        """Of an image that is here. name: that it is asked for by, "" for the record's own, of one that is
        asked for by its id."""
        digests = tuple(filter(None, (record.digest, record.source_digest)))
        facts = ImageFacts(
            name or record.name, digests, architecture, is_exact=not name, image_id=record.image_id
        )
        return self._evidence.read(facts)

    def admit_one_of(self, op: str, reference: str, found: Iterable[ImageFacts]) -> None:
        """One of its names is enough. Raises what the last was refused for."""
        refused: SetpointError = NotFound(op, reference, "no such image here")
        for facts in found:
            try:
                return self.admit_image(op, facts)
            except SetpointError as error:
                refused = error
        raise refused

    def litter(self) -> list[Path]:
        return self._evidence.litter()

    def admit_tag(self, facts: ImageFacts, name: str) -> None:
        self.admit_image("tag image", replace(facts, name=name, is_exact=True))
