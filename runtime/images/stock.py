"""What the images in the store are made of, in bytes on disk: from the sizes that are kept, and one stat(2) a
blob. Walks no tree. Called by `Images`, for who decides what goes and for `system df`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.build_recipe import BUILT
from runtime.errors import Invalid, NotFound
from runtime.images.build.cache import Cache, held
from runtime.images.collection import Holding
from runtime.images.content import Content
from runtime.images.index import Index, Record
from runtime.images.layers import Layers
from runtime.images.made_of import diff_ids_of, packed_layers_of
from runtime.images.reference import parse_reference

BLOB, TREE = "blob ", "layer "
"""What a part's name begins with: a packed layer or a document; an unpacked layer."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The image store's bytes. packed_bytes: blobs; layer_bytes: unpacked layers, each once. shared_bytes:
    of both, what more than one image has. cache_bytes: what no image has, but the cache of builds or a build.
    litter_bytes: what nothing has. cache_entries: steps of builds."""

    packed_bytes: int
    layer_bytes: int
    shared_bytes: int
    cache_bytes: int
    litter_bytes: int
    layers: int
    cache_entries: int


def holdings_of(index: Index, content: Content, layers: Layers) -> tuple[Holding, ...]:
    """Every image of the index. One whose documents cannot be read is there without its layers."""
    sizes: dict[str, int] = {}
    found = []
    for image_id in dict.fromkeys(record.image_id for record in index.records):
        records = index.of_image(image_id)
        parts = {part: _size(part, content, layers, sizes) for part in _parts(records[0], content, layers)}
        found.append(Holding(image_id, _names(records), parts, _by_hand(records)))
    return tuple(found)


def stock_of(holdings: Sequence[Holding], content: Content, layers: Layers) -> Stock:
    """The sums, and what lies there that no image has."""
    cached = [*held(content.root)]
    in_cache = {f"{BLOB}{digest}" for each in cached for digest in each.blobs}
    in_cache |= {f"{TREE}{key}" for each in cached for key in each.layers}
    users: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for holding in holdings:
        for part, size in holding.parts.items():
            users[part], sizes[part] = users.get(part, 0) + 1, size
    unpacked = layers.keys()
    litter = {f"{BLOB}{digest}" for digest in content.digests()} | {f"{TREE}{key}" for key in unpacked}
    litter -= sizes.keys()
    in_cache &= litter  # of two names of a layer only one is there
    litter -= in_cache
    return Stock(
        packed_bytes=sum(size for part, size in sizes.items() if part.startswith(BLOB)),
        layer_bytes=sum(size for part, size in sizes.items() if part.startswith(TREE)),
        shared_bytes=sum(size for part, size in sizes.items() if users[part] > 1),
        cache_bytes=sum(_size(part, content, layers, {}) for part in in_cache),
        litter_bytes=sum(_size(part, content, layers, {}) for part in litter),
        layers=sum(part.startswith(TREE) for part in sizes),
        cache_entries=sum(1 for _ in Cache(content.root).entries()),
    )


def _parts(record: Record, content: Content, layers: Layers) -> Iterator[str]:
    yield f"{BLOB}{record.image_id}"
    if record.digest != record.image_id:
        yield f"{BLOB}{record.digest}"
    try:
        diff_ids = diff_ids_of(content, record.image_id)
        packed = packed_layers_of(content, record.digest)
    except (NotFound, Invalid):
        return
    for digest in dict.fromkeys(packed):
        yield f"{BLOB}{digest}"
    found = (layers.find(diff_ids, position) for position in range(len(diff_ids)))
    for key in dict.fromkeys(layer.key for layer in found if layer is not None):
        yield f"{TREE}{key}"


def _size(part: str, content: Content, layers: Layers, known: dict[str, int]) -> int:
    if part not in known:
        if part.startswith(BLOB):
            known[part] = content.size(part.removeprefix(BLOB)) or 0
        else:
            record = layers.read(part.removeprefix(TREE))
            known[part] = record.size_bytes if record is not None else 0
    return known[part]


def _names(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(sorted(parse_reference(record.name).familiar for record in records if record.name))


def _by_hand(records: Sequence[Record]) -> str:
    """A name that was given here: by a load, an import, a build, a tag. What manifests build comes again."""
    given = (record.name for record in records if record.name and not record.is_pulled)
    names = sorted(name for name in given if not name.startswith(f"{BUILT}:"))
    return parse_reference(names[0]).familiar if names else ""
