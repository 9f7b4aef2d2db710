"""Images in Docker's shapes, for the version of the API that is spoken."""

from __future__ import annotations

from typing import Any

from agent.api.docker.image_names import ShownNames
from agent.api.docker.image_view import Counted, config_view, history, inspection, summary
from runtime.images.details import ImageDetails, LayerDetails
from runtime.images.history import Step
from runtime.images.index import Record
from runtime.model import ImageInfo

ID, DIGEST, LOW, TOP = (f"sha256:{each * 64}" for each in "adlt".replace("l", "1").replace("t", "2"))
OCI = "application/vnd.oci.image.manifest.v1+json"
RECORD = Record("docker.io/library/x:1", ID, DIGEST, 405, OCI, 30)
NAMES = ShownNames(("x:1",), (f"x@{DIGEST}",))
INFO = ImageInfo(ID, ("x:1",), 30, 1700000000.5, "arm64", "linux", labels={"a": "1"}, layers=(LOW, TOP))
DOCUMENT: dict[str, Any] = {
    "created": "2023-11-14T22:13:20.5Z", "author": "Ann", "variant": "v8", "os.version": "1.2",
    "docker_version": "20", "config": {"Cmd": ["sh"], "Labels": {"a": "1"}, "Unknown": 1, "Env": None},
    "history": [{"comment": "first"}, {"comment": "last"}],
}  # fmt: skip
DETAILS = ImageDetails(
    ID, DIGEST, "", OCI, DOCUMENT,
    (LayerDetails(LOW, DIGEST, OCI, 10, 5, True), LayerDetails(TOP, DIGEST, OCI, 20, 6, True)),
    (Step("ADD", 1.0, "first", "", LOW), Step("ENV", 2.0, "", "", ""), Step("COPY", 3.0, "last", "", TOP)),
)  # fmt: skip


def inspected(version: tuple[int, int], document: dict[str, Any] | None = None) -> dict[str, Any]:
    details = ImageDetails(
        ID, DIGEST, "", OCI, DOCUMENT if document is None else document, DETAILS.layers, DETAILS.history
    )
    return inspection(INFO, NAMES, RECORD, details, ["/top", "/low"], version)


def test_a_row() -> None:
    assert summary(INFO, NAMES, RECORD, Counted(), (1, 45)) == {
        "Containers": -1, "Created": 1700000000, "Id": ID, "Labels": {"a": "1"}, "ParentId": "",
        "RepoDigests": [f"x@{DIGEST}"], "RepoTags": ["x:1"], "SharedSize": -1, "Size": 30,
    }  # fmt: skip


def test_a_row_of_other_versions() -> None:
    newest = summary(INFO, NAMES, RECORD, Counted(2, 7, 11, ("c",)), (1, 52))
    assert newest["Descriptor"] == {"mediaType": OCI, "digest": DIGEST, "size": 405}
    assert (newest["Containers"], newest["SharedSize"]) == (2, 7)
    [manifest] = newest["Manifests"]
    assert manifest["Size"] == {"Total": 41, "Content": 11}
    assert manifest["ImageData"] == {
        "Platform": {"architecture": "arm64", "os": "linux"}, "Containers": ["c"], "Size": {"Unpacked": 30},
        "UnpackedSize": 30,
    }  # fmt: skip
    old = summary(INFO, ShownNames((), ()), RECORD, Counted(), (1, 42))
    assert (old["RepoTags"], old["VirtualSize"]) == (["<none>:<none>"], 30)
    assert summary(INFO, ShownNames((), ()), RECORD, Counted(), (1, 43))["RepoTags"] == []


def test_an_inspection() -> None:
    view = inspected((1, 52))
    assert view == {
        "Id": ID, "RepoTags": ["x:1"], "RepoDigests": [f"x@{DIGEST}"], "Comment": "last", "Author": "Ann",
        "Created": "2023-11-14T22:13:20.5Z", "Architecture": "arm64", "Variant": "v8", "Os": "linux",
        "OsVersion": "1.2", "Size": 30, "Config": {"Cmd": ["sh"], "Labels": {"a": "1"}},
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/top", "LowerDir": "/low"}},
        "RootFS": {"Type": "layers", "Layers": [LOW, TOP]},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {"mediaType": OCI, "digest": DIGEST, "size": 405},
    }  # fmt: skip


def test_an_inspection_of_older_versions() -> None:
    older = inspected((1, 43))
    assert (older["VirtualSize"], older["DockerVersion"], older["Parent"], older["Container"]) == (
        30,
        "20",
        "",
        "",
    )
    assert older["ContainerConfig"]["Cmd"] is None
    assert (older["Config"]["Hostname"], older["Config"]["Env"]) == ("", None)
    assert "Descriptor" not in older
    assert "Hostname" not in inspected((1, 50))["Config"]
    assert inspected((1, 51))["Config"]["Env"] is None


def test_when_it_was_made() -> None:
    assert inspected((1, 52), {"created": "1970-01-01T00:00:00Z"})["Created"] == "1970-01-01T00:00:00Z"
    assert "Created" not in inspected((1, 52), {"created": "soon"})
    assert inspected((1, 43), {})["Created"] == "0001-01-01T00:00:00Z"


def test_a_config_that_is_none() -> None:
    assert config_view({"config": [1]}, (1, 52)) == {}
    assert config_view({}, (1, 52)) == {}


def test_a_history() -> None:
    rows = history(INFO, NAMES, DETAILS)
    assert [(row["Id"][:8], row["CreatedBy"], row["Size"], row["Tags"]) for row in rows] == [
        (ID[:8], "COPY", 20, ["x:1"]), ("<missing", "ENV", 0, None), ("<missing", "ADD", 10, None),
    ]  # fmt: skip
