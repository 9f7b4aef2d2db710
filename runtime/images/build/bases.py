"""The images that a build begins with, or takes files of: asked of the engine's process, once each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from runtime.errors import NotFound, Unsupported
from runtime.images.build.asks import Asks
from runtime.images.build.keep import Keeper
from runtime.images.build.states import Layer, State
from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.dockerfile.config_document import from_document
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.steps import FromImage
from runtime.images.documents import Descriptor, Platform, parse_json, parse_manifest
from runtime.images.formats import layer_type
from runtime.images.garbage import Holdings
from runtime.images.images import Images
from runtime.images.info import ImageInfo
from runtime.images.layers import Layers


class Bases:
    """make_key: what a state's key is, of its image's layers."""

    def __init__(
        self,
        root: Path,
        images: Images,
        platform: Platform,
        asks: Asks,
        keeper: Keeper,
        make_key: Callable[[list[str]], str],
        *,
        pull: bool,
    ) -> None:
        self._root = root
        self._images = images
        self._platform = platform
        self._asks = asks
        self._keeper = keeper
        self._make_key = make_key
        self._pull = pull
        self._lock = threading.Lock()
        self._found: dict[FromImage, tuple[State, ImageConfig]] = {}

    def state(self, wanted: FromImage) -> State:
        return self._get(wanted)[0]

    def config(self, wanted: FromImage) -> ImageConfig:
        return self._get(wanted)[1]

    def _get(self, wanted: FromImage) -> tuple[State, ImageConfig]:
        with self._lock:
            found = self._found.get(wanted)
            if found is None:
                found = self._found[wanted] = self._find(wanted)
            return found

    def _find(self, wanted: FromImage) -> tuple[State, ImageConfig]:
        check_platform(wanted.platform, self._platform, wanted.reference)
        image_id = str(self._asks.ask("image", reference=wanted.reference, pull=self._pull))
        info = self._images.get(image_id)
        if info is None:
            raise NotFound("build image", wanted.reference, "it went away while it was used", "build again")
        content = Content(self._root)
        document = parse_json(content.read_document(image_id), image_id[:19])
        manifest = parse_manifest(content.read_document(info.digest), "", info.digest[:19])
        layers = self._layers(info, parse_diff_ids(document, image_id[:19]), manifest.layers)
        self._hold(info, layers)
        history = document.get("history")
        state = State(
            key=self._make_key([layer.diff_id for layer in layers]),
            layers=layers,
            history=tuple(entry for entry in history if isinstance(entry, dict))
            if isinstance(history, list)
            else (),
            document=document,
        )
        return state, from_document(document, wanted.reference)

    def _layers(
        self, info: ImageInfo, diff_ids: tuple[str, ...], described: tuple[Descriptor, ...]
    ) -> tuple[Layer, ...]:
        found = Layers(self._root).find_all(diff_ids)
        if found is None or len(described) != len(diff_ids):
            raise NotFound("build image", info.id[:19], "it lacks one of its layers", "pull it again")
        return tuple(
            Layer(diff_id, packed.digest, packed.size, _as_oci(packed), layer.key)
            for diff_id, packed, layer in zip(diff_ids, described, found, strict=True)
        )

    def _hold(self, info: ImageInfo, layers: tuple[Layer, ...]) -> None:
        blobs = frozenset({info.id, info.digest} | {layer.digest for layer in layers})
        self._keeper.hold(Holdings(blobs, frozenset(layer.key for layer in layers)))


def check_platform(platform: str, host: Platform, subject: str) -> None:
    """`Unsupported` for what does not run here: nothing emulates another processor."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    is_ours = (system, architecture) == (host.os, host.architecture)
    if not is_ours or (variant and host.variant and variant > host.variant):
        ours = "/".join(filter(None, (host.os, host.architecture, host.variant)))
        raise Unsupported(
            "build image", subject, f"for {platform}: this machine runs {ours}",
            "build it on a machine of that kind",
        )  # fmt: skip


def _as_oci(layer: Descriptor) -> str:
    """Docker's media type in OCI's words: a manifest has one kind."""
    return layer_type(next((name for name in ("gzip", "zstd") if layer.media_type.endswith(name)), ""))
