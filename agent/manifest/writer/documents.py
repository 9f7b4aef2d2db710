"""Objects as the text of a manifest file: a compose file, or envelopes where that has no place for them.

    {Key: spec}  ->  "services:\\n  web:\\n    image: …"        read back: the very same specs (`check`)

Called by `adopt`, `export` and `import`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.manifest.envelope import API_VERSION
from agent.manifest.files import project_of
from agent.manifest.spec import AnySpec, ContainerSpec, ImageSpec, NetworkSpec, SocketSpec, VolumeSpec
from agent.manifest.writer import service, topology
from agent.manifest.writer.yaml_text import comment, indented, to_yaml
from store.records import Key

SECTIONS = (("services", "container"), ("networks", "network"), ("volumes", "volume"))


def write_compose(objects: Mapping[Key, AnySpec], path: str, notes: Iterable[str] = ()) -> str:
    """A compose file of one project's containers, networks and volumes. path: where it will lie below the
    source's top. notes: comments at its head."""
    parts = ["".join(map(comment, notes))]
    project = next(iter(objects)).project if objects else ""
    if project and project != project_of(path):
        parts.append(to_yaml({"name": project}))
    for section, kind in SECTIONS:
        chosen = {key.name: spec for key, spec in sorted(objects.items()) if key.kind == kind}
        if chosen:
            blank = "\n" if kind == "container" else ""
            texts = [indented(to_yaml({name: _fields(spec, path)})) for name, spec in chosen.items()]
            parts.append(f"{section}:\n{blank.join(texts)}")
    return "\n".join(filter(None, parts))


def write_envelopes(objects: Mapping[Key, AnySpec], path: str, notes: Iterable[str] = ()) -> str:
    """One document an object: for kept images, and for names that compose would pass over (x-…)."""
    documents = []
    for key, spec in sorted(objects.items()):
        metadata = {"name": key.name} | ({"project": key.project} if key.project != project_of(path) else {})
        document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": key.kind.capitalize()}
        document["metadata"] = metadata
        if fields := _fields(spec, path):
            document["spec"] = fields
        documents.append(to_yaml(document))
    return "".join(map(comment, notes)) + "---\n".join(documents)


def needs_envelope(key: Key) -> bool:
    return key.kind == "image" or key.name.startswith("x-")


def unwritten(spec: AnySpec) -> tuple[str, ...]:
    """Fields of a spec that a manifest has no word for."""
    if isinstance(spec, SocketSpec):  # no API makes one
        return tuple(sorted(spec.model_fields_set))
    return service.unwritten(spec) if isinstance(spec, ContainerSpec) else topology.unwritten(spec)


def _fields(spec: AnySpec, path: str) -> dict[str, Any] | None:
    """None instead of nothing at all: `data:` is a volume with all its defaults."""
    if isinstance(spec, ContainerSpec):
        return service.service(spec, path.rpartition("/")[0])
    if isinstance(spec, NetworkSpec):
        return topology.network(spec) or None
    if isinstance(spec, VolumeSpec):
        return topology.volume(spec) or None
    assert isinstance(spec, ImageSpec)
    return topology.image(spec)
