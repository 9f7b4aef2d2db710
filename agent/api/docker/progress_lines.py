"""What a pull, a push or a load reports, as the lines that Docker's clients show. Pure but for what each has
told so far.

    Progress("fetch", digest, …) ─> PullLines.of ─> {"status": "Downloading", "progressDetail": …, "id": …}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.api.docker.image_names import short
from runtime.images.progress import EXISTS, LAYER, MOUNTED, NAMED, Progress

Line = dict[str, Any]
BAR = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def status(text: str, subject: str = "") -> Line:
    """Without numbers. subject: a digest, or what is said of its own."""
    return {"status": text, "progressDetail": {}, "id": subject} if subject else {"status": text}


def advance(text: str, subject: str, done: int, total: int) -> Line:
    detail = {"current": done, "total": total} if total else {"current": done}
    return {"status": text, "progressDetail": detail, "progress": bar(done, total), "id": subject}


def bar(done: int, total: int) -> str:
    """For clients that show it as it stands: `[====>    ]  1.5MB/3MB`."""
    if total <= 0:
        return f"{size(done):>8}" if done > 0 else ""
    filled = min(BAR, int(done / total * 100) // 2)
    numbers = f"{size(done):>8}/{size(total)}" if done <= total else f"{size(done):>8}"
    return f"[{'=' * filled}>{' ' * (BAR - filled)}] {numbers}"


def size(count: float) -> str:
    """Four digits, in thousands, as Go's units.HumanSize."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.4g}{_UNITS[unit]}"


class PullLines:
    """Layers by their digests."""

    def __init__(self) -> None:
        self._is_fetched: dict[str, bool] = {}

    def of(self, progress: Progress) -> Iterator[Line]:
        digest, id = progress.subject, short(progress.subject)
        done, total = progress.done_bytes, progress.total_bytes
        if progress.step == EXISTS:
            yield status("Already exists", id)
        elif progress.step in (LAYER, "fetch") and digest not in self._is_fetched:
            self._is_fetched[digest] = False
            yield status("Pulling fs layer", id)
        if progress.step == "fetch":
            yield advance("Downloading", id, done, total)
            if done >= total > 0:
                yield from self._fetched(digest)
        elif progress.step == "unpack" and done >= total > 0:
            yield from self._fetched(digest)
        # A line has one state: what is fetched and unpacked side by side is shown as what is waited for.
        if progress.step == "unpack" and self._is_fetched.get(digest):
            yield advance("Extracting", id, done, total)

    def _fetched(self, digest: str) -> Iterator[Line]:
        if self._is_fetched.get(digest) is False:
            self._is_fetched[digest] = True
            yield status("Download complete", short(digest))

    def end(self) -> Iterator[Line]:
        """All is here."""
        for digest in list(self._is_fetched):
            yield from self._fetched(digest)
            yield status("Pull complete", short(digest))


class PushLines:
    """names: what each layer is shown as, by its digest: the config is no layer."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._ended: set[str] = set()

    def begin(self) -> Iterator[Line]:
        for name in self._names.values():
            yield status("Preparing", name)

    def of(self, progress: Progress) -> Iterator[Line]:
        name = self._names.get(progress.subject)
        if name is None or progress.subject in self._ended:
            return
        if progress.step in (EXISTS, MOUNTED):
            self._ended.add(progress.subject)
            yield status("Layer already exists" if progress.step == EXISTS else "Mounted", name)
        elif progress.step == "send":
            yield advance("Pushing", name, progress.done_bytes, progress.total_bytes)

    def end(self) -> Iterator[Line]:
        for digest, name in self._names.items():
            if digest not in self._ended:
                yield status("Pushed", name)


class LoadLines:
    """What an archive's layers are copied and unpacked by, where that is wanted, and the names that it gave.
    before: familiar name -> image, of those that were here."""

    def __init__(self, before: Mapping[str, str], *, quiet: bool) -> None:
        self._before = before
        self._quiet = quiet
        self.named: list[str] = []

    def of(self, progress: Progress) -> Iterator[Line]:
        if progress.step == NAMED:
            self.named.append(progress.subject)
        elif progress.step in ("copy", "unpack") and progress.subject and not self._quiet:
            id = short(progress.subject.rpartition("/")[2] or progress.subject)
            yield advance("Loading layer", id, progress.done_bytes, progress.total_bytes)

    def loaded(self, id: str, names: Sequence[str]) -> Iterator[Line]:
        """Of one image. names: all that it has by now."""
        given = [name for name in names if name in self.named]
        for name in given:
            old = self._before.get(name, id)
            if old != id:
                yield _said(
                    f"The image {name} already exists, renaming the old one with ID {old} to empty string"
                )
            yield _said(f"Loaded image: {name}")
        if not given:
            yield _said(f"Loaded image ID: {id}")

    def end(self) -> Iterator[Line]:
        return iter(())


def _said(text: str) -> Line:
    return {"stream": f"{text}\n"}


class NoLines:
    """For work that Docker's daemon tells nothing of."""

    def of(self, progress: Progress) -> Iterator[Line]:
        return iter(())

    def end(self) -> Iterator[Line]:
        return iter(())


Lines = PullLines | PushLines | LoadLines | NoLines


def pushed_lines(tag: str, digest: str, manifest_bytes: int) -> Sequence[Line]:
    """The end of a push, in words and as a value."""
    told: Line = {"Tag": tag, "Digest": digest, "Size": manifest_bytes}
    return (
        status(f"{tag}: digest: {digest} size: {manifest_bytes}"),
        {"progressDetail": {}, "aux": told},
    )
