"""An index of a real registry, and what a platform makes of it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from runtime.errors import Unsupported
from runtime.images.images import Images
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.registry import Registry, make_image, started

INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry") as registry:
        entries = []
        for architecture in ("amd64", "arm64"):
            made = make_image(
                folder / architecture, [{"is": architecture.encode()}], architecture=architecture
            )
            words = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{made}"]
            target = f"docker://{registry.host}/lab/app:{architecture}"
            subprocess.run([*words, target], check=True, stdin=subprocess.DEVNULL)
            entries += json.loads((made / "index.json").read_text())["manifests"]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        put = urllib.request.Request(f"http://{registry.host}/v2/lab/app/manifests/all", index, method="PUT")
        put.add_header("Content-Type", INDEX)
        urllib.request.urlopen(put, timeout=30).close()
        yield registry


@pytest.fixture
def images(layout: Layout) -> Images:
    return IsolatedImages(layout)


def test_the_one_that_is_asked_for(registry: Registry, images: Images) -> None:
    name, origins = f"{registry.host}/lab/app:all", [Origin(Endpoint(registry.host, is_insecure=True))]
    for platform in ("linux/arm64", "linux/amd64"):
        pulled = images.pull(name, origins, platform=platform)
        assert pulled.architecture == platform.partition("/")[2]
        (tree,) = images.layer_directories(pulled.id)
        assert (tree / "is").read_text() == pulled.architecture
        found = images.get(name)
        assert found is not None and found.id == pulled.id, "a name means one image"
    with pytest.raises(Unsupported, match="made for linux/amd64, linux/arm64, not for linux/s390x"):
        images.pull(name, origins, platform="linux/s390x")


def test_without_an_index_it_is_checked_too(registry: Registry, images: Images) -> None:
    origins = [Origin(Endpoint(registry.host, is_insecure=True))]
    with pytest.raises(Unsupported, match="made for linux/amd64, not for linux/arm64"):
        images.pull(f"{registry.host}/lab/app:amd64", origins, platform="linux/arm64")
    assert images.list() == ()


def test_what_is_here_is_compared_by_either_digest(registry: Registry, images: Images) -> None:
    """The registry says the index's digest of such a name, the store has the manifest's, too."""
    name, origins = f"{registry.host}/lab/app:all", [Origin(Endpoint(registry.host, is_insecure=True))]
    pulled = images.pull(name, origins, platform="linux/arm64")
    assert isinstance(images, IsolatedImages)
    said = images.ask("digest", name, origins)[0]["digest"]
    assert said != pulled.digest and {said, pulled.digest} == images.digests(name)
