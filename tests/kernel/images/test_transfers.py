"""How images travel: layers side by side, mirrors in turn, and one clear end for what goes wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.registries.origins import Origins
from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.images import Images
from runtime.images.reference import parse_reference
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.layout import Layout
from tests.bad_registry import (
    Answer,
    BadImage,
    BadRegistry,
    Handler,
    config_of,
    digest_of,
    document,
    manifest_of,
    started,
    tar_of,
)
from tests.threats.registries import waits

__all__ = ["waits"]
PATIENCE_SECONDS = 30.0
OTHER = "sha256:" + "0" * 64


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def mirror() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(Layout("ttravel", tmp_path / "data", tmp_path / "run"))


def origin_of(registry: BadRegistry) -> Origin:
    return Origin(Endpoint(registry.host, is_insecure=True))


def put_layers(registry: BadRegistry, count: int) -> tuple[str, list[bytes]]:
    """An image of some layers, and what they are."""
    layers = [tar_of({f"etc/{n}": b"x" * 1000}) for n in range(count)]
    config = json.dumps(config_of(*layers)).encode()
    manifest = json.dumps(manifest_of(config, *layers)).encode()
    registry.answer("/v2/lab/app/manifests/1", document(manifest))
    registry.answer(f"/v2/lab/app/blobs/{digest_of(config)}", Answer(body=config))
    for layer in layers:
        registry.answer(f"/v2/lab/app/blobs/{digest_of(layer)}", Answer(body=layer))
    return f"{registry.host}/lab/app:1", layers


def test_layers_come_side_by_side(registry: BadRegistry, images: Images) -> None:
    """Four are asked for before one of them is given."""
    name, layers = put_layers(registry, 6)
    gate = threading.Barrier(4)

    def together(layer: bytes) -> Answer:
        def raw(handler: Handler) -> None:
            gate.wait(PATIENCE_SECONDS)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(layer)}\r\n\r\n"
            handler.wfile.write(head.encode() + layer)

        return Answer(raw=raw)

    for layer in layers[:4]:
        registry.answer(f"/v2/lab/app/blobs/{digest_of(layer)}", together(layer))
    image = images.pull(name, [origin_of(registry)])
    trees = images.layer_directories(image.id)
    assert [sorted(p.name for p in (tree / "etc").iterdir()) for tree in trees] == [
        [str(n)] for n in range(6)
    ]


def test_a_layer_that_is_twice_in_an_image_is_fetched_once(registry: BadRegistry, images: Images) -> None:
    image = registry.put_image()
    config = json.dumps(config_of(image.layer, image.layer)).encode()
    manifest = json.dumps(manifest_of(config, image.layer, image.layer)).encode()
    registry.answer(image.manifest_path, document(manifest))
    registry.answer(f"/v2/lab/app/blobs/{digest_of(config)}", Answer(body=config))
    images.pull(image.name, [origin_of(registry)])
    assert registry.paths().count(image.layer_path) == 1


def trouble(kind: str, mirror: BadRegistry, image: BadImage) -> None:
    match kind:
        case "lacks it":
            mirror.answer("", Answer(404))
        case "is ill":
            mirror.answer(image.manifest_path, Answer(500))
        case "is busy":
            mirror.answer(image.manifest_path, Answer(429, {"Retry-After": "3600"}))
        case "lets nobody in":
            mirror.answer(image.manifest_path, Answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))
        case "lies":
            answer = document(image.manifest)
            mirror.answer(
                image.manifest_path,
                Answer(200, {**answer.headers, "Docker-Content-Digest": OTHER}, answer.body),
            )
        case "has another layer":
            mirror.answer(image.layer_path, Answer(body=image.layer[:-1] + b"\1"))
        case "sends us away":
            mirror.answer(image.layer_path, Answer(302, {"Location": "http://169.254.169.254/"}))


@pytest.mark.parametrize(
    "kind",
    ["lacks it", "is ill", "is busy", "lets nobody in", "lies", "has another layer", "sends us away"],
)
def test_behind_a_mirror_in_trouble_is_the_registry(
    kind: str, registry: BadRegistry, mirror: BadRegistry, images: Images, waits: list[float]
) -> None:
    image = registry.put_image()
    mirror.put_image()
    trouble(kind, mirror, image)
    images.pull(image.name, [origin_of(mirror), origin_of(registry)])
    assert images.get(image.name) is not None
    assert mirror.seen and waits == []  # nobody waits for one that has another behind it


def test_a_mirror_that_is_well_is_enough(
    registry: BadRegistry, mirror: BadRegistry, images: Images, tmp_path: Path
) -> None:
    """As registries.yaml says it, by the name of the registry."""
    image = mirror.put_image()
    settings = tmp_path / "registries.yaml"
    settings.write_text(
        "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
        f'  "{registry.host}": {{insecure: true, mirrors: ["127.0.0.1:1", "{mirror.host}"]}}\n'
        f'  "{mirror.host}": {{insecure: true}}\n  "127.0.0.1:1": {{insecure: true}}\n'
    )
    name = f"{registry.host}/lab/app:1"
    images.pull(name, Origins(settings, tmp_path / "none").of(parse_reference(name)))
    assert images.get(name) is not None
    assert registry.seen == [] and image.layer_path in mirror.paths()


def test_when_none_has_it_the_registry_s_own_word_counts(
    registry: BadRegistry, mirror: BadRegistry, images: Images, waits: list[float]
) -> None:
    image = registry.put_image()
    mirror.answer("", Answer(500))
    registry.answer(image.manifest_path, Answer(404))
    with pytest.raises(NotFound):
        images.pull(image.name, [origin_of(mirror), origin_of(registry)])


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (Answer(429, {"Retry-After": "120"}), Temporary, "it is asked too often"),
        (Answer(500), Temporary, "it answers 500"),
        (Answer(418), Invalid, "it answers 418"),
        (Answer(404), NotFound, "there is no blob"),
        (Answer(body=b"short"), Temporary, "it ends in the middle of a layer"),
        (Answer(206, {"Content-Range": "bytes 5-9/10"}, b"abcde"), SetpointError, ""),
        (Answer(302, {"Location": ""}), Invalid, "sends us on to nowhere"),
    ],
)
def test_one_clear_end(
    answer: Answer, kind: type[SetpointError], reason: str, registry: BadRegistry, images: Images,
    waits: list[float],
) -> None:  # fmt: skip
    image = registry.put_image()
    registry.answer(image.layer_path, answer)
    with pytest.raises(kind) as caught:
        images.pull(image.name, [origin_of(registry)])
    assert reason in caught.value.reason and images.list() == ()
    registry.answer(image.layer_path, Answer(body=image.layer))
    images.pull(image.name, [origin_of(registry)])  # and when it is well again, it comes
    assert images.get(image.name) is not None
