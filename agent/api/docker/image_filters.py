"""Which images a list or a prune takes: the filters of a query as a value that judges one image. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.api.docker.filters import Filters, fits_labels, flag_of
from agent.api.docker.globs import fits_glob
from agent.api.docker.image_names import ShownNames
from agent.api.docker.stamps import read_moment
from runtime.errors import Invalid
from runtime.images.reference import parse_reference
from runtime.model import ImageInfo

OF_LIST = ("dangling", "label", "before", "since", "reference", "until")
OF_PRUNE = ("dangling", "label", "label!", "until")
CreatedAt = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class ListWish:
    """before, since: Unix seconds. dangling: None for both kinds."""

    dangling: bool | None = None
    labels: tuple[str, ...] = ()
    patterns: tuple[str, ...] | None = None
    before: float | None = None
    since: float | None = None

    def names_of(self, info: ImageInfo, names: ShownNames) -> ShownNames | None:
        """The names that an image is listed with; None for one that is not listed."""
        if self.before is not None and not info.created_at < self.before:
            return None
        if self.since is not None and not info.created_at > self.since:
            return None
        if not fits_labels(info.labels, self.labels):
            return None
        if self.patterns is not None:
            names = ShownNames(_fitting(names.tags, self.patterns), _fitting(names.digests, self.patterns))
            if not names.tags and not names.digests:
                return None
        if self.dangling is not None and self.dangling == bool(names.tags):
            return None
        return names


def list_wish(filters: Filters, created_at: CreatedAt, now: float) -> ListWish:
    """created_at: of the image that a name means; it raises NotFound. Several moments: all of them hold."""
    before = [created_at(name) for name in filters.get("before", ())]
    before += [read_moment(text, now) for text in filters.get("until", ())]
    since = [created_at(name) for name in filters.get("since", ())]
    patterns = filters.get("reference")
    return ListWish(
        flag_of(filters, "dangling"), filters.get("label", ()), patterns or None,
        min(before, default=None), max(since, default=None),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PruneWish:
    """all_unused: those with names, too. until: Unix seconds; what was made later stays."""

    all_unused: bool = False
    labels: tuple[str, ...] = ()
    without_labels: tuple[str, ...] = ()
    until: float | None = None

    def spares(self, info: ImageInfo) -> str:
        """Why an image stays, "" when nothing here keeps it."""
        if self.until is not None and info.created_at > self.until:
            return "is newer than what was asked for"
        if not fits_labels(info.labels, self.labels):
            return "lacks the labels that were asked for"
        if self.without_labels and fits_labels(info.labels, self.without_labels):
            return "has the labels that were asked to be spared"
        return ""


def prune_wish(filters: Filters, now: float) -> PruneWish:
    until = filters.get("until", ())
    if len(until) > 1:
        raise Invalid("", "", "more than one until filter specified")
    return PruneWish(
        flag_of(filters, "dangling") is False, filters.get("label", ()), filters.get("label!", ()),
        read_moment(until[0], now) if until else None,
    )  # fmt: skip


def _fitting(names: Iterable[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Those that a pattern fits, whole or without what says which of the repository's it is."""
    return tuple(
        name
        for name in names
        if any(
            fits_glob(pattern, name) or fits_glob(pattern, parse_reference(name).familiar_repository)
            for pattern in patterns
        )
    )
