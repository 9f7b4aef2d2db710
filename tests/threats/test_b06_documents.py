"""B6: manifests, configs, indexes and signed payloads that somebody has tampered with: an error of ours with
one short line, or a value; no other exception, and never a second of work.

    SETPOINT_FUZZ_SECONDS=600 .venv/bin/pytest -s tests/threats/test_b06_documents.py      a long run, counted
    SETPOINT_FUZZ_DOCUMENTS=1000000 …                                                      so many of each
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.policy.signatures import is_signed
from runtime.errors import SetpointError
from runtime.images.config import parse_config, parse_diff_ids
from runtime.images.documents import (
    OCI_INDEX,
    OCI_MANIFEST,
    Platform,
    choose_platform,
    parse_index,
    parse_json,
    parse_manifest,
)
from runtime.images.facts import DSSE, SIMPLE, Signature
from runtime.images.registry.challenge import parse_challenges
from runtime.images.registry.signatures import _of_bundle, _payloads
from tests.bad_registry import config_of, descriptor, manifest_of
from tests.signing import layer_of, payload_of, statement_of

SECONDS = float(os.environ.get("SETPOINT_FUZZ_SECONDS", "1.5"))  # for each kind of document
COUNT = int(os.environ.get("SETPOINT_FUZZ_DOCUMENTS", "0"))  # of each kind, however long that takes
WORK_SECONDS = 1.0  # of this process, whatever else the machine does
DIGEST = "sha256:" + "a" * 64
AMD64 = Platform("linux", "amd64")

LAYERS = [b"one", b"two"]
CONFIG = {
    **config_of(*LAYERS), "created": "2026-01-02T03:04:05.123456789Z", "author": "x",
    "history": [{"created_by": "RUN x", "empty_layer": True}, {"created": "2026-01-02T03:04:05Z"}],
    "config": {
        "Env": ["PATH=/bin", "A=B"], "Cmd": ["sh"], "Entrypoint": ["/e"], "WorkingDir": "/w", "User": "1:2",
        "Labels": {"a": "b", "setpoint.x": "y"}, "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9, "Retries": 3},
    },
}  # fmt: skip
ENTRY = {
    **descriptor(OCI_MANIFEST, b"x"), "platform": {"os": "linux", "architecture": "amd64", "variant": "v2"},
    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
}  # fmt: skip
DOCUMENTS: dict[str, Any] = {
    "manifest": manifest_of(json.dumps(CONFIG).encode(), *LAYERS),
    "index": {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [ENTRY, {**ENTRY, "annotations": {}}]},
    "config": CONFIG,
    "payload": json.loads(payload_of(DIGEST, "docker.io/x")),
    "statement": json.loads(statement_of(DIGEST)),
    "bundle": json.loads(layer_of(Signature(DSSE, statement_of(DIGEST), b"s"))[0]),
}


def read_manifest(data: bytes) -> None:
    for media_type in (OCI_MANIFEST, ""):
        found = parse_manifest(data, media_type, "x")
        assert len(found.layers) <= 128


def read_index(data: bytes) -> None:
    for media_type in (OCI_INDEX, ""):
        choose_platform(parse_index(data, media_type, "x"), AMD64, "x")


def read_config(data: bytes) -> None:
    info = parse_config(data, DIGEST)
    assert parse_diff_ids(parse_json(data, "x"), "x") == info.layers
    assert all("=" in each for each in info.environment)
    assert not any(label.startswith("setpoint.") for label in info.labels)
    json.dumps([info.names, info.labels, info.command, info.created_at]).encode()


def read_signed(kind: str) -> Callable[[bytes], None]:
    key = b"-----BEGIN PUBLIC KEY-----\n"  # is not come to: what is signed says nothing of these digests

    def read(data: bytes) -> None:
        assert not is_signed(("sha256:" + "b" * 64,), [Signature(kind, data, b"s")], [key], ("*",))

    return read


def read_bundle(data: bytes) -> None:
    _of_bundle(data)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        list(_payloads(None, value))  # type: ignore[arg-type]  # has no layers of a kind that is fetched


READERS = {
    "manifest": read_manifest, "index": read_index, "config": read_config, "bundle": read_bundle,
    "payload": read_signed(SIMPLE), "statement": read_signed(DSSE),
}  # fmt: skip
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 63, 1 << 200, 1.5, -0.0, 1e308, "", "x", "\0", "\ud800", "\u202e", "a" *
    5000, "../../etc/passwd", "sha256:" + "A" * 64, DIGEST, DIGEST + "\n", [], {}, [[]], [None], {"": None},
    [{}] * 200, ["x"] * 20_000, {str(n): n for n in range(2000)}, "2026-01-01T00:00:00+99:99",
    "9999999-01-01",
)  # fmt: skip
BYTES = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"[" * 3000, b'{"a":' * 3000, b"9" * 6000, b"NaN", b"1e999", b'"',
    b"\\u0000", b"\\ud800", b",", b" " * 4096,
)  # fmt: skip
KEYS = ("layers", "manifests", "config", "mediaType", "\ud800", "", "rootfs")


def tampered(chance: random.Random, document: Any) -> bytes:
    """One to four changes of its values, and at times of its bytes."""
    value = json.loads(json.dumps(document))
    for _ in range(chance.randint(0, 4)):
        value = changed(chance, value)
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        data = torn(chance, data)
    return data


def changed(chance: random.Random, value: Any) -> Any:
    """One place of it: replaced, removed, doubled, or another's."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return copy.deepcopy(chance.choice(NASTY))
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    match chance.randint(0, 5):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[chance.choice(KEYS)] = copy.deepcopy(value[key])
        case 1:
            value.extend(copy.deepcopy(value[key]) for _ in range(chance.choice((1, 150))))
        case _:
            value[key] = changed(chance, value[key])
    return value


def torn(chance: random.Random, data: bytes) -> bytes:
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.randint(0, 3):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + chance.choice(BYTES) + data[at:]
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


@pytest.fixture(autouse=True)
def _has_time() -> Iterator[None]:
    """A long run is no test that hangs."""
    if COUNT or SECONDS > 30:
        signal.alarm(0)
    yield


def times() -> Iterator[int]:
    """0, 1, 2, …: for so long, or so many times."""
    deadline = time.monotonic() + SECONDS
    for number in itertools.count():
        if number >= COUNT if COUNT else time.monotonic() >= deadline:
            return
        yield number


@pytest.mark.parametrize("kind", READERS)
def test_b6_tampered_documents(kind: str) -> None:
    seed = random.randrange(1 << 32)
    chance, refused, slowest = random.Random(seed), 0, 0.0
    for count in times():
        data = tampered(chance, DOCUMENTS[kind])
        begun = time.process_time()
        try:
            READERS[kind](data)
        except SetpointError as error:
            refused += 1
            assert str(error).isprintable() and len(str(error)) < 1000, (seed, count)
        except Exception as error:
            place = f"{kind}, seed {seed}, number {count}"
            raise AssertionError(f"{place}: {error!r}: {data[:2000]!r}") from error
        slowest = max(slowest, time.process_time() - begun)
        assert slowest < WORK_SECONDS, (seed, count)
    print(f"{kind}: {count + 1} documents, {refused} refused, the slowest took {1000 * slowest:.1f} ms")
    assert count > 10


def test_b6_tampered_headers() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    good = b'Bearer realm="https://a.io/token",service="a.io",scope="repository:x:pull", Basic realm="x\\"y"'
    for count in times():
        data = good
        for _ in range(chance.randint(1, 5)):
            data = torn(chance, data)
        begun = time.process_time()
        for challenge in parse_challenges([data.decode("latin-1")] * 3):
            assert challenge.scheme == challenge.scheme.lower()
        assert time.process_time() - begun < WORK_SECONDS, (seed, count)
    print(f"headers: {count + 1}")
    assert count > 10
