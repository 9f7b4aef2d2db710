"""Builds, pushes, loads and lists of images, by each engine's own command line, side by side.

    a context of ten steps ─> build, with the first file changed; the same again
    busybox and one layer of chance ─> archive ─> load; push to a docker-registry of its own each time
    an archive of many small images ─> load ─> list, through the Docker API

Called for engines that run nothing else. Times are seconds of wall clock.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measure import Show, median, run, timed
from progress import Numbers
from sizes import Sizes

ROOT = Path(__file__).resolve().parents[2]
ROWS: tuple[tuple[str, str, Show], ...] = (
    ("build", "build of ten steps, the first one changed", lambda v: f"{v:.2f} s"),
    ("rebuild", "the same build again, nothing changed", lambda v: f"{v * 1000:.0f} ms"),
    ("push", "push of a layer of {layer_mb} MB", lambda v: f"{v:.2f} s"),
    ("load", "load of a layer of {layer_mb} MB", lambda v: f"{v:.2f} s"),
    ("image_ls", "list of {images} images, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
)
DOCKERFILE = """\
FROM busybox:latest
ENV PLACE=/app
WORKDIR /app
COPY seed seed
RUN mkdir -p parts && for n in 1 2 3 4 5 6 7 8; do cat seed > parts/$n; done
RUN sha256sum parts/* > sums
COPY sources sources
RUN cat sources/* | wc -c > size
RUN rm -r parts && echo done > state
CMD ["cat", "/app/state"]
"""
SOURCES = 200
_BOUNDS = (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
# buildah and podman ask for more than there may be where this process is bounded.
OWN_LIMITS = tuple(
    f"--ulimit={name}={most}:{most}"
    for name, most in ((name, resource.getrlimit(bound)[1]) for name, bound in _BOUNDS)
    if most != resource.RLIM_INFINITY
)


Build = Callable[[Path, str], object]


@dataclass(frozen=True, slots=True)
class Tool:
    """How an engine is asked: build(context, name), push(name), load(archive), remove(name), tag(old, new).
    trust(host): of a registry without TLS."""

    build: Build
    push: Callable[[str], object]
    load: Callable[[Path], object]
    remove: Callable[[str], object]
    tag: Callable[[str, str], object]
    trust: Callable[[str], object] = lambda _host: None


def measure_build(ask: Build, scratch: Path, runs: int) -> Numbers:
    context = write_context(scratch / "context")

    def build() -> object:
        return ask(context, "bench/built:1")

    changed, same = [], []
    for _ in range(runs):
        (context / "seed").write_bytes(os.urandom(20_000))
        changed.append(timed(build))
        same.append(timed(build))
    return {"build": median(changed), "rebuild": median(same)}


def write_context(folder: Path) -> Path:
    """The same for every engine, but for the seed."""
    (folder / "sources").mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for number in range(SOURCES):
        (folder / f"sources/{number}").write_text(f"line of {number}\n" * 100)
    return folder


def measure_push(tool: Tool, scratch: Path, runs: int, sizes: Sizes) -> Numbers:
    """A registry that has nothing each time; a program of the distribution, as the tests start it."""
    sys.path.insert(0, str(ROOT))
    from tests.registry import started

    archive = write_archive(scratch / "layer.tar", sizes.layer_bytes)
    tool.load(archive)
    seconds = []
    for number in range(runs):
        with started(scratch / f"registry-{number}") as registry:
            tool.trust(registry.host)
            name = f"{registry.host}/bench/layer:{number}"
            tool.tag("bench/layer:1", name)
            seconds.append(timed(lambda name=name: tool.push(name)))  # type: ignore[misc]
            tool.remove(name)
    tool.remove("bench/layer:1")
    return {"push": median(seconds)}


def measure_load(tool: Tool, scratch: Path, runs: int, sizes: Sizes) -> Numbers:
    seconds = []
    for number in range(runs):  # another layer each time: what is there need not be unpacked
        archive = write_archive(scratch / f"load-{number}.tar", sizes.layer_bytes)
        seconds.append(timed(lambda archive=archive: tool.load(archive)))  # type: ignore[misc]
        tool.remove("bench/layer:1")
        archive.unlink()
    return {"load": median(seconds)}


def measure_list(tool: Tool, ask: Callable[[], Any], scratch: Path, sizes: Sizes) -> Numbers:
    """ask: GET /images/json."""
    archive = scratch / "many.tar"
    with _archive(archive) as (add, entries):
        layer = _tar({"etc/bench": b"bench"})
        add("layer.tar", layer)
        for number in range(sizes.images):
            entries.append(_image(add, f"bench/many{number}:1", ["layer.tar"], [layer], number))
    tool.load(archive)
    if (found := len(ask())) < sizes.images:
        raise RuntimeError(f"{found} images are listed of {sizes.images}")
    return {"image_ls": median([timed(ask) for _ in range(20)])}


# --- archives, as `docker save` writes them ----------------------------------------------------------


def write_archive(path: Path, layer_bytes: int) -> Path:
    """bench/layer:1: files of 1 MB each of bytes that no program can pack."""
    files = {f"data/{number}": os.urandom(1_000_000) for number in range(max(1, layer_bytes // 1_000_000))}
    with _archive(path) as (add, entries):
        layer = _tar(files)
        add("layer.tar", layer)
        entries.append(_image(add, "bench/layer:1", ["layer.tar"], [layer], 0))
    return path


Add = Callable[[str, bytes], None]


@contextmanager
def _archive(path: Path) -> Iterator[tuple[Add, list[dict[str, object]]]]:
    with tarfile.open(path, "w") as archive:
        add = partial(_add, archive)
        entries: list[dict[str, object]] = []
        yield add, entries
        add("manifest.json", json.dumps(entries).encode())


def _image(add: Add, name: str, paths: list[str], layers: list[bytes], number: int) -> dict[str, object]:
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/true"], "Labels": {"bench": "many", "number": str(number)}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(each)}" for each in layers]},
    }  # fmt: skip
    content = json.dumps(config).encode()
    file = f"{_digest(content)}.json"
    add(file, content)
    return {"Config": file, "RepoTags": [name], "Layers": paths}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            _add(archive, name, data)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


# --- buildah, which only builds ------------------------------------------------------------------------


def buildah(scratch: Path, archive: Path) -> Build:
    """With a store of its own that has busybox. --layers: it caches steps as the others do."""
    places = ("--root", scratch / "data", "--runroot", scratch / "run")
    scratch.mkdir(parents=True, exist_ok=True)
    run("buildah", *places, "pull", "-q", f"oci-archive:{archive}")
    id = run("buildah", *places, "images", "-q").split()[0]
    run("buildah", *places, "tag", id, "localhost/busybox:latest")
    text = DOCKERFILE.replace("FROM busybox", "FROM localhost/busybox")

    def build(context: Path, name: str) -> object:
        file = scratch / "Dockerfile"
        file.write_text(text)
        options = ("--layers", "-q", *OWN_LIMITS, "-f", file, "-t", f"localhost/{name}")
        return run("buildah", *places, "bud", *options, context)

    return build
