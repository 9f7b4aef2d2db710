"""Where in a manifest a field of an object is written: line and column. Read again from the bytes, and only
when something is refused there, so that places cost nothing where all is well. Pure."""

from __future__ import annotations

from agent.manifest.nodes import Mapping, Node, Scalar, Sequence
from agent.manifest.objects import Where
from agent.manifest.yaml_nodes import BadYaml, read_documents
from agent.policy.judge import Part, Place
from store.records import Key

SECTIONS = {"container": "services", "network": "networks", "volume": "volumes"}


class Places:
    """The places in one file. documents: none when it cannot be read."""

    def __init__(self, data: bytes) -> None:
        try:
            self._documents = read_documents(data, lambda *_: None)
        except BadYaml:
            self._documents = []

    def find(self, key: Key, declared: Where, place: Place) -> Where:
        """Where the field is, else where the nearest thing around it is, else where the object is."""
        spec = self._object(key, declared)
        at = _walk(spec, place) if spec is not None else None
        return declared if at is None else Where(declared.file, *at)

    def _object(self, key: Key, declared: Where) -> Node | None:
        for document in self._documents:
            if not isinstance(document, Mapping):
                continue
            if "metadata" in document.entries and "spec" in document.entries:
                name = _below(document.entries["metadata"].value, "name")
                if name is not None and (name.line, name.column) == (declared.line, declared.column):
                    return document.entries["spec"].value
            elif section := document.entries.get(SECTIONS.get(key.kind, "")):
                return _below(section.value, key.name)
        return None


def _below(node: Node, name: str) -> Node | None:
    entry = node.entries.get(name) if isinstance(node, Mapping) else None
    return entry.value if entry is not None else None


def _index(part: Part, node: Sequence) -> int | None:
    if isinstance(part, tuple):
        return part[0] if part[1] == len(node.items) else None
    return part if isinstance(part, int) and part < len(node.items) else None


def _walk(node: Node, place: Place) -> tuple[int, int] | None:
    """The place of the innermost part that can be found."""
    found: tuple[int, int] | None = None
    for part in place:
        if isinstance(part, str) and isinstance(node, Mapping) and part in node.entries:
            entry = node.entries[part]
            found, node = (entry.key.line, entry.key.column), entry.value
        elif isinstance(node, Sequence) and (index := _index(part, node)) is not None:
            node = node.items[index]
            found = (node.line, node.column)
        elif isinstance(part, str) and isinstance(node, Sequence):
            named = [item for item in node.items if isinstance(item, Scalar) and item.text.startswith(part)]
            return (named[0].line, named[0].column) if named else found
        else:
            break
    return found
