"""What describing a container needs to know of others: names, owners, images. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.manifest.spec import AnySpec, ContainerSpec, NetworkSpec, VolumeSpec
from agent.reconcile import convert
from agent.reconcile.inventory import spec_of
from runtime.model import ImageInfo
from store.records import Key, ObjectRecord

Records = Mapping[Key, ObjectRecord]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """image: what the name that was asked for means now; made_of: what the container was made of.
    network_name, volume_name: a key -> the real name. container_name: what a spec calls a container -> its
    own name. known: (kind, real name) -> what the project calls it already. names: those that the project
    has, by kind."""

    image: ImageInfo | None = None
    made_of: ImageInfo | None = None
    network_name: Callable[[Key], str] = lambda key: key.name
    volume_name: Callable[[Key], str] = lambda key: key.name
    container_name: Callable[[str], str] = lambda name: name
    known: Mapping[tuple[str, str], str] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def with_more(self, coming: Mapping[Key, AnySpec]) -> Surroundings:
        """With networks and volumes of the project that manifests which are not read yet declare."""
        known, names = dict(self.known), dict(self.names)
        for key, spec in coming.items():
            if isinstance(spec, NetworkSpec | VolumeSpec):
                known.setdefault((key.kind, spec.name), key.name)
                names[key.kind] = names.get(key.kind, frozenset()) | {key.name}
        return replace(self, known=known, names=names)

    def taken(self, kind: str) -> frozenset[str]:
        return self.names.get(kind, frozenset())


def surroundings_of(
    records: Records,
    project: str,
    image: ImageInfo | None,
    made_of: ImageInfo | None,
    containers: Mapping[str, str] | None = None,
) -> Surroundings:
    """As the inventory has it. project: the one that the container is to be of. containers: the first digits
    of each one's id -> its name."""
    mine = {key: record for key, record in records.items() if key.project == project and not record.deleting}
    known: dict[tuple[str, str], str] = {}
    for key, record in mine.items():
        if (real := _real_name(key, record)) and key.kind in ("network", "volume"):
            known[(key.kind, real)] = key.name
    kinds = {key.kind for key in mine}
    names = {kind: frozenset(key.name for key in mine if key.kind == kind) for kind in kinds}
    return Surroundings(
        image, made_of,
        lambda key: _name_of(records, key), lambda key: _name_of(records, key),
        lambda name: (containers or {}).get(name) or _container_name(records, name), known, names,
    )  # fmt: skip


def _name_of(records: Records, key: Key) -> str:
    record = records.get(key)
    return (_real_name(key, record) if record is not None else "") or convert.real_name(key)


def _real_name(key: Key, record: ObjectRecord) -> str:
    spec = spec_of(record)
    if isinstance(spec, NetworkSpec):
        return convert.network_name(key, spec)
    return convert.volume_name(key, spec) if isinstance(spec, VolumeSpec) else ""


def _container_name(records: Records, name: str) -> str:
    """Of a whole key, or the digits of one of the Docker API's."""
    for key, record in records.items():
        if key.kind == "container" and name in (str(key), key.name if key.project == "@api" else ""):
            spec = spec_of(record)
            return convert.container_name(key, spec, 1) if isinstance(spec, ContainerSpec) else name
    return name
