"""What each image of the index is made of, by its documents; for who takes away what nobody needs. And what a
new record leaves of another form of the same image: an archive may have packed its layers otherwise.

Called by `Images` and by the loader, under the store's lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from runtime.errors import Invalid, NotFound
from runtime.images.build.cache import held
from runtime.images.content import Content
from runtime.images.garbage import Holdings, find_garbage
from runtime.images.index import Index
from runtime.images.layers import chain_id
from runtime.images.made_of import diff_ids_of, packed_layers_of


def needs_of(content: Content, index: Index, in_use: Collection[str]) -> Iterator[Holdings | None]:
    """Of each image, and of what builds keep; None for one that cannot be read. in_use: images that
    containers have, whose entry may be lost."""
    named = {record.image_id for record in index.records}
    for record in index.records:
        yield _need(content, record.image_id, record.digest)
    for image_id in in_use:
        if image_id not in named:  # its entry is lost, its container is not
            yield _need(content, image_id, "")
    yield from held(content.root)


def _need(content: Content, image_id: str, manifest_digest: str) -> Holdings | None:
    try:
        diff_ids = diff_ids_of(content, image_id)
        blobs = {image_id} | (_form(content, manifest_digest) if manifest_digest else set())
    except (NotFound, Invalid):
        return None
    chains = {chain_id(diff_ids[: count + 1]) for count in range(len(diff_ids))}
    return Holdings(frozenset(blobs), frozenset(chains) | frozenset(diff_ids))


def _form(content: Content, digest: str) -> set[str]:
    """A manifest, and the packed layers that it names."""
    return {digest, *packed_layers_of(content, digest)}


def drop_other_forms(content: Content, digests: Collection[str], after: Index) -> None:
    """Take away the packed layers of manifests that no record names any more, where nothing else has them.
    The trees are the same in each form. digests: of manifests; most loads leave none, and cost nothing."""
    dropped = set(digests) - {record.digest for record in after.records}
    if not dropped:
        return
    forms: set[str] = set()
    for digest in dropped:
        with contextlib.suppress(NotFound, Invalid):
            forms |= _form(content, digest)
    garbage = find_garbage(Holdings(frozenset(forms)), needs_of(content, after, ()))
    for digest in garbage.blobs:
        with contextlib.suppress(OSError):  # the image is here: what is left goes with the next removal
            content.remove(digest)
