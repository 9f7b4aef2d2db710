"""The images of an instance: pull, load, import, list, get, tag, remove. The one face of this package.

    images/index.json      names ─> manifests           images/blobs/sha256/   what they point to
    images/layers/<hex>/   trees, shared                 images/ingest/         loads under way

Called by the engine, by the API and by the command line, from several processes at once. `get` is on
the path of every start: one stat(2) when nothing changed. Mounts nothing.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary, Unsupported
from runtime.images.build.cache import CachedStep
from runtime.images.config import parse_config
from runtime.images.content import Content, sync_directory
from runtime.images.documents import Platform
from runtime.images.facts import EVERYTHING, Admission, ImageFacts, Signature
from runtime.images.garbage import Holdings, find_garbage
from runtime.images.gate import Gate
from runtime.images.index import FILE, Index, Record, locked, prepare_root, read_index, write_index
from runtime.images.info import ImageInfo
from runtime.images.layers import Layers
from runtime.images.needs import drop_other_forms, needs_of
from runtime.images.reference import Reference, is_digest, parse_reference
from runtime.images.removal import remove_tree
from runtime.images.staging_directory import remove_dead_stages
from runtime.layout import Layout

if TYPE_CHECKING:
    from runtime.images.collection import Holding
    from runtime.images.compose import Composition
    from runtime.images.container_commit import Commit
    from runtime.images.details import ImageDetails
    from runtime.images.progress import Progress
    from runtime.images.pushed import Pushed
    from runtime.images.registry.origin import Origin
    from runtime.images.saver import Archive, Form
    from runtime.images.stage import StagedImage
    from runtime.images.stock import Stock

_HEX = re.compile(r"[0-9a-f]{4,64}")
_MAX_REMEMBERED = 10_000
_GONE = ".gone-"
_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "i386": ("386", ""), "i686": ("386", ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stack:
    """The unpacked layers of an image, topmost first, and its root directory's mode, uid and gid."""

    lower: tuple[str, ...]
    root: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of one version of the index. The dictionaries only ever gain entries."""

    signature: tuple[int, int, int] | None
    index: Index
    resolved: dict[str, ImageInfo | None] = field(default_factory=dict)
    stacks: dict[str, Stack] = field(default_factory=dict)


class Images:
    """The image store below `layout.images`. Makes its directories when something is first stored.
    admission: who says which images may come here, and be used."""

    def __init__(self, layout: Layout, admission: Admission = EVERYTHING) -> None:
        self._root = layout.images
        self._gate = Gate(layout.images, admission)
        self._index_path = os.fspath(layout.images / FILE)
        self._content = Content(layout.images)
        self._layers = Layers(layout.images)
        self._known = _Known((0, 0, 0), Index())
        self._parsed: dict[str, ImageInfo] = {}

    # --- reading ------------------------------------------------------------------------------

    def get(self, reference: str) -> ImageInfo | None:
        """The image that a name, a name with a digest, or an id (at least 4 hex digits) means; else None.

        `Invalid` when it cannot be a reference, or when a short id means several images.
        """
        known = self._current()
        try:
            return known.resolved[reference]
        except KeyError:
            record = _resolve(known.index, reference)
        info = self._info(known.index, record.image_id) if record else None
        if len(known.resolved) < _MAX_REMEMBERED:
            known.resolved[reference] = info
        return info

    def admitted(self, op: str, reference: str) -> ImageInfo:
        """The same for who builds on it or runs it: `NotFound`, and as `Admission.admit_image` for one that
        may not be used."""
        found = self.facts(reference)
        if self._gate.has_image_rules() and found:
            self._gate.admit_one_of(op, reference, found)
        info = self.get(found[0].image_id) if found else None  # the very one that was judged
        if info is None:
            raise _not_found(op, reference)
        return info

    def admit(self, op: str, facts: ImageFacts) -> None:
        """For who makes images in a process of their own: raises for one that may not have its name."""
        self._gate.admit_image(op, facts)

    def to_be_signed(self, reference: str) -> tuple[ImageFacts, ...]:
        """Of `facts`, those with a name that somebody asks signatures of."""
        return tuple(facts for facts in self.facts(reference) if self._gate.wants_signatures(facts.name))

    def keep_signatures(self, facts: ImageFacts, signatures: Iterable[Signature]) -> None:
        """What a registry has beside what came with the image. Nobody has checked them."""
        self._gate.keep("ask for signatures of", replace(facts, signatures=tuple(signatures)))

    def facts(self, reference: str) -> tuple[ImageFacts, ...]:
        """What is known of an image that is here, () when it is not: with the name that it is asked for by,
        or for an id with each name that it has."""
        index = self._current().index
        record = _resolve(index, reference)
        if record is None:
            return ()
        if is_digest(reference) or not _is_name_of(record, reference):
            return tuple(self._facts(index, each, "") for each in index.of_image(record.image_id))
        return (self._facts(index, record, parse_reference(reference).canonical),)

    def _facts(self, index: Index, record: Record, name: str) -> ImageFacts:
        architecture = self._info(index, record.image_id).architecture
        return self._gate.facts_of(name, record, architecture)

    def list(self) -> tuple[ImageInfo, ...]:
        """All images, those without a name too, newest first. One that is damaged is left out."""
        known = self._current()
        found = []
        for image_id in dict.fromkeys(record.image_id for record in known.index.records):
            with contextlib.suppress(NotFound, Invalid):
                found.append(self._info(known.index, image_id))
        return tuple(sorted(found, key=lambda info: (-info.created_at, info.names, info.id)))

    def are_read(self, most: int) -> bool:
        """They are no more than so many, and to list them reads nothing but the index."""
        found = self._current().index.records
        return len(found) <= most and all(record.image_id in self._parsed for record in found)

    def records(self) -> tuple[Record, ...]:
        """Every name, and every image without one, as the index has them."""
        return self._current().index.records

    def names(self, image_id: str) -> tuple[str, ...]:
        """All names of an image, also of one that is damaged."""
        return _names_of(self._current().index, image_id)

    def save(self, references: Sequence[str], form: Form) -> Archive:
        """What `saver` writes of these images, several of them in one archive. `NotFound`, `Invalid`. A name
        that was asked for is the image's in the archive; an id gives it none."""
        from runtime.images.saver import plan_archive

        index = self._current().index
        wanted = []
        for reference in references:
            record = _resolve(index, reference)
            if record is None:
                raise _not_found("save image", reference)
            wanted.append((record, record.name if _is_name_of(record, reference) else ""))
        return plan_archive(self._content, wanted, form)

    def layer_directories(self, image_id: str) -> tuple[Path, ...]:
        """The trees of an image's layers, lowest first. `NotFound` when one is missing."""
        return tuple(Path(path) for path in reversed(self.stack(image_id).lower))

    def stack(self, image_id: str) -> Stack:
        """What a container's root is made of. `NotFound` when a layer is missing."""
        known = self._current()
        stack = known.stacks.get(image_id)
        if stack is None:
            stack = known.stacks[image_id] = self._read_stack(known.index, image_id)
        return stack

    def litter(self, *, in_use: Collection[str]) -> tuple[Path, ...]:
        """What no image needs and the next removal would take, and files that were being written. in_use: as
        for `remove`. Beside a load that ends at this moment it may name what is wanted by the next look."""
        index = read_index(self._root)
        present = Holdings(self._content.digests(), self._layers.keys())
        garbage = find_garbage(present, needs_of(self._content, index, in_use))
        return (
            *map(self._content.path, garbage.blobs),
            *map(self._layers.path, garbage.layers),
            *(self._root / "layers").glob(_GONE + "*"),
            *self._root.glob(".*.part"),
            *self._gate.litter(),
        )

    # --- changing -----------------------------------------------------------------------------

    def load(
        self,
        path: Path,
        progress: Callable[[Progress], None] | None = None,
        *,
        moves_names: bool = False,
        kept: Collection[str] = (),
    ) -> tuple[ImageInfo, ...]:
        """Take in every image of an OCI layout, an OCI archive or a docker archive (also packed).

        All of them or none. `Conflict` when another image has one of the names, unless it may move to the
        new one; those of kept, canonical, never do. `Invalid` for what is damaged or hostile, `Unsupported`
        for another platform, `Temporary` for a full disk.
        """
        from runtime.images.loader import load_archive  # late: decoders are for loads alone

        with _explained("load image", str(path)):
            prepare_root(self._root)
            admit = self._gate.admit_for("load image")
            staged = load_archive(
                self._root, path, host_platform(), progress or _ignore, admit=admit, moves_names=moves_names,
                kept=kept,
            )  # fmt: skip
        self._sweep()
        return tuple(map(self._loaded, staged))

    def pull(
        self,
        reference: str,
        origins: Sequence[Origin],
        progress: Callable[[Progress], None] | None = None,
        *,
        platform: str = "",
    ) -> ImageInfo:
        """Fetch an image from the first of these that has it. `NotFound`, `Invalid` for what lies or lets
        nobody in, `Temporary` for a registry or a network in need. platform: "" is this host's."""
        from runtime.images.platforms import parse_platform
        from runtime.images.pull import pull_image

        asked = parse_reference(reference)
        wanted = parse_platform(platform) if platform else host_platform()
        self._gate.check_image("pull image", asked.canonical)
        with _explained("pull image", reference):
            prepare_root(self._root)
            staged = pull_image(
                self._root, asked, origins, wanted, progress or _ignore, admission=self._gate,
                is_exact=bool(platform),
            )  # fmt: skip
        self._sweep()
        return self._loaded(staged)

    def push(
        self, reference: str, origin: Origin, progress: Callable[[Progress], None] | None = None
    ) -> Pushed:
        """Bring an image to the registry of its name. `NotFound` when it, or a packed layer of it, is not
        here; `Invalid` for a registry that does not let us, `Temporary` for one in need."""
        from runtime.images.push import push_image

        index = self._current().index
        record = _resolve(index, reference)
        if record is None:
            raise _not_found("push image", reference)
        asked = _pushable(record, reference)
        with _explained("push image", reference):
            return push_image(self._root, index, record, asked, origin, progress or _ignore)

    def import_rootfs(
        self,
        path: Path,
        reference: str,
        config: Mapping[str, object] | None = None,
        progress: Callable[[Progress], None] | None = None,
        *,
        moves_names: bool = False,
        platform: str = "",
        comment: str = "",
    ) -> ImageInfo:
        """Make an image of one layer from a root file system's tar (also packed, xz and bzip2 too).

        reference: "" for an image without a name. config: the inner object of an image config (Cmd,
        Entrypoint, Env, WorkingDir, ...). platform: what it says of itself, "" for this host's. `Conflict`
        when another image has the name, unless it may move.
        """
        from runtime.images.loader import load_rootfs
        from runtime.images.platforms import parse_platform
        from runtime.images.rootfs import Wanted

        name = _taggable(parse_reference(reference)) if reference else None
        of = parse_platform(platform) if platform else host_platform()
        wanted = Wanted(name, config or {}, of, comment)
        with _explained("import image", str(path)):
            prepare_root(self._root)
            admit = self._gate.admit_for("import image")
            staged = load_rootfs(
                self._root, path, wanted, progress or _ignore, admit=admit, moves_names=moves_names
            )
        return self._loaded(staged)

    def compose(
        self,
        wanted: Composition,
        progress: Callable[[Progress], None] | None = None,
        *,
        moves_names: bool = True,
    ) -> ImageInfo:
        """Make an image of another one's layers and new ones (`layer_writer`); durable when it returns.
        `NotFound` for a base that is gone, `Conflict` when a name must not move and is another image's."""
        from runtime.images.compose import compose

        with _explained("make image", ", ".join(name.familiar for name in wanted.names)):
            prepare_root(self._root)
            admit = self._gate.admit_for("make image")
            staged = compose(self._root, wanted, progress or _ignore, moves_names=moves_names, admit=admit)
        return self._loaded(staged)

    def commit(self, wanted: Commit, progress: Callable[[Progress], None] | None = None) -> ImageInfo:
        """Make an image of a container. `Unsupported` for files that a layer cannot hold, `Conflict` when
        another image has the name."""
        from runtime.images.container_commit import commit_container

        if wanted.name:
            _taggable(parse_reference(wanted.name))
        with _explained("commit", wanted.container):
            prepare_root(self._root)
            admit = self._gate.admit_for("commit")
            staged = commit_container(self._root, wanted, progress or _ignore, admit)
        return self._loaded(staged)

    def digests(self, reference: str) -> frozenset[str]:
        """What a registry may have under a name when it has this image: the manifest's digest, and that of
        the index above it."""
        record = _resolve(self._current().index, reference)
        return frozenset((record.digest, record.source_digest)) - {""} if record else frozenset()

    def details(self, reference: str) -> ImageDetails:
        """All that is known of an image. `NotFound`, `Invalid` for one that is damaged."""
        from runtime.images.details import read_details

        record = _resolve(self._current().index, reference)
        if record is None:
            raise _not_found("inspect image", reference)
        return read_details(self._root, record)

    def tag(self, source: str, reference: str) -> None:
        """Give an image another name; an image that had it loses it. `NotFound` for the source."""
        name = _taggable(parse_reference(reference))
        prepare_root(self._root)
        with _explained("tag image", source), locked(self._root):
            index = read_index(self._root)
            record = _resolve(index, source)
            if record is None:
                raise _not_found("tag image", source)
            if self._gate.has_image_rules():
                self._gate.admit_tag(self._facts(index, record, name.canonical), name.canonical)
            after = index.with_record(replace(record, name=name.canonical, is_pulled=False))
            write_index(self._root, after)
            drop_other_forms(self._content, {known.digest for known in index.records}, after)

    def remove(self, reference: str, *, in_use: Collection[str], force: bool = False) -> tuple[str, ...]:
        """Take a name away, and the image with its last one. in_use: ids of images that containers have.

        Returns what went: names, then digests of the image and of layers. `Conflict` when containers
        use it, or when an id has several names; force takes the names and keeps what is in use.
        """
        with _explained("remove image", reference), locked(self._existing_root()):
            index = read_index(self._root)
            record = _resolve(index, reference)
            if record is None:
                raise _not_found("remove image", reference)
            after = _without(index, record, reference, frozenset(in_use), force=force)
            if _contents(after) == _contents(index):  # it has another name: no file goes
                self._write_index_making_room(index, after, Holdings())
                return _names_gone(index, after)
            gone = self._forget(index, after, in_use)
        self._sweep()
        return gone

    def prune(self, *, in_use: Collection[str]) -> tuple[str, ...]:
        """Remove images without a name that no container uses, and content that belongs to no image."""
        with _explained("prune images", ""), locked(self._existing_root()):
            index = read_index(self._root)
            kept = (record for record in index.records if record.name or record.image_id in in_use)
            gone = self._forget(index, Index(tuple(kept)), in_use)
        self._sweep()
        return gone

    def holdings(self) -> tuple[Holding, ...]:
        """All images with what each is made of, for `collection.judge`."""
        from runtime.images.stock import holdings_of

        return holdings_of(self._current().index, self._content, self._layers)

    def stock(self) -> Stock:
        """What all of it takes on disk, by the sizes that are kept."""
        from runtime.images.stock import stock_of

        return stock_of(self.holdings(), self._content, self._layers)

    def prune_build_cache(self, unused_seconds: float) -> int:
        """Forget steps of builds that were not used within that time; how many. What they left goes with the
        next `remove_litter`."""
        from runtime.images.build.cache import Cache

        with _explained("prune build cache", ""), locked(self._existing_root()):
            return Cache(self._root).prune(unused_seconds=unused_seconds)

    def build_steps(self) -> tuple[CachedStep, ...]:
        """What builds have kept, in no order."""
        from runtime.images.build.cache import Cache

        return tuple(Cache(self._root).entries())

    def forget_build_steps(self, keys: Collection[str]) -> tuple[str, ...]:
        """Those of `build_steps`; the keys of those that went. As `prune_build_cache` otherwise."""
        from runtime.images.build.cache import Cache

        with _explained("prune build cache", ""), locked(self._existing_root()):
            return Cache(self._root).remove(keys)

    def forget(self, judged: Mapping[str, tuple[str, ...]], *, in_use: Collection[str]) -> tuple[Record, ...]:
        """Take the entries of images away, and nothing else: what they are made of goes with the next
        `remove_litter`. judged: id -> the names that it had when that was decided; with others it stays."""
        with _explained("remove images", ""), locked(self._existing_root()):
            index = read_index(self._root)
            going = judged.keys() - set(in_use)
            gone = tuple(
                record
                for record in index.records
                if record.image_id in going and _names_of(index, record.image_id) == judged[record.image_id]
            )
            after = Index(tuple(record for record in index.records if record not in gone))
            present = Holdings(self._content.digests(), self._layers.keys())
            self._write_index_making_room(
                index, after, find_garbage(present, needs_of(self._content, after, in_use))
            )
        return gone

    def restore(self, records: Collection[Record]) -> None:
        """Give back what `forget` took: a container came to need it meanwhile. A name that is another
        image's by now stays with that one."""
        with _explained("keep images", ""), locked(self._existing_root()):
            index = read_index(self._root)
            for record in records:
                is_taken = bool(record.name) and index.find(record.name) is not None
                index = index.with_record(replace(record, name="") if is_taken else record)
            write_index(self._root, index)

    def remove_litter(self, *, in_use: Collection[str]) -> None:
        """Take away what `litter` names, and what was staged for loads that were killed."""
        if not Path(self._index_path).exists():
            return  # that is no reason to take away all images
        with _explained("clean images", ""), locked(self._root):
            index = read_index(self._root)
            self._forget(index, index, in_use)
            for path in self._root.glob(".*.part"):  # written under this lock alone
                path.unlink()
            for path in self._gate.litter():
                path.unlink(missing_ok=True)
        self._sweep()
        remove_dead_stages(self._root)

    # --- inside -------------------------------------------------------------------------------

    def _current(self) -> _Known:
        try:
            found = os.stat(self._index_path)  # noqa: PTH116  half the time of Path.stat, on a hot path
            signature = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            signature = None
        known = self._known
        if known.signature != signature:
            known = _Known(signature, read_index(self._root))
            self._known = known
            self._parsed = {
                image_id: info for image_id, info in self._parsed.items() if known.index.of_image(image_id)
            }
        return known

    def _info(self, index: Index, image_id: str) -> ImageInfo:
        records = index.of_image(image_id)
        if not records:
            raise _not_found("read image", image_id)
        names = tuple(sorted(_familiar(record.name) for record in records if record.name))
        parsed = self._parsed.get(image_id)
        if parsed is None:
            parsed = self._parsed[image_id] = parse_config(self._content.read_document(image_id), image_id)
        return replace(parsed, names=names, digest=records[0].digest, size_bytes=records[0].size_bytes)

    def _loaded(self, staged: StagedImage) -> ImageInfo:
        """With names that it had before, too; another process may have removed it since."""
        try:
            return self._info(self._current().index, staged.info.id)
        except NotFound:
            return staged.info

    def _read_stack(self, index: Index, image_id: str) -> Stack:
        found = self._layers.find_all(self._info(index, image_id).layers)
        if found is None:
            raise NotFound("read image", image_id[:19], "it lacks one of its layers", "load the image again")
        roots = [layer.record.root for layer in found if layer.record.root]
        lower = tuple(os.fspath(self._layers.tree(layer.key)) for layer in reversed(found))
        return Stack(lower, roots[-1] if roots else (0o755, 0, 0))

    def _existing_root(self) -> Path:
        prepare_root(self._root)
        return self._root

    def _forget(self, before: Index, after: Index, in_use: Collection[str]) -> tuple[str, ...]:
        """Write the index, then take away what nothing needs: in this order a crash leaves only litter."""
        garbage = find_garbage(
            Holdings(self._content.digests(), self._layers.keys()), needs_of(self._content, after, in_use)
        )  # fmt: skip
        self._write_index_making_room(before, after, garbage)
        for digest in garbage.blobs:
            self._content.remove(digest)
        for key in garbage.layers:
            path = self._layers.path(key)
            path.rename(path.with_name(f"{_GONE}{path.name}-{os.urandom(4).hex()}"))
        ids = {record.image_id for record in before.records} - {record.image_id for record in after.records}
        return (*_names_gone(before, after), *sorted(ids), *sorted(garbage.layers))

    def _sweep(self) -> None:
        """Delete what was taken away, without the lock: a large layer takes seconds."""
        for gone in (self._root / "layers").glob(_GONE + "*"):
            remove_tree(gone)

    def _write_index_making_room(self, before: Index, after: Index, garbage: Holdings) -> None:
        if before == after:
            return
        try:
            write_index(self._root, after)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A full disk takes no new file before something goes. Packed layers are what no container
            # needs: should this be cut off here, the image still runs, and a load brings them back.
            kept = {record.image_id for record in before.records} | {
                record.digest for record in before.records
            }
            for digest in garbage.blobs - kept:
                self._content.remove(digest)
            sync_directory(self._root / "blobs" / "sha256")
            write_index(self._root, after)


def host_platform() -> Platform:
    """In the words of image indexes: linux/amd64, linux/arm64/v8."""
    machine = os.uname().machine
    return Platform("linux", *_ARCHITECTURES.get(machine, (machine, "")))


def _contents(index: Index) -> set[tuple[str, str]]:
    """What its images are, whatever they are called."""
    return {(record.image_id, record.digest) for record in index.records}


def _names_gone(before: Index, after: Index) -> tuple[str, ...]:
    names = {record.name for record in before.records} - {record.name for record in after.records} - {""}
    return tuple(sorted(map(_familiar, names)))


def _resolve(index: Index, text: str) -> Record | None:
    if is_digest(text):
        return next(iter(index.of_image(text)), None) or _find_by_digest(index, "", text)
    if len(text) == 64 and _HEX.fullmatch(text):
        return next(iter(index.of_image(f"sha256:{text}")), None)
    reference = parse_reference(text)
    if reference.digest:
        return _find_by_digest(index, reference.repository, reference.digest)
    return index.find(reference.canonical) or _find_by_prefix(index, text)


def _find_by_digest(index: Index, repository: str, digest: str) -> Record | None:
    for record in index.records:
        is_named = not repository or (record.name and parse_reference(record.name).repository == repository)
        if is_named and digest in (record.digest, record.source_digest):
            return record
    return None


def _find_by_prefix(index: Index, text: str) -> Record | None:
    prefix = text.removeprefix("sha256:")
    if not _HEX.fullmatch(prefix):
        return None
    found = {record.image_id: record for record in index.records if record.image_id[7:].startswith(prefix)}
    if len(found) > 1:
        raise Invalid(
            "read image reference", text, f"means {len(found)} images", "write more digits of the id"
        )
    return next(iter(found.values()), None)


def _without(index: Index, record: Record, text: str, in_use: frozenset[str], *, force: bool) -> Index:
    """The index after a removal, or `Conflict`."""
    named = [known for known in index.of_image(record.image_id) if known.name]
    by_name = bool(record.name) and _is_name_of(record, text)
    if by_name and len(named) > 1:
        return index.without_name(record.name, keep=False)
    if len(named) > 1 and not force:
        raise Conflict(
            "remove image", text, f"it has {len(named)} names", "remove each of its names, or force",
        )  # fmt: skip
    if record.image_id not in in_use:
        return index.without_image(record.image_id)
    if not force:
        raise Conflict("remove image", text, "containers use it", "remove them first, or force")
    for known in named:  # its content stays while a container has it
        index = index.without_name(known.name, keep=True)
    return index


def _names_of(index: Index, image_id: str) -> tuple[str, ...]:
    names = (record.name for record in index.of_image(image_id) if record.name)
    return tuple(sorted(map(_familiar, names)))


@functools.lru_cache(maxsize=16_384)
def _familiar(name: str) -> str:
    """Of a name in the index: a list of 1,000 images asks for each."""
    return parse_reference(name).familiar


def _is_name_of(record: Record, text: str) -> bool:
    with contextlib.suppress(SetpointError):
        reference = parse_reference(text)
        return reference.canonical == record.name or bool(reference.digest)
    return False


def _taggable(reference: Reference) -> Reference:
    if reference.digest:
        raise Invalid("name image", reference.familiar, "a new name has no digest", "write NAME:TAG")
    return reference


def _pushable(record: Record, text: str) -> Reference:
    """Nothing goes anywhere under a name that is none: an id, also a short one, says no registry."""
    if is_digest(text) or not _is_name_of(record, text):
        raise Invalid("push image", text, "an id says nothing of a registry", "push it by a name")
    return parse_reference(text)


def _not_found(op: str, reference: str) -> NotFound:
    return NotFound(op, reference[:300], "no such image here", "see `setpoint image ls`")


def _ignore(progress: Progress) -> None:
    return None


@contextlib.contextmanager
def _explained(op: str, subject: str) -> Iterator[None]:
    """Give errors of the disk their meaning; all others are ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Temporary(op, subject, f"no room: {error}", "free some disk space", 60) from error
        if error.errno in (errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise Temporary(op, subject, str(error), "see the kernel's log", 10) from error
        if error.errno in (errno.EPERM, errno.EACCES):
            raise Unsupported(op, subject, str(error), "the image store is root's") from error
        raise
