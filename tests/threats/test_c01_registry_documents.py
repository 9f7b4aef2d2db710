"""C1: a registry that lies: of digests, sizes, types, of what it is (CVE-2021-41190, CVE-2024-3727)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.images.documents import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from tests.bad_registry import (
    Answer,
    BadImage,
    BadRegistry,
    config_of,
    descriptor,
    digest_of,
    document,
    manifest_of,
    started,
    tar_of,
)
from tests.threats.registries import Store, store_in, waits

__all__ = ["waits"]
Lie = Callable[[BadRegistry, BadImage], None]
OTHER = "sha256:" + "0" * 64
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
BOMB = b'{"schemaVersion":2,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LIES: dict[str, Lie] = {}


def manifest(change: Callable[[dict[str, Any]], object], media_type: str = OCI_MANIFEST) -> Lie:
    """The manifest with a change, and a digest that is right for it."""

    def tell(registry: BadRegistry, image: BadImage) -> None:
        value = json.loads(image.manifest)
        change(value)
        registry.answer(image.manifest_path, document(json.dumps(value).encode(), media_type))

    return tell


def raw(data: bytes, media_type: str = OCI_MANIFEST) -> Lie:
    return lambda registry, image: registry.answer(image.manifest_path, document(data, media_type))


def headers(**said: str) -> Lie:
    fields = {name.replace("_", "-"): value for name, value in said.items()}

    def tell(registry: BadRegistry, image: BadImage) -> None:
        answer = document(image.manifest)
        registry.answer(image.manifest_path, replace(answer, headers={**answer.headers, **fields}))

    return tell


def config(change: Callable[[dict[str, Any]], object]) -> Lie:
    """The config with a change, and a manifest that is right for it."""

    def tell(registry: BadRegistry, image: BadImage) -> None:
        value = json.loads(image.config)
        change(value)
        config_bytes(json.dumps(value).encode())(registry, image)

    return tell


def config_bytes(data: bytes) -> Lie:
    def tell(registry: BadRegistry, image: BadImage) -> None:
        value = manifest_of(data, image.layer)
        registry.answer(f"/v2/lab/app/blobs/{digest_of(data)}", Answer(body=data))
        registry.answer(image.manifest_path, document(json.dumps(value).encode()))

    return tell


def blob(which: str, data: Callable[[bytes], bytes]) -> Lie:
    def tell(registry: BadRegistry, image: BadImage) -> None:
        registry.answer(getattr(image, f"{which}_path"), Answer(body=data(getattr(image, which))))

    return tell


def layer(value: dict[str, object]) -> Lie:
    return manifest(lambda m: m["layers"][0].update(value))


def index(change: Callable[[dict[str, Any]], object], media_type: str = OCI_INDEX) -> Lie:
    """An index above the manifest, with a change in its one entry."""

    def tell(registry: BadRegistry, image: BadImage) -> None:
        entry = descriptor(OCI_MANIFEST, image.manifest)
        entry["platform"] = {"os": "linux", "architecture": "amd64"}
        value = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
        change(value)
        registry.answer(image.manifest_path, document(json.dumps(value).encode(), media_type))

    return tell


def entry(**said: object) -> Lie:
    return index(lambda value: value["manifests"][0].update(said))


def nested(depth: int) -> Lie:
    def tell(registry: BadRegistry, image: BadImage) -> None:
        below, media_type = image.manifest, OCI_MANIFEST
        for _ in range(depth):
            value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(media_type, below)]}
            below, media_type = json.dumps(value).encode(), OCI_INDEX
            registry.answer(f"/v2/lab/app/manifests/{digest_of(below)}", document(below, OCI_INDEX))
        registry.answer(image.manifest_path, document(below, OCI_INDEX))

    return tell


def layers(count: int, diff_ids: int) -> Lie:
    def tell(registry: BadRegistry, image: BadImage) -> None:
        data = json.dumps(config_of(*[image.layer] * diff_ids)).encode()
        registry.answer(f"/v2/lab/app/blobs/{digest_of(data)}", Answer(body=data))
        value = manifest_of(data, *[image.layer] * count)
        registry.answer(image.manifest_path, document(json.dumps(value).encode()))

    return tell


def another_content(registry: BadRegistry, image: BadImage) -> None:
    """A good layer, but of another image: the diff id in the config is not its."""
    other = tar_of({"etc/word": b"evil"})
    registry.answer(f"/v2/lab/app/blobs/{digest_of(other)}", Answer(body=other))
    registry.answer(image.manifest_path, document(json.dumps(manifest_of(image.config, other)).encode()))


# --- the manifest's answer ---
LIES["digest header lies"] = headers(Docker_Content_Digest=OTHER)
for name, said in {
    "octets": "application/octet-stream", "json": "application/json", "html": "text/html", "empty": "",
    "index": OCI_INDEX, "docker index": DOCKER_INDEX, "docker manifest": DOCKER_MANIFEST,
    "config": OCI_CONFIG,
    "long": "a/" + "b" * 9000, "two": f"{OCI_MANIFEST}, {OCI_INDEX}", "case": OCI_MANIFEST.upper(),
}.items():  # fmt: skip
    LIES[f"content type {name}"] = headers(Content_Type=said)
LIES["schema 1"] = raw(b'{"schemaVersion":1,"fsLayers":[]}', SCHEMA_1)
LIES["schema 1 as a manifest"] = raw(b'{"schemaVersion":1,"fsLayers":[],"history":[]}')
LIES["packed"] = raw(gzip.compress(b"{}"))
for name, data in {
    "nothing": b"", "no json": b"{", "null": b"null", "list": b"[]", "text": b'"a"',
    "not a number": b'{"a":NaN}',
    "nested": BOMB, "no text": b"\xff\xfe\x00", "too long": b" " * (5 << 20), "empty object": b"{}",
}.items():  # fmt: skip
    LIES[f"manifest {name}"] = raw(data)
# --- what a manifest says ---
LIES["manifests and layers"] = manifest(lambda m: m.update(manifests=[]))
LIES["own type is an index"] = manifest(lambda m: m.update(mediaType=OCI_INDEX))
LIES["own type is docker's"] = manifest(lambda m: m.update(mediaType=DOCKER_MANIFEST))
LIES["own type is a number"] = manifest(lambda m: m.update(mediaType=7))
LIES["schema 3"] = manifest(lambda m: m.update(schemaVersion=3))
LIES["no config"] = manifest(lambda m: m.pop("config"))
LIES["no layers"] = manifest(lambda m: m.pop("layers"))
LIES["layers are an object"] = manifest(lambda m: m.update(layers={}))
LIES["a layer is null"] = manifest(lambda m: m.update(layers=[None]))
LIES["an artifact"] = manifest(
    lambda m: m["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json")
)
LIES["config of another size"] = manifest(lambda m: m["config"].update(size=m["config"]["size"] + 1))
LIES["config of a huge size"] = manifest(lambda m: m["config"].update(size=1 << 40))
LIES["config is a layer"] = manifest(lambda m: m.update(config=m["layers"][0]))
for name, digest in {
    "short": "sha256:abc", "upper case": "sha256:" + "A" * 64, "path": "sha256:../../../../etc/passwd",
    "md5": "md5:" + "0" * 32, "sha512": "sha512:" + "0" * 128, "new line": "sha256:" + "0" * 64 + "\n",
    "query": "sha256:" + "0" * 63 + "?", "list": ["sha256"], "none": None,
}.items():  # fmt: skip
    LIES[f"layer digest {name}"] = layer({"digest": digest})
for name, size in {
    "negative": -1,
    "text": "12",
    "true": True,
    "float": 1.5,
    "huge": 1 << 60,
    "less": 1,
    "more": 99999,
}.items():
    LIES[f"layer size {name}"] = layer({"size": size})
LIES["layer of an unknown kind"] = layer({"mediaType": "application/x-evil"})
LIES["layer encrypted"] = layer({"mediaType": OCI_LAYER + "+encrypted"})
LIES["129 layers"] = layers(129, 129)
LIES["more diff ids than layers"] = layers(1, 2)
LIES["more layers than diff ids"] = layers(2, 1)
LIES["layer of another image"] = another_content
# --- what blobs are ---
LIES["layer is another"] = blob("layer", lambda data: data[:-1] + b"\1")
LIES["layer is longer"] = blob("layer", lambda data: data + b"\0")
LIES["layer is empty"] = blob("layer", lambda data: b"")
LIES["config is another"] = blob("config", lambda data: data.replace(b"linux", b"Linux"))
LIES["config is longer"] = blob("config", lambda data: data + b" ")
LIES["config is shorter"] = blob("config", lambda data: data[:-1])
for name, data in {"no json": b"{", "a list": b"[]", "nested": BOMB, "empty": b"{}"}.items():
    LIES[f"config {name}"] = config_bytes(data)
LIES["config diff ids are no digests"] = config(lambda c: c["rootfs"].update(diff_ids=["../../x"]))
LIES["config diff ids are another's"] = config(lambda c: c["rootfs"].update(diff_ids=[OTHER]))
LIES["config has no rootfs"] = config(lambda c: c.pop("rootfs"))
# --- what an index says ---
LIES["index entry of another size"] = entry(size=7)
LIES["index entry of another type"] = entry(mediaType=DOCKER_MANIFEST)
LIES["index entry is an index"] = entry(mediaType=OCI_INDEX)
LIES["index entry of an unknown type"] = entry(mediaType="application/x-evil")
LIES["index entry of another digest"] = entry(digest=OTHER)
LIES["index entry is a path"] = entry(digest="../../secret")
LIES["index for another machine"] = entry(platform={"os": "linux", "architecture": "s390x"})
LIES["index of nothing"] = index(lambda value: value.update(manifests=[]))
LIES["index with layers"] = index(lambda value: value.update(layers=[]))
LIES["index with a config"] = index(lambda value: value.update(config={}))
LIES["index is an object"] = index(lambda value: value.update(manifests={}))
LIES["index says that it is a manifest"] = index(lambda value: value.update(mediaType=OCI_MANIFEST))
LIES["indexes five deep"] = nested(5)


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path, registry: BadRegistry) -> Store:
    return store_in(tmp_path, registry)


def test_c1_there_are_many_lies() -> None:
    assert len(LIES) >= 60


@pytest.mark.parametrize("lie", LIES)
def test_c1_what_a_registry_lies_about_is_refused(
    lie: str, registry: BadRegistry, store: Store, waits: list[float]
) -> None:
    image = registry.put_image()
    LIES[lie](registry, image)
    store.refuses(image.name, registry)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_c1_the_same_without_a_lie_is_taken(depth: int, registry: BadRegistry, store: Store) -> None:
    image = registry.put_image()
    if depth:
        nested(depth)(registry, image)
    store.pull(image.name, registry)
    assert store.images.get(image.name) is not None


def test_c1_another_manifest_than_the_digest_that_was_asked_for(registry: BadRegistry, store: Store) -> None:
    image, other = registry.put_image(), registry.put_image("lab/other", content=b"other")
    asked = digest_of(image.manifest)
    registry.answer(
        f"/v2/lab/app/manifests/{asked}",
        replace(document(other.manifest), headers={"Content-Type": OCI_MANIFEST}),
    )
    for name in (f"lab/app@{asked}", f"lab/app:1@{asked}"):
        assert "has the digest" in store.refuses(f"{registry.host}/{name}", registry).reason
