"""Pulls an image from a registry: its documents first, its layers side by side, unpacked as they come.

    origins ─> manifest of this platform ─> config ─> layers:  fetch  fetch  fetch      (threads)
                                                                └─ unpack ─ unpack ─ …  (in order)

Called by `Images`, in a process of its own. What is in the store already, whole, is not fetched. All is
staged and committed as a load is: a kill at any point leaves the image whole or absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from runtime.errors import Invalid, SetpointError
from runtime.images.config import parse_config, parse_diff_ids
from runtime.images.content import digest_of, ingest
from runtime.images.documents import (
    INDEX_TYPES,
    Descriptor,
    Platform,
    choose_platform,
    parse_index,
    parse_json,
    parse_manifest,
)
from runtime.images.facts import EVERYTHING, Admission, ImageFacts, Signature
from runtime.images.formats import FoundImage, FoundLayer
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.loader import commit, stage_documents
from runtime.images.platforms import check_platform
from runtime.images.progress import EXISTS, LAYER, Report
from runtime.images.reference import Reference
from runtime.images.registry.origin import Origin
from runtime.images.registry.repository import ATTEMPTS, Document, Repository
from runtime.images.registry.said import untrusted
from runtime.images.stage import Stage, StagedImage
from runtime.images.staging_directory import staging_directory
from runtime.images.unpackers import Growth

AT_ONCE = 4  # layers; Docker fetches 3, podman 6
MAX_CONFIG_BYTES = 4 << 20
_MAX_NESTING = 4
_Result = TypeVar("_Result")


def pull_image(
    root: Path,
    reference: Reference,
    origins: Sequence[Origin],
    host: Platform,
    report: Report,
    limits: Limits = DEFAULT_LIMITS,
    *,
    admission: Admission = EVERYTHING,
    is_exact: bool = False,
) -> StagedImage:
    """Fetch an image and give it the name that it was asked for by. The origins are asked in turn: one that
    has an image that is not admitted may be a mirror that lacks its signatures. is_exact: one without an
    index is for that platform, too."""

    def pull_from(repository: Repository) -> StagedImage:
        found = find_image(repository, reference, host)
        if is_exact:
            check_platform(found.config, host, repository.subject)
        _admit(admission, repository, reference, found)
        with staging_directory(root) as directory:
            stage = Stage(root, directory, report, limits, partial(admission.admit_image, "pull image"))
            return commit(root, stage, lambda stage: (_stage(stage, repository, found),))[0]

    return first_that_has(reference, origins, pull_from)


def first_that_has(
    reference: Reference, origins: Sequence[Origin], ask: Callable[[Repository], _Result]
) -> _Result:
    """What the first origin gives; the last one's error when none does."""
    failure: SetpointError = Invalid("pull image", reference.familiar, "there is no registry to ask")
    for origin in origins:
        attempts = ATTEMPTS if origin is origins[-1] else 1  # a mirror that is down has another behind it
        repository = Repository(origin.endpoint, reference.path, origin.credential, attempts=attempts)
        try:
            return ask(repository)
        except SetpointError as error:
            failure = error
        finally:
            repository.close()
    raise failure


def find_image(repository: Repository, reference: Reference, host: Platform) -> FoundImage:
    """The image's documents, each checked against the digest that led to it."""
    top = repository.manifest(reference.digest or reference.tag)
    chosen = _choose(repository, top, host)
    manifest = parse_manifest(chosen.data, chosen.media_type, repository.subject)
    config = read_config(repository, manifest.config)
    what = manifest.config.digest[:19]
    diff_ids = parse_diff_ids(parse_json(config, what), what)
    if len(diff_ids) != len(manifest.layers):
        raise untrusted(
            repository.subject, f"its image has {len(manifest.layers)} layers, but {len(diff_ids)} diff ids"
        )
    layers = tuple(
        FoundLayer(layer.digest, layer.digest, layer.size, diff_id)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    # A tag beside a digest says nothing: it may mean something else today.
    name = reference.with_digest(reference.digest) if reference.digest else reference
    source = top.digest if top is not chosen else ""
    return FoundImage((name,), config, layers, chosen.data, chosen.media_type, source)


def _admit(admission: Admission, repository: Repository, reference: Reference, found: FoundImage) -> None:
    """Before a byte of a layer is fetched; what is signed is asked for where somebody wants to know."""
    if not admission.has_image_rules():
        return
    digests = tuple(filter(None, (digest_of(found.manifest), found.source_digest)))
    signatures: tuple[Signature, ...] = ()
    if admission.wants_signatures(reference.canonical):
        from runtime.images.registry.signatures import find_signatures  # late: few ask for them

        signatures = find_signatures(repository, digests)
    architecture = parse_config(found.config, digest_of(found.config)).architecture
    admission.admit_image("pull image", ImageFacts(reference.canonical, digests, architecture, signatures))


def _choose(repository: Repository, document: Document, host: Platform) -> Document:
    """The manifest for this machine, through as many indexes as lie above it."""
    for _ in range(_MAX_NESTING):
        if document.media_type not in INDEX_TYPES:
            return document
        entries = parse_index(document.data, document.media_type, repository.subject)
        entry = choose_platform(entries, host, repository.subject)
        document = repository.manifest(entry.digest)
        if (document.media_type, len(document.data)) != (entry.media_type, entry.size):
            raise untrusted(repository.subject, f"{entry.digest[:19]} is not what its index says")
    raise untrusted(repository.subject, f"its indexes are nested more than {_MAX_NESTING} deep")


def read_config(repository: Repository, descriptor: Descriptor) -> bytes:
    """A config document, checked. `Invalid` for one that lies."""
    if descriptor.size > MAX_CONFIG_BYTES:
        raise untrusted(repository.subject, f"its config is longer than {MAX_CONFIG_BYTES} bytes")
    parts, left = [], descriptor.size + 1
    with repository.open_blob(descriptor.digest, descriptor.size) as reader:
        while left and (data := reader.read(left)):
            parts.append(data)
            left -= len(data)
    config = b"".join(parts)
    if len(config) != descriptor.size or digest_of(config) != descriptor.digest:
        raise untrusted(repository.subject, f"its config is not {descriptor.digest[:19]}")
    parse_config(config, descriptor.digest)  # before the first layer is fetched
    return config


def _stage(stage: Stage, repository: Repository, found: FoundImage) -> StagedImage:
    """Fetch what is missing, and unpack the lower layers while the upper ones still come."""
    info = parse_config(found.config, digest_of(found.config))
    descriptors: list[Descriptor] = []
    with _fetching(stage, repository, found.layers, info.layers) as fetched:
        for layer, future in zip(found.layers, fetched, strict=True):
            if future is not None:
                stage.add_blob(future.result(), layer.digest)
            descriptors.append(stage.describe(layer.digest))
            stage.unpack_all(descriptors, info.layers)
    return replace(stage_documents(stage, found, descriptors), is_pulled=True)


@contextlib.contextmanager
def _fetching(
    stage: Stage, repository: Repository, layers: Sequence[FoundLayer], diff_ids: Sequence[str]
) -> Iterator[list[Future[Path] | None]]:
    """A future for each layer, None for what is here. Leaving early gives up what has not begun."""
    pool = ThreadPoolExecutor(AT_ONCE, "fetch")
    asked: dict[str, Growth] = {}
    futures: list[Future[Path] | None] = []
    try:
        for position, layer in enumerate(layers):
            if layer.digest in asked or stage.has_blob(layer.digest):
                futures.append(None)
                if layer.digest not in asked:
                    stage.tell(EXISTS, layer.digest, layer.size or 0)
                continue
            stage.tell(LAYER, layer.digest, layer.size or 0)
            growth = asked[layer.digest] = Growth()
            part = stage.new_path("blob")
            futures.append(pool.submit(_fetch, stage, repository, layer, part, growth))
            stage.unpack_ahead(diff_ids, position, layer.digest, part, growth)
        yield futures
    finally:
        for growth in asked.values():
            growth.end(is_whole=False)  # says nothing to who was told already
        pool.shutdown(cancel_futures=True)


def _fetch(stage: Stage, repository: Repository, layer: FoundLayer, part: Path, growth: Growth) -> Path:
    report = stage.advance("fetch", layer.digest, layer.size or 0)

    def advance(size: int) -> None:
        growth.add(size)
        report(size)

    try:
        with repository.open_blob(layer.digest, layer.size or 0) as reader:
            ingest(reader, part, expected_digest=layer.digest, expected_size=layer.size, advance=advance)
        growth.end(is_whole=True)
    finally:
        growth.end(is_whole=False)
    return part
