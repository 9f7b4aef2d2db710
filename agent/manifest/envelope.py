"""One object per document: apiVersion, kind, metadata, spec. The spec is compose's, word for word."""

from __future__ import annotations

from typing import Any

from agent.manifest.compose import NAME, NAME_HINT, Contents, add, project_name
from agent.manifest.nodes import Mapping, Node, Scalar
from agent.manifest.parse_image import read_image
from agent.manifest.parse_socket import read_socket
from agent.manifest.parse_values import Broken, Parser, did_you_mean, fields, guard, text
from agent.manifest.reading import Reading, Refuse
from agent.manifest.service import labels, read_service
from agent.manifest.spec import AnySpec
from agent.manifest.topology import read_network, read_volume
from store.records import Key

API_VERSION = "setpoint/v1"
KINDS: dict[str, tuple[str, Parser[AnySpec]]] = {
    "Container": ("container", read_service),
    "Network": ("network", read_network),
    "Volume": ("volume", read_volume),
    "Image": ("image", read_image),
    "Socket": ("socket", read_socket),
}
LACKING_KINDS = ("Secret", "Config", "Job")


def _api_version(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value != API_VERSION:
        raise Refuse(f'"{value}" is not known', f"this version of Setpoint reads {API_VERSION}")
    return value


def _kind(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value in LACKING_KINDS:
        raise Refuse(f"{value} is not supported yet", f"kinds are {', '.join(KINDS)}")
    if value not in KINDS:
        raise Refuse(f'"{value}" is not a kind', did_you_mean(value, KINDS) or ", ".join(KINDS))
    return value


def _name(r: Reading, node: Node) -> str:
    value = text(r, node)
    if not NAME.fullmatch(value):
        raise Refuse(f'"{value[:60]}" is not a name', NAME_HINT)
    return value


METADATA: dict[str, Parser[Any]] = {"name": _name, "project": project_name, "labels": labels}
METADATA_LACKING = ("annotations", "namespace", "generateName")


def _metadata(r: Reading, node: Node) -> dict[str, Any]:
    return fields(r, node, METADATA, lacking=METADATA_LACKING, required=("name",))


def _as_it_is(r: Reading, node: Node) -> Node:
    return node


FIELDS: dict[str, Parser[Any]] = {
    "apiVersion": _api_version,
    "kind": _kind,
    "metadata": _metadata,
    "spec": _as_it_is,
}


def is_envelope(document: Node) -> bool:
    """Whether a document means to be one of ours: another file's apiVersion is none of our business."""
    if not isinstance(document, Mapping) or "apiVersion" not in document.entries:
        return False
    version = document.entries["apiVersion"].value
    return isinstance(version, Scalar) and version.text.startswith("setpoint/")


def may_be_cut(document: Node) -> bool:
    """Whether a document that is no envelope may be the beginning of one that is being written."""
    if isinstance(document, Scalar):
        return True
    if not isinstance(document, Mapping) or not document.entries.keys() <= FIELDS.keys():
        return False
    version = document.entries.get("apiVersion")
    return version is None or (
        isinstance(version.value, Scalar) and API_VERSION.startswith(version.value.text)
    )


def read_envelope(r: Reading, document: Node, project: str, contents: Contents) -> None:
    """Add the document's object to contents; problems are noted in r."""
    values = guard(r, document, _fields)
    if values is None:
        return
    assert isinstance(document, Mapping)
    kind, parse = KINDS[values["kind"]]
    metadata = values["metadata"]
    spec = values.get("spec") or Scalar("", True, document.line, document.column)
    if not (project := metadata.get("project") or project):
        r.error(document, "the directory's name makes no project's name", "set metadata.project")
        return
    name_at = document.entries["metadata"].value
    assert isinstance(name_at, Mapping)
    name_node = name_at.entries["name"].value
    assert isinstance(name_node, Scalar)
    add(r, Key(project, kind, metadata["name"]), name_node, spec, _labelled(parse, metadata), contents)


def _fields(r: Reading, document: Node) -> dict[str, Any]:
    values = fields(r, document, FIELDS, required=("apiVersion", "kind", "metadata"), nullable=("spec",))
    if values["kind"] in ("Container", "Image", "Socket") and "spec" not in values:
        r.error(document, "spec is missing")
        raise Broken
    return values


def _labelled(parse: Parser[AnySpec], metadata: dict[str, Any]) -> Parser[AnySpec]:
    """metadata.labels are labels of the object; the spec's own go before them."""
    extra = metadata.get("labels")
    if not extra:
        return parse

    def with_labels(r: Reading, node: Node) -> AnySpec:
        spec = parse(r, node)
        return spec.model_copy(update={"labels": extra | spec.labels})

    return with_labels
