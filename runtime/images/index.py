"""The names of images: `index.json` of an OCI image layout, so that other tools read the store too.

    index.json ─> Index(records) ─> with_name, without_name, ...  ─> index.json replaced in one step

Several processes write it: each under the store's lock, on what it reads there. Pure but for `read`,
`write` and the lock. An entry without a name is an image whose name has moved on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.errors import Invalid
from runtime.images.content import replace_file
from runtime.images.documents import OCI_INDEX, Descriptor, parse_index

FILE = "index.json"
NAME_KEY = "org.opencontainers.image.ref.name"
ID_KEY = "setpoint.image.id"
SOURCE_KEY = "setpoint.image.source-digest"
SIZE_KEY = "setpoint.image.size"
PULLED_KEY = "setpoint.image.pulled"


@dataclass(frozen=True, slots=True)
class Record:
    """One name of an image, or an image without one.

    name: canonical, or "". image_id: the config's digest. source_digest: of the index that the
    manifest was chosen from, or "": a reference by digest may mean either. size_bytes: unpacked. is_pulled: a
    registry gave it under this name, and can give it again.
    """

    name: str
    image_id: str
    digest: str
    manifest_size: int
    media_type: str
    size_bytes: int
    source_digest: str = ""
    is_pulled: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """All records. Every method returns another index."""

    records: tuple[Record, ...] = ()
    # Filled when it is first asked for: a listing asks for each of 1,000 images.
    _by_image: dict[str, tuple[Record, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def find(self, name: str) -> Record | None:
        return next((record for record in self.records if record.name == name), None)

    def of_image(self, image_id: str) -> tuple[Record, ...]:
        if not self._by_image:
            known: dict[str, tuple[Record, ...]] = {}
            for record in self.records:
                known[record.image_id] = (*known.get(record.image_id, ()), record)
            self._by_image.update(known)
        return self._by_image.get(image_id, ())

    def with_record(self, record: Record) -> Index:
        """Add it; an image that loses its only name by this stays without one."""
        if not record.name:
            return self if self.of_image(record.image_id) else Index((*self.records, record))
        moved = self.without_name(record.name, keep=True)
        others = (known for known in moved.records if known.name or known.image_id != record.image_id)
        return Index((*others, record))

    def without_name(self, name: str, *, keep: bool) -> Index:
        """Take a name away. keep: an image whose last name it was stays, without one."""
        record = self.find(name)
        if record is None:
            return self
        rest = tuple(known for known in self.records if known.name != name)
        if keep and not any(known.image_id == record.image_id for known in rest):
            rest = (*rest, replace(record, name=""))
        return Index(rest)

    def without_image(self, image_id: str) -> Index:
        return Index(tuple(record for record in self.records if record.image_id != image_id))


def read_index(root: Path) -> Index:
    """Empty when there is none yet. `Invalid` when it is damaged: it is then never overwritten."""
    try:
        data = (root / FILE).read_bytes()
    except FileNotFoundError:
        return Index()
    return Index(tuple(map(_to_record, parse_index(data, "", str(root / FILE)))))


def write_index(root: Path, index: Index) -> None:
    """Replace it; lasting when this returns."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_from_record(record) for record in sorted(index.records, key=_order)],
    }
    replace_file(root / FILE, json.dumps(document, indent=1).encode())


def prepare_root(root: Path) -> None:
    """Make the store's directories; private, because layers hold set-user-id files."""
    for directory in (root.parent, root):  # mkdir(parents=True) takes the mode for the last one only
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (root / "layers").mkdir(exist_ok=True)
    layout = root / "oci-layout"
    if not layout.exists():
        replace_file(layout, b'{"imageLayoutVersion":"1.0.0"}')


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Only one process changes names or takes content away at a time; waits for the others."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _to_record(entry: Descriptor) -> Record:
    notes = entry.annotations
    size = notes.get(SIZE_KEY, "0")
    if ID_KEY not in notes or not size.isdecimal():
        raise Invalid(
            "read images",
            FILE,
            "an entry that Setpoint did not write",
            "move it away and load the images again",
        )
    return Record(
        notes.get(NAME_KEY, ""), notes[ID_KEY], entry.digest, entry.size, entry.media_type, int(size),
        notes.get(SOURCE_KEY, ""), notes.get(PULLED_KEY) == "yes",
    )  # fmt: skip


def _from_record(record: Record) -> dict[str, object]:
    notes = {
        NAME_KEY: record.name, ID_KEY: record.image_id,
        SIZE_KEY: str(record.size_bytes), SOURCE_KEY: record.source_digest,
        PULLED_KEY: "yes" if record.is_pulled else "",
    }  # fmt: skip
    return {
        "mediaType": record.media_type,
        "digest": record.digest,
        "size": record.manifest_size,
        "annotations": {key: value for key, value in notes.items() if value},
    }


def _order(record: Record) -> tuple[str, str]:
    return record.name, record.image_id
