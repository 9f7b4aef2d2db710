"""A store with an image in it, and what must be true of it when a registry did its worst."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.errors import SetpointError
from runtime.images.images import Images
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.layout import Layout
from tests.bad_registry import BadRegistry

# Of one pull that is refused, on a machine that others use too.
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Store:
    """kept: the image that was there before."""

    images: Images
    root: Path
    kept: str

    def pull(
        self, name: str, registry: BadRegistry, credential: Credential | None = None, **more: object
    ) -> None:
        endpoint = Endpoint(registry.host, is_insecure=bool(more.pop("is_insecure", True)), **more)  # type: ignore[arg-type]
        self.images.pull(name, [Origin(endpoint, credential)])

    def refuses(
        self, name: str, registry: BadRegistry, credential: Credential | None = None, **more: object
    ) -> SetpointError:
        """The pull fails in time, with one clear line, and the store is what it was."""
        begun = time.monotonic()
        with pytest.raises(SetpointError) as caught:
            self.pull(name, registry, credential, **more)
        assert time.monotonic() - begun < SECONDS
        text = str(caught.value)
        assert text.isprintable() and len(text) < 600 and caught.value.reason
        assert self.holds() == self.before()
        return caught.value

    def holds(self) -> tuple[object, ...]:
        names = [image.names for image in self.images.list()]
        places = ("blobs/sha256", "layers", "ingest")
        return names, [
            sorted(p.name for p in (self.root / at).glob("*") if p.name != "lock") for at in places
        ]

    def before(self) -> tuple[object, ...]:
        names, (blobs, layers, _) = self.holds()  # type: ignore[misc]
        assert names == [(self.kept,)] and len(blobs) == 3 and len(layers) == 1
        return names, [blobs, layers, []]


def store_in(folder: Path, registry: BadRegistry) -> Store:
    layout = Layout("tbad", folder / "data", folder / "run")
    kept = registry.put_image("lab/kept", content=b"kept")
    store = Store(Images(layout), layout.images, kept.name)
    store.pull(kept.name, registry)
    registry.seen.clear()
    return store


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a pull would have waited between its tries: nobody waits here."""
    found: list[float] = []
    monkeypatch.setattr("runtime.images.registry.repository.time.sleep", found.append)
    return found
