"""Brings an image to its registry: its blobs side by side, its manifest last.

    record of the index ─> manifest ─> config and layers:  upload  upload  upload   (threads)
                                                            └─ and then the manifest under its tag

Called by `Images`, in a process of its own. Sends the bytes that are in the store, as they are: the digest
does not change. A cut at any point leaves the registry with blobs that the next push finds there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.content import Content
from runtime.images.documents import parse_manifest
from runtime.images.index import Index, Record
from runtime.images.progress import EXISTS, MOUNTED, Progress, Report
from runtime.images.pushed import Pushed
from runtime.images.reference import Reference, parse_reference
from runtime.images.registry.origin import Origin
from runtime.images.registry.repository import Document, Repository
from runtime.images.registry.upload import Blob, Way, upload_blob

AT_ONCE = 4
_HINT = "what is there already is not sent again"


def push_image(
    root: Path, index: Index, record: Record, reference: Reference, origin: Origin, report: Report
) -> Pushed:
    """reference: the name that it is to have there; its digest, if it has one, is the manifest's."""
    content = Content(root)
    data = content.read_document(record.digest)
    if reference.digest not in ("", record.digest):
        raise Invalid(
            "push image", reference.familiar, "that digest is of an index, of which one image is here",
            f"push it by a tag, or as {reference.familiar_repository}@{record.digest}",
        )  # fmt: skip
    blobs = _blobs(content, data, record, find_neighbours(content, index, reference))
    with _as_push(), contextlib.ExitStack() as stack:
        repository = Repository(
            origin.endpoint, reference.path, origin.credential, scope=scope_of(origin, reference.path)
        )
        stack.callback(repository.close)
        mounter = _mounter(origin, reference, blobs)
        if mounter is not None:
            stack.callback(mounter.close)
        ways = _upload_all(repository, mounter, blobs, report)
        document = Document(data, record.media_type, record.digest)
        repository.put_manifest(reference.digest or reference.tag, document)
    count = list(ways.values()).count
    sent_bytes = sum(blob.size for blob in blobs if ways[blob.digest] is Way.SENT)
    return Pushed(
        reference.familiar, record.digest, count(Way.SENT), count(Way.MOUNTED), count(Way.THERE), sent_bytes
    )


def find_neighbours(content: Content, index: Index, reference: Reference) -> Mapping[str, str]:
    """For each blob that an image of another repository of the same registry has: the path of one of
    those. What is damaged of others is no neighbour."""
    found: dict[str, str] = {}
    for record in index.records:
        other = parse_reference(record.name) if record.name else None
        if other is None or other.domain != reference.domain or other.path == reference.path:
            continue
        with contextlib.suppress(SetpointError):
            manifest = parse_manifest(content.read_document(record.digest), "", record.digest[:19])
            for layer in manifest.layers:
                found.setdefault(layer.digest, other.path)
    return found


def scope_of(origin: Origin, path: str, others: Iterable[str] = ()) -> str:
    """What a token is asked for: to write here, and to read of the others."""
    prefix = origin.endpoint.prefix
    reading = (f"repository:{prefix}{other}:pull" for other in sorted(set(others)))
    return " ".join((f"repository:{prefix}{path}:pull,push", *reading))


def _mounter(origin: Origin, reference: Reference, blobs: Iterable[Blob]) -> Repository | None:
    """The same repository with a token of its own: a registry that does not let us read a neighbour
    refuses that one alone."""
    neighbours = [blob.neighbour for blob in blobs if blob.neighbour]
    if not neighbours:
        return None
    scope = scope_of(origin, reference.path, neighbours)
    return Repository(origin.endpoint, reference.path, origin.credential, attempts=1, scope=scope)


def _blobs(content: Content, data: bytes, record: Record, neighbours: Mapping[str, str]) -> tuple[Blob, ...]:
    manifest = parse_manifest(data, "", record.digest[:19])
    found = {}
    for each in (manifest.config, *manifest.layers):
        size = content.size(each.digest)
        if size != each.size:
            how = "is not here" if size is None else f"has {size} bytes, not {each.size}"
            raise NotFound(
                "push image", each.digest[:19], f"a packed layer {how}",
                "pull or load the image again, or `setpoint image check --repair`",
            )  # fmt: skip
        opened = _opener(content.path(each.digest))
        found[each.digest] = Blob(each.digest, each.size, opened, neighbours.get(each.digest, ""))
    return tuple(found.values())


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb", buffering=0)


def _upload_all(
    repository: Repository, mounter: Repository | None, blobs: Iterable[Blob], report: Report
) -> dict[str, Way]:
    """All of them, or the first failure: what is under way is then given up."""
    over = threading.Event()

    def upload(blob: Blob) -> Way:
        if over.is_set():
            raise Temporary("push image", repository.subject, "given up", _HINT)
        advance = _advance(report, blob)
        way = upload_blob(repository, blob, advance, over.is_set, mounter)
        if way is not Way.SENT:
            advance(blob.size)
            step = MOUNTED if way is Way.MOUNTED else EXISTS
            report(Progress(step, blob.digest, blob.size, blob.size))
        return way

    with ThreadPoolExecutor(AT_ONCE, "push") as pool:
        futures = {blob.digest: pool.submit(upload, blob) for blob in blobs}
        done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
        failed = next((future for future in done if future.exception() is not None), None)
        if failed is not None:
            over.set()
            pool.shutdown(cancel_futures=True)
            failed.result()
    return {digest: future.result() for digest, future in futures.items()}


def _advance(report: Report, blob: Blob) -> Callable[[int], None]:
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        report(Progress("send", blob.digest, done, blob.size))

    return advance


@contextlib.contextmanager
def _as_push() -> Iterator[None]:
    """What a registry's client says is worded for pulls."""
    try:
        yield
    except Temporary as error:
        raise Temporary("push image", error.subject, error.reason, _HINT, error.retry_after_seconds) from None
    except SetpointError as error:
        hint = error.hint if not isinstance(error, NotFound) else "may you push there?"
        raise type(error)("push image", error.subject, error.reason, hint) from None
