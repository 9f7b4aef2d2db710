"""Parsers of hostile bytes, as functions that a fuzzer calls: whatever comes, an answer or a SetpointError.

Each also looks at what must hold of an answer. ops/fuzz runs them with coverage as its guide, and
tests/unit/images/test_fuzz_targets.py for a short while with Hypothesis.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import NamedTuple

from runtime.errors import SetpointError
from runtime.images.config import parse_config
from runtime.images.dockerfile.ignore import read_ignore
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.plan import BuildRequest, make_plan, missing_bases
from runtime.images.dockerfile.stages import read_dockerfile
from runtime.images.dockerfile.steps import (
    CacheMount,
    FromImage,
    InlineSource,
    PathSource,
    RunAction,
    Step,
    TransferAction,
)
from runtime.images.documents import OCI_INDEX, OCI_MANIFEST, parse_index, parse_manifest
from runtime.images.reference import parse_reference
from runtime.images.streams import ByteStream
from runtime.images.tarheaders import HEADER, read_entries
from tests.fuzz import buildkit_targets
from tests.fuzz.seeds import DOCKERFILES, IGNORES, MANIFESTS, REFERENCES, tars

_AMD = "linux/amd64"
_BLOCK = 512


class Target(NamedTuple):
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def dockerfile(data: bytes) -> None:
    parsed = read_dockerfile(data)
    request = BuildRequest(_AMD, _AMD, arguments={"A": "given", "HTTP_PROXY": "p"})
    bases: dict[FromImage, ImageConfig] = {}
    while missing := missing_bases(parsed, request, bases):
        bases |= {base: ImageConfig(on_build=("COPY --from=a b /c", "ENV A=$A$A")) for base in missing}
    plan = make_plan(parsed, request, bases)
    for stage in plan.stages:
        for step in stage.steps:
            _check_step(step, len(data.splitlines()) + 1)


def _check_step(step: Step, lines: int) -> None:
    assert 1 <= step.place.first <= step.place.last <= lines
    action = step.action
    if isinstance(action, TransferAction):
        _check_absolute(action.destination)
        for source in action.sources:
            if isinstance(source, PathSource):
                assert not source.path.startswith("/") and ".." not in source.path.split("/")
            if isinstance(source, InlineSource):
                assert "/" not in source.name and source.name not in (".", "..", "")
    if isinstance(action, RunAction):
        _check_absolute(action.working_dir)
        for mount in action.mounts:
            assert not mount.target or _check_absolute(mount.target) != "/"
            assert not isinstance(mount, CacheMount) or ".." not in mount.id.split("/")


def _check_absolute(path: str) -> str:
    assert path.startswith("/") and posixpath.normpath(path) == path and not path.startswith("//")
    return path


def ignore(data: bytes) -> None:
    lines, _, path = data.partition(b"\0")
    found = read_ignore(lines)
    name = path.decode(errors="surrogateescape").strip("/")[:1000] or "a"
    is_ignored = found.is_ignored(name)
    above: tuple[bool, ...] = ()
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        said, above = found.look("/".join(parts[:count]), above)
    assert said == is_ignored


def reference(data: bytes) -> None:
    found = parse_reference(data.decode(errors="replace"))
    assert parse_reference(found.canonical) == found
    assert parse_reference(found.familiar) == found
    assert ".." not in found.path.split("/") and "\n" not in found.canonical


def manifest(data: bytes) -> None:
    """One byte says what it is taken for."""
    kind, body = data[:1], data[1:]
    if kind == b"i":
        parse_index(body, OCI_INDEX, "fuzz")
    elif kind == b"c":
        parse_config(body, "sha256:" + "0" * 64)
    else:
        parse_manifest(body, OCI_MANIFEST, "fuzz")


def tar(data: bytes) -> None:
    """Checksums are made right first, or nothing behind them would ever be read."""
    stream = ByteStream(iter([_with_checksums(data)]))
    for entry in read_entries(stream, "fuzz"):
        assert (
            entry.size >= 0
            and 0 <= entry.uid < 2**32
            and 0 <= entry.gid < 2**32
            and 0 <= entry.mode <= 0o7777
        )
        assert b"\0" not in entry.name + entry.link


def _with_checksums(data: bytes) -> bytes:
    found = bytearray(data[: 64 * _BLOCK])
    for at in range(0, len(found) - _BLOCK + 1, _BLOCK):
        block = found[at : at + HEADER.size]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            found[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(found)


TARGETS = {
    "dockerfile": Target(dockerfile, DOCKERFILES),
    "ignore": Target(ignore, IGNORES),
    "reference": Target(reference, REFERENCES),
    "manifest": Target(manifest, MANIFESTS),
    "tar": Target(tar, tars()),
    "packet": Target(buildkit_targets.packet, buildkit_targets.PACKETS),
    "solve": Target(buildkit_targets.solve, buildkit_targets.SOLVES),
}


def run(target: Target, data: bytes) -> None:
    """Anything but an answer or a SetpointError is our bug, and is raised."""
    try:
        target.run(data)
    except SetpointError as error:
        assert str(error)
