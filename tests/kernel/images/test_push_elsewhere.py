"""What was pushed, as podman has it; and that nothing goes to a mirror."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Unsupported
from runtime.images.progress import Progress
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.registry_calls import RegistryCalls
from tests import bad_registry
from tests.registry import Registry, make_image, started


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def images(layout: Layout, tmp_path: Path) -> IsolatedImages:
    images = IsolatedImages(layout)
    images.load(make_image(tmp_path / "app", [{"etc/one": b"1" * 100_000}, {"etc/two": b"2"}]))
    return images


def test_podman_has_the_same_image(registry: Registry, images: IsolatedImages, tmp_path: Path) -> None:
    name = f"{registry.host}/lab/app:1"
    images.tag(images.list()[0].id, name)
    pushed = images.push(name, Origin(Endpoint(registry.host, is_insecure=True)))
    podman = ["podman", "--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]

    def ask(*words: str) -> str:
        done = subprocess.run(
            [*podman, *words], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return done.stdout.strip()

    ask("pull", "-q", "--tls-verify=false", name)
    try:
        said = ask("image", "inspect", "--format", "{{.Digest}} {{.Id}}", name).split()
        assert said == [pushed.digest, images.list()[0].id[7:]]
    finally:
        ask("image", "rm", "-a", "-f")


def test_a_mirror_is_nowhere_to_push_to(registry: Registry, images: IsolatedImages) -> None:
    with bad_registry.started() as mirror:
        origins = [Origin(Endpoint(host, is_insecure=True)) for host in (mirror.host, registry.host)]
        pushing: Counter[str] = Counter()
        calls = RegistryCalls(images, lambda _reference, _project: origins, pushing)
        name = f"{registry.host}/lab/app:1"
        images.tag(images.list()[0].id, name)
        seen: list[tuple[Progress, int]] = []

        async def push() -> str:
            pushed = await calls.push(name, lambda progress: seen.append((progress, pushing[name])))
            await asyncio.sleep(0)  # the last report is on its way
            return pushed.digest

        assert asyncio.run(push()) == images.list()[0].digest
        assert not mirror.seen
        assert seen and {count for _, count in seen if count} == {1} and not pushing, "it is known meanwhile"


def test_without_registries_it_is_said(images: IsolatedImages) -> None:
    calls = RegistryCalls(images, None, Counter())
    with pytest.raises(Unsupported, match="knows no registries"):
        asyncio.run(calls.push("lab/app:1"))
    with pytest.raises(Unsupported, match="knows no registries"):
        asyncio.run(calls.digest("lab/app:1"))
