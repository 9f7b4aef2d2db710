"""Images in Docker's shapes: a row of the list, an inspection, a history. Pure.

What a version of the API had and a later one has not is written for those who speak that version: clients
read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.api.docker.image_names import ShownNames
from agent.api.docker.stamps import NEVER
from runtime.images.config import parse_time
from runtime.images.details import ImageDetails
from runtime.images.index import Record
from runtime.model import ImageInfo

Version = tuple[int, int]
DRIVER = "overlay2"  # by the name that tools know: it is what the kernel mounts
MISSING = "<missing>"
EPOCH = "1970-01-01T00:00:00"  # what reproducible builds say
_CONFIG = (
    "User", "ExposedPorts", "Env", "Cmd", "Healthcheck", "ArgsEscaped", "Volumes", "WorkingDir", "Entrypoint",
    "OnBuild", "Labels", "StopSignal", "Shell",
)  # fmt: skip
_ALWAYS: dict[str, Any] = {
    "Cmd": None, "Entrypoint": None, "Env": None, "Labels": None, "OnBuild": None, "User": "",
    "Volumes": None, "WorkingDir": "",
}  # fmt: skip
_OF_CONTAINERS: dict[str, Any] = {
    "AttachStderr": False, "AttachStdin": False, "AttachStdout": False, "Domainname": "", "Hostname": "",
    "Image": "", "OpenStdin": False, "StdinOnce": False, "Tty": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counted:
    """What a list may be asked to count beside. containers, shared_bytes: -1 where nobody asked.
    packed_bytes: of what is kept as its registry has it; None where nobody asked for manifests. users: ids of
    the containers that have the image."""

    containers: int = -1
    shared_bytes: int = -1
    packed_bytes: int | None = None
    users: Sequence[str] = ()


def summary(
    info: ImageInfo, names: ShownNames, record: Record, counted: Counted, version: Version
) -> dict[str, Any]:
    """A row of the list."""
    row: dict[str, Any] = {
        "Containers": counted.containers,
        "Created": int(info.created_at),
        "Id": info.id,
        "Labels": dict(info.labels),
        "ParentId": "",
        "RepoDigests": list(names.digests),
        "RepoTags": list(names.tags),
        "SharedSize": counted.shared_bytes,
        "Size": info.size_bytes,
    }
    if version < (1, 43) and not names.tags and not names.digests:
        row |= {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    if version < (1, 44):
        row["VirtualSize"] = info.size_bytes
    if version >= (1, 48):
        row["Descriptor"] = descriptor(record)
    if counted.packed_bytes is not None:
        row["Manifests"] = [manifest_summary(info, record, counted.packed_bytes, counted.users)]
    return row


def descriptor(record: Record) -> dict[str, Any]:
    return {"mediaType": record.media_type, "digest": record.digest, "size": record.manifest_size}


def manifest_summary(
    info: ImageInfo, record: Record, packed_bytes: int, containers: Sequence[str]
) -> dict[str, Any]:
    """An image here is one manifest, for one platform."""
    return {
        "ID": record.digest,
        "Descriptor": descriptor(record),
        "Available": True,
        "Size": {"Total": info.size_bytes + packed_bytes, "Content": packed_bytes},
        "Kind": "image",
        "ImageData": {
            "Platform": {"architecture": info.architecture, "os": info.os},
            "Containers": list(containers),
            "Size": {"Unpacked": info.size_bytes},
            "UnpackedSize": info.size_bytes,  # which the definition asks for, and does not describe
        },
    }


def inspection(
    info: ImageInfo,
    names: ShownNames,
    record: Record,
    details: ImageDetails,
    layers: Sequence[str],
    version: Version,
) -> dict[str, Any]:
    """layers: directories of the unpacked layers, topmost first."""
    document = details.config
    created = _text(document, "created")
    view: dict[str, Any] = {
        "Id": info.id,
        "RepoTags": list(names.tags),
        "RepoDigests": list(names.digests),
        "Config": config_view(document, version),
        "Architecture": info.architecture,
        "Os": info.os,
        "Size": info.size_bytes,
        "GraphDriver": {"Name": DRIVER, "Data": _directories(layers)},
        "RootFS": {"Type": "layers", "Layers": list(info.layers)},
        "Metadata": {"LastTagTime": NEVER},
    }
    if parse_time(created) or created.startswith(EPOCH):
        view["Created"] = created
    elif version < (1, 44):
        view["Created"] = NEVER
    said = {"Comment": _comment(document), "Author": _text(document, "author")}
    said |= {"Variant": _text(document, "variant"), "OsVersion": _text(document, "os.version")}
    view |= {name: text for name, text in said.items() if text}
    if version >= (1, 48):
        view["Descriptor"] = descriptor(record)
    return {**_older(document, view, version), **view}


def _older(document: Mapping[str, Any], view: Mapping[str, Any], version: Version) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if version < (1, 52):
        docker_version = _text(document, "docker_version")
        fields |= {"Parent": "", "Comment": "", "DockerVersion": docker_version, "Author": ""}
    if version < (1, 45):
        fields |= {"Container": "", "ContainerConfig": {**_ALWAYS, **_OF_CONTAINERS}}
    if version < (1, 44):
        fields["VirtualSize"] = view["Size"]
    return fields


def config_view(document: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """What the config says to whoever runs the image, and nothing that Docker has no word for."""
    inner = document.get("config")
    said = inner if isinstance(inner, dict) else {}
    found = {name: said[name] for name in _CONFIG if said.get(name) not in (None, "", [], {}, False)}
    if version < (1, 50):
        return {**_OF_CONTAINERS, **_ALWAYS, **found}
    return {**_ALWAYS, **found} if version < (1, 52) else found


def history(info: ImageInfo, names: ShownNames, details: ImageDetails) -> list[dict[str, Any]]:
    """Newest first. Only the newest step has an id: the images between are not kept."""
    sizes = {layer.diff_id: layer.size_bytes for layer in details.layers}
    rows: list[dict[str, Any]] = [
        {
            "Id": MISSING, "Created": int(step.created_at), "CreatedBy": step.created_by, "Tags": None,
            "Size": sizes.get(step.layer, 0), "Comment": step.comment,
        }
        for step in reversed(details.history)
    ]  # fmt: skip
    if rows:
        rows[0] |= {"Id": info.id, "Tags": list(names.tags) or None}
    return rows


def _directories(layers: Sequence[str]) -> dict[str, str]:
    data = {"UpperDir": layers[0]} if layers else {}
    return {**data, "LowerDir": ":".join(layers[1:])} if len(layers) > 1 else data


def _comment(document: Mapping[str, Any]) -> str:
    """As the daemon: the document's own, else that of its last step."""
    steps = document.get("history")
    last = steps[-1] if isinstance(steps, list) and steps and isinstance(steps[-1], dict) else {}
    return _text(document, "comment") or _text(last, "comment")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
