"""A push whose connection breaks: what is sent again, and what is not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Temporary
from runtime.images.images import Images
from runtime.images.progress import Progress
from runtime.images.registry import upload
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from tests import bad_registry, breaking_proxy
from tests.bad_registry import Answer
from tests.breaking_proxy import Break, Keeping, Proxy
from tests.registry import Registry, make_image

CHUNK = 100_000
BIG = 450_000  # of the one layer, and a little for its tar


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    with breaking_proxy.started(registry.host) as proxy:
        yield proxy


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    with breaking_proxy.keeping() as registry:
        yield registry


@pytest.fixture
def images(layout: object, tmp_path: Path) -> Images:
    images = Images(layout)  # type: ignore[arg-type]
    images.load(make_image(tmp_path / "app", [{"big": bytes(range(250)) * (BIG // 250)}]))
    return images


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited between its tries; chunks are small here."""
    found: list[float] = []
    monkeypatch.setattr("runtime.images.registry.upload.time.sleep", found.append)
    monkeypatch.setattr(upload, "CHUNK_BYTES", CHUNK)
    return found


def push(images: Images, host: str, name: str, seen: list[Progress] | None = None) -> str:
    images.tag(images.list()[0].id, f"{host}/{name}")
    origin = Origin(Endpoint(host, is_insecure=True))
    report = (seen if seen is not None else []).append
    return images.push(f"{host}/{name}", origin, report).digest


def digest_at(registry: Registry, name: str) -> str:
    words = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
    done = subprocess.run(
        [*words, f"docker://{registry.host}/{name}"],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_part_that_got_lost_is_sent_again_and_no_more(
    registry: Registry, proxy: Proxy, images: Images
) -> None:
    """The proxy collects a request before it hands it on: the registry has the parts before."""
    proxy.breaks += [Break("POST", 0), Break("PATCH", 30_000)]
    seen: list[Progress] = []
    assert push(images, proxy.host, "lost/app:1", seen) == digest_at(registry, "lost/app:1")
    parts = [(each.content_range, each.status) for each in proxy.of("PATCH")]
    assert [part for part in parts if part[0].startswith("0-")] == [("0-99999", 0), ("0-99999", 202)]
    assert len(proxy.of("GET")) >= 1, "it is asked how far it came"
    assert all(each.done_bytes <= each.total_bytes for each in seen)


def test_later_parts_are_not_begun_anew(registry: Registry, proxy: Proxy, images: Images) -> None:
    proxy.breaks.append(Break("PATCH", 10_000, nth=3))
    assert push(images, proxy.host, "third/app:1") == digest_at(registry, "third/app:1")
    begins = [int(each.content_range.partition("-")[0]) for each in proxy.of("PATCH")]
    assert begins == [0, CHUNK, 2 * CHUNK, 2 * CHUNK, 3 * CHUNK]


def test_a_registry_that_forgets_is_sent_all_again(registry: Registry, proxy: Proxy, images: Images) -> None:
    """docker-registry saw a part of a PATCH: it takes nothing more of that upload."""
    proxy.breaks.append(Break("PATCH", 50_000, is_forwarded=True))
    assert push(images, proxy.host, "forgets/app:1") == digest_at(registry, "forgets/app:1")


def test_the_last_part_and_the_manifest_are_sent_again(
    registry: Registry, proxy: Proxy, images: Images
) -> None:
    proxy.breaks += [Break("PUT", 20_000), Break("PUT", 100), Break("HEAD", 0)]
    assert push(images, proxy.host, "last/app:1") == digest_at(registry, "last/app:1")


def test_in_the_middle_of_a_part(keeping: Keeping, images: Images) -> None:
    """From the very byte on, by a registry that knows how far it came."""
    keeping.break_after = [150, 77_777, 33_333]
    push(images, keeping.host, "middle/app:1")
    layers = {digest: data for digest, data in keeping.blobs.items() if len(data) > BIG}
    assert len(layers) == 1 and len(keeping.blobs) == 2
    sent = sum(each.received for each in keeping.seen)
    assert sent == sum(map(len, keeping.blobs.values())), "no byte twice"


def test_a_registry_that_is_away_for_a_moment_forgets_nothing(keeping: Keeping, images: Images) -> None:
    keeping.break_after, keeping.is_away = [150, 250_000], 2
    push(images, keeping.host, "away/app:1")
    sent = sum(each.received for each in keeping.seen)
    assert sent == sum(map(len, keeping.blobs.values())), "no byte twice"


def test_one_that_takes_no_parts(keeping: Keeping, images: Images) -> None:
    keeping.takes_chunks = False
    push(images, keeping.host, "whole/app:1")
    assert len(keeping.blobs) == 2 and len(keeping.of("PATCH")) == 1


def test_one_that_wants_larger_parts(keeping: Keeping, images: Images) -> None:
    keeping.least_chunk = 200_000
    push(images, keeping.host, "larger/app:1")
    assert [each.received for each in keeping.of("PATCH")] == [200_000, 200_000]


def test_one_that_breaks_always_is_given_up(keeping: Keeping, images: Images, waits: list[float]) -> None:
    keeping.break_after = [0] * 1000
    with pytest.raises(Temporary, match=r"^push image .*what is there already is not sent again"):
        push(images, keeping.host, "never/app:1")
    assert len(keeping.seen) < 60 and waits


def test_it_waits_as_long_as_it_is_told(
    images: Images, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.images.registry.repository.time.sleep", waits.append)
    with bad_registry.started() as busy:
        busy.answer("", Answer(429, {"Retry-After": "7"}))
        with pytest.raises(Temporary, match="asked too often"):
            push(images, busy.host, "busy/app:1")
    assert set(waits) == {7.0}
