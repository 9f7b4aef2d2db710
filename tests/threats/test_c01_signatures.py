"""C1: signatures that a registry says there are. What cannot be read is none, nothing of it costs more than a
moment, and an image that nobody signed does not come, whatever its registry says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.policy.gate import Gate
from runtime.errors import Invalid, Temporary
from runtime.images.documents import OCI_INDEX, OCI_MANIFEST
from runtime.images.images import Images
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.layout import Layout
from tests.bad_registry import Answer, BadImage, BadRegistry, digest_of, document, started
from tests.signing import (
    BUNDLE,
    SIGNATURE,
    SIMPLE_SIGNING,
    bundle,
    descriptor,
    layer_of,
    manifest_of,
    public,
    simple,
)
from tests.threats.registries import waits

__all__ = ["waits"]
KEY = ec.generate_private_key(ec.SECP256R1())
BOMB = b'{"layers":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LAB = "/v2/lab/app"


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """All that comes must be signed by KEY."""
    if os.geteuid() != 0:
        pytest.skip("a policy is root's")
    path, pem = tmp_path / "policy.yaml", public(KEY).replace("\n", "\n        ")
    rule = f"  all:\n    match: ['*']\n    signed_by:\n      - |\n        {pem}\n"
    path.write_text(f"apiVersion: setpoint/v1\nkind: Policy\nimages:\n{rule}")
    path.chmod(0o644)
    return Images(Layout("tsigned", tmp_path / "data", tmp_path / "run"), Gate(path))


def pull(images: Images, image: BadImage, *registries: BadRegistry) -> None:
    images.pull(image.name, [Origin(Endpoint(each.host, is_insecure=True)) for each in registries])


def refuses(images: Images, image: BadImage, registry: BadRegistry) -> None:
    with pytest.raises(Invalid, match=r"rule images\.all"):
        pull(images, image, registry)
    assert images.list() == () and image.layer_path not in registry.paths()


def tag_of(image: BadImage) -> str:
    return f"{LAB}/manifests/" + digest_of(image.manifest).replace(":", "-")


def referrers_of(image: BadImage) -> str:
    return f"{LAB}/referrers/{digest_of(image.manifest)}"


def put_blob(registry: BadRegistry, data: bytes) -> None:
    registry.answer(f"{LAB}/blobs/{digest_of(data)}", Answer(body=data))


def put_tag(registry: BadRegistry, image: BadImage, change: Callable[[dict[str, Any]], object]) -> None:
    """A signature that is right, in a manifest with a change."""
    data, layer = layer_of(simple(KEY, digest_of(image.manifest)))
    put_blob(registry, data)
    value = json.loads(manifest_of([layer]))
    change(value)
    registry.answer(f"{tag_of(image)}.sig", document(json.dumps(value).encode()))


def put_referrer(registry: BadRegistry, image: BadImage, kind: str, *, times: int = 1) -> None:
    """By the API of OCI 1.1, the good one last."""
    digest = digest_of(image.manifest)
    data, layer = layer_of((bundle if kind == BUNDLE else simple)(KEY, digest))
    put_blob(registry, data)
    good = manifest_of([layer], digest, kind)
    registry.answer(f"{LAB}/manifests/{digest_of(good)}", document(good))
    entry = {**descriptor(OCI_MANIFEST, good), "artifactType": kind}
    others = [{**entry, "digest": f"sha256:{n:064x}"} for n in range(times - 1)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*others, entry]}
    registry.answer(referrers_of(image), document(json.dumps(index).encode(), OCI_INDEX))


@pytest.mark.parametrize("kind", ["tag", SIGNATURE, BUNDLE])
def test_c1_what_is_signed_comes(kind: str, registry: BadRegistry, images: Images) -> None:
    image = registry.put_image()
    refuses(images, image, registry)
    if kind == "tag":
        put_tag(registry, image, lambda value: None)
    else:
        put_referrer(registry, image, kind, times=10)
    pull(images, image, registry)
    assert images.get(image.name) is not None


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no layers": lambda m: m.pop("layers"),
    "layers are an object": lambda m: m.update(layers={}),
    "a layer is null": lambda m: m.update(layers=[None]),
    "another type": lambda m: m["layers"][0].update(mediaType="application/json"),
    "no signature": lambda m: m["layers"][0].pop("annotations"),
    "annotations are a list": lambda m: m["layers"][0].update(annotations=[]),
    "a signature that is no text": lambda m: m["layers"][0]["annotations"].update(
        {"dev.cosignproject.cosign/signature": 7}
    ),
    "a signature that is no base64": lambda m: m["layers"][0]["annotations"].update(
        {"dev.cosignproject.cosign/signature": "?"}
    ),
    "an empty signature": lambda m: m["layers"][0]["annotations"].update(
        {"dev.cosignproject.cosign/signature": ""}
    ),
    "a digest that is a path": lambda m: m["layers"][0].update(digest="../../manifests/1"),
    "another digest": lambda m: m["layers"][0].update(digest="sha256:" + "0" * 64),
    "a huge payload": lambda m: m["layers"][0].update(size=1 << 40),
    "a long signature": lambda m: m["layers"][0]["annotations"].update(
        {"dev.cosignproject.cosign/signature": "AAAA" * 1000}
    ),
    "a payload of no size": lambda m: m["layers"][0].update(size=True),
    "a payload that is shorter": lambda m: m["layers"][0].update(size=m["layers"][0]["size"] - 1),
    "behind many": lambda m: m.update(layers=[{"mediaType": SIMPLE_SIGNING}] * 16 + m["layers"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_c1_a_signature_that_is_none(
    name: str, registry: BadRegistry, images: Images, waits: list[float]
) -> None:
    image = registry.put_image()
    put_tag(registry, image, CHANGES[name])
    refuses(images, image, registry)


ANSWERS = {
    "nothing": Answer(),
    "no json": document(b"{"),
    "nested": document(BOMB),
    "a list": document(b"[]"),
    "too long": document(b" " * (5 << 20)),
    "html": document(b"<html>", "text/html"),
    "no": Answer(403),
    "teapot": Answer(418),
    "away": Answer(302, {"Location": "http://169.254.169.254/"}),
    "an index of itself": document(b'{"schemaVersion":2,"manifests":[{}]}', OCI_INDEX),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("where", ["tag", "referrers", "fallback"])
def test_c1_an_answer_that_is_none(
    name: str, where: str, registry: BadRegistry, images: Images, waits: list[float]
) -> None:
    """And it keeps no other way from being looked at."""
    image = registry.put_image()
    path = {"tag": f"{tag_of(image)}.sig", "referrers": referrers_of(image), "fallback": tag_of(image)}[where]
    registry.answer(path, ANSWERS[name])
    refuses(images, image, registry)
    if where == "tag":
        put_referrer(registry, image, BUNDLE)
    else:
        put_tag(registry, image, lambda value: None)
    pull(images, image, registry)
    assert images.get(image.name) is not None


def test_c1_many_referrers_are_not_all_read(registry: BadRegistry, images: Images) -> None:
    image = registry.put_image()
    put_referrer(registry, image, BUNDLE, times=5000)
    refuses(images, image, registry)
    assert len(registry.seen) < 40


def test_c1_a_registry_in_need_is_asked_again(
    registry: BadRegistry, images: Images, waits: list[float]
) -> None:
    """That there is no signature is not known then, and not said."""
    image = registry.put_image()
    put_tag(registry, image, lambda value: None)
    registry.answer(f"{tag_of(image)}.sig", Answer(429, {"Retry-After": "7"}))
    with pytest.raises(Temporary, match="asked too often"):
        pull(images, image, registry)
    assert 7.0 in waits and images.list() == ()


def test_c1_signatures_that_a_mirror_lacks(registry: BadRegistry, images: Images) -> None:
    image = registry.put_image()
    put_tag(registry, image, lambda value: None)
    with started() as mirror:
        mirror.put_image()
        pull(images, image, mirror, registry)
        assert images.get(image.name) is not None
        assert not any("/blobs/" in path and path == image.layer_path for path in mirror.paths())


def test_c1_a_signature_for_another_image_of_the_registry(registry: BadRegistry, images: Images) -> None:
    """Copied beside this one, as whoever may push there can."""
    image, other = registry.put_image(), registry.put_image("lab/other", content=b"other")
    data, layer = layer_of(simple(KEY, digest_of(other.manifest)))
    put_blob(registry, data)
    registry.answer(f"{tag_of(image)}.sig", document(manifest_of([layer])))
    refuses(images, image, registry)
