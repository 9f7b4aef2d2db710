"""C5: a registry that never ends, drips, runs in circles, breaks off, or asks for patience."""

from __future__ import annotations

import json
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from runtime.errors import Temporary
from runtime.images.documents import OCI_INDEX, OCI_MANIFEST
from runtime.images.registry.credentials import Credential
from tests.bad_registry import Answer, BadImage, BadRegistry, Handler, descriptor, document, started
from tests.threats.registries import Store, store_in, waits

__all__ = ["waits"]
# What a pull that ends badly may have cost in memory, over all that this process took before.
GROWTH_BYTES = 48 << 20
DRIP_SECONDS = 0.02
BIG = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path, registry: BadRegistry) -> Store:
    return store_in(tmp_path, registry)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> list[float]:
    """All limits of time at once, shortened."""
    monkeypatch.setattr("runtime.images.registry.transport.IDLE_SECONDS", 0.3)
    monkeypatch.setattr("runtime.images.registry.transport.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("runtime.images.registry.patience.SLOW_SECONDS", 0.2)
    monkeypatch.setattr("runtime.images.registry.transport.DOCUMENT_SECONDS", 0.3)
    return waits


def write(*parts: bytes | Callable[[Handler], None]) -> Answer:
    """Bytes as they are, and what is done between them."""

    def raw(handler: Handler) -> None:
        try:
            for part in parts:
                if isinstance(part, bytes):
                    handler.wfile.write(part)
                    handler.wfile.flush()
                else:
                    part(handler)
        except OSError:
            pass

    return Answer(raw=raw)


def drip(data: bytes) -> Callable[[Handler], None]:
    """A byte a moment, until the other side has enough of it."""

    def one_by_one(handler: Handler) -> None:
        deadline = time.monotonic() + 80  # where the processors are others', a byte may come with a second
        handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < deadline:
            for byte in data:
                handler.wfile.write(bytes((byte,)))
                handler.wfile.flush()
                time.sleep(DRIP_SECONDS)

    return one_by_one


def endless(data: bytes) -> Callable[[Handler], None]:
    def again(handler: Handler) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            handler.wfile.write(data)

    return again


def silence(handler: Handler) -> None:
    """Until the other side goes."""
    handler.connection.settimeout(20)
    handler.connection.recv(1)


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def head(length: int | str, *more: str, media_type: str = OCI_MANIFEST) -> bytes:
    fields = (f"Content-Length: {length}", f"Content-Type: {media_type}", *more)
    return ("HTTP/1.1 200 OK\r\n" + "".join(f"{line}\r\n" for line in fields) + "\r\n").encode()


CHUNKED = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
OPEN_END = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nConnection: close\r\n\r\n".encode()
BAD: dict[str, Answer] = {
    "silence": write(silence),
    "reset at once": write(reset),
    "silence in the head": write(b"HTTP/1.1 200 OK\r\nX: ", silence),
    "a head drips": write(b"HTTP/1.1 200 OK\r\n", drip(b"X: y\r\n")),
    "one header drips": write(b"HTTP/1.1 200 OK\r\nX: ", drip(b"y")),
    "an endless header": write(b"HTTP/1.1 200 OK\r\nX: ", endless(b"y" * 65536)),
    "endless headers": write(b"HTTP/1.1 200 OK\r\n", endless(b"X: y\r\n" * 1000)),
    "endless 100 Continue": write(endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)),
    "endless status": write(endless(b"H" * 65536)),
    "no HTTP": write(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "an empty answer": write(b""),
    "a body drips": write(head(100_000), drip(b" ")),
    "an endless body drips": write(OPEN_END, drip(b" ")),
    "an endless body": write(OPEN_END, endless(b" " * 65536)),
    "silence in the body": write(head(100_000), b" ", silence),
    "a body that breaks off": write(head(100_000), b" " * 10),
    "a body that is reset": write(head(100_000), b" " * 10, reset),
    "chunks that drip": write(CHUNKED, drip(b"1\r\n \r\n")),
    "a chunk size that drips": write(CHUNKED, drip(b"0")),
    "an endless chunk size": write(CHUNKED, endless(b"0" * 65536)),
    "endless trailers": write(CHUNKED, b"0\r\n", endless(b"X: y\r\n" * 1000)),
    "endless chunks": write(CHUNKED, endless(b"10000\r\n" + b" " * 65536 + b"\r\n")),
    "chunks that are none": write(CHUNKED, b"zz\r\nabc\r\n"),
    "a chunk of a negative size": write(CHUNKED, b"-5\r\nabc\r\n"),
    "a chunk of a huge size": write(CHUNKED, b"ffffffffffffffff\r\nabc", silence),
    "a negative length": write(head(-5), b"abc"),
    "a length that is none": write(head("abc"), b"abc"),
    "two lengths": write(head(5, "Content-Length: 7"), b"abcdefg"),
    "a huge length": write(head(1 << 62), endless(b" " * 65536)),
}


def grown(before: int) -> int:
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_c5_an_answer_that_costs_nothing_but_a_moment(
    name: str, part: str, registry: BadRegistry, store: Store, quick: list[float]
) -> None:
    image = registry.put_image()
    registry.answer(getattr(image, f"{part}_path"), BAD[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.refuses(image.name, registry)
    assert grown(before) < GROWTH_BYTES


@pytest.mark.parametrize("name", ["chunks that drip", "a chunk size that drips"])
def test_c5_a_layer_that_drips_is_given_up_for_that(
    name: str, registry: BadRegistry, store: Store, quick: list[float]
) -> None:
    """And not at its end, for what it was: that may be years away."""
    image = registry.put_image()
    registry.answer(image.layer_path, BAD[name])
    assert "less than 64 KiB a minute" in store.refuses(image.name, registry).reason


@pytest.mark.parametrize("name", ["a body drips", "an endless body", "a head drips", "silence in the body"])
@pytest.mark.parametrize("status", [401, 500])
def test_c5_nor_does_an_error(
    name: str, status: int, registry: BadRegistry, store: Store, quick: list[float]
) -> None:
    image = registry.put_image()
    raw = BAD[name].raw
    assert raw is not None

    def other_status(handler: Handler) -> None:
        write_raw = handler.wfile.write

        def write(data: bytes) -> int:
            return write_raw(data.replace(b"200 OK", b"%d No" % status))

        handler.wfile.write = write  # type: ignore[method-assign]
        raw(handler)

    registry.answer(image.manifest_path, Answer(raw=other_status))
    store.refuses(image.name, registry)


@pytest.mark.parametrize("name", ["a body drips", "an endless body drips", "an endless body", "silence"])
def test_c5_nor_does_a_token_server(
    name: str, registry: BadRegistry, store: Store, quick: list[float]
) -> None:
    image = registry.put_image()
    challenge = f'Bearer realm="http://{registry.host}/token"'
    registry.answer(image.manifest_path, Answer(401, {"WWW-Authenticate": challenge}))
    registry.answer("/token", BAD[name])
    store.refuses(image.name, registry, Credential("me", "x"))


def test_c5_a_head_has_an_end_of_its_own(
    registry: BadRegistry, store: Store, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast its bytes come."""
    for limit in ("HEAD_SECONDS", "IDLE_SECONDS"):  # it has the longer of them
        monkeypatch.setattr(f"runtime.images.registry.transport.{limit}", 0.3)
    image = registry.put_image()
    registry.answer(image.manifest_path, BAD["one header drips"])
    assert "takes too long" in store.refuses(image.name, registry).reason


def test_c5_one_that_goes_in_circles(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image()
    registry.answer(image.manifest_path, Answer(302, {"Location": image.manifest_path}))
    assert "more than 5 times" in store.refuses(image.name, registry).reason
    assert len(registry.seen) == 6


def test_c5_a_hundred_thousand_entries_in_an_index(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image()
    entry = descriptor(OCI_MANIFEST, image.manifest)
    value = {"schemaVersion": 2, "manifests": [entry] * 100_000}
    registry.answer(image.manifest_path, document(json.dumps(value).encode(), OCI_INDEX))
    assert "longer than" in store.refuses(image.name, registry).reason
    many = json.dumps(
        {"schemaVersion": 2, "manifests": [{**entry, "platform": {"os": "x"}}] * 10_000}
    ).encode()
    registry.answer(image.manifest_path, document(many, OCI_INDEX))
    store.refuses(image.name, registry)


def test_c5_a_layer_that_comes_in_crumbs_over_a_connection_each(
    registry: BadRegistry, store: Store, quick: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try gets on, and there would be as many as there are bytes."""
    image = registry.put_image(content=BIG)

    def crumb(handler: Handler) -> None:
        offset = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        size = len(image.layer)
        first = f"HTTP/1.1 206 OK\r\nContent-Range: bytes {offset}-{size - 1}/{size}\r\n"
        handler.wfile.write(f"{first}Content-Length: {size - offset}\r\n\r\n".encode())
        handler.wfile.write(image.layer[offset : offset + 10])

    registry.answer(image.layer_path, Answer(raw=crumb))
    store.refuses(image.name, registry)
    assert registry.paths().count(image.layer_path) <= 5


# --- what gets over it ------------------------------------------------------------------------


def broken(image: BadImage, at: int) -> Callable[[Handler], None]:
    def raw(handler: Handler) -> None:
        handler.wfile.write(head(len(image.layer)) + image.layer[:at])

    return raw


def ranged(image: BadImage) -> Callable[[Handler], None]:
    def raw(handler: Handler) -> None:
        offset, size = int(handler.headers["Range"][6:-1]), len(image.layer)
        handler.wfile.write(
            f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {offset}-{size - 1}/{size}\r\n"
            f"Content-Length: {size - offset}\r\n\r\n".encode()
            + image.layer[offset:]
        )

    return raw


def test_c5_a_layer_that_breaks_off_goes_on_where_it_was(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image(content=BIG)
    registry.answer(image.layer_path, Answer(raw=broken(image, 1_000_000)), Answer(raw=ranged(image)))
    store.pull(image.name, registry)
    asked = [each for each in registry.seen if each.path == image.layer_path]
    assert [each.headers.get("Range") for each in asked] == [None, "bytes=1000000-"]


def test_c5_a_registry_without_ranges_begins_anew(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image(content=BIG)
    registry.answer(image.layer_path, Answer(raw=broken(image, 1_000_000)), Answer(body=image.layer))
    store.pull(image.name, registry)
    assert registry.paths().count(image.layer_path) == 2


@pytest.mark.parametrize("said", ["bytes 0-9/10", "", "bytes */10", "x"])
def test_c5_a_range_that_is_another_is_not_taken(said: str, registry: BadRegistry, store: Store) -> None:
    image = registry.put_image(content=BIG)
    registry.answer(
        image.layer_path,
        Answer(raw=broken(image, 1_000_000)), Answer(206, {"Content-Range": said}, image.layer[1_000_000:]),
    )  # fmt: skip
    assert "asked for byte 1000000 on" in store.refuses(image.name, registry).reason


def test_c5_a_range_of_other_bytes_is_found_out(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image(content=BIG)
    other = BadImage(
        **{name: getattr(image, name) for name in image.__slots__} | {"layer": image.layer[::-1]}
    )
    registry.answer(image.layer_path, Answer(raw=broken(image, 1_000_000)), Answer(raw=ranged(other)))
    assert "its content has the digest" in store.refuses(image.name, registry).reason


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_c5_asked_again_after_a_while(
    status: int, part: str, registry: BadRegistry, store: Store, waits: list[float]
) -> None:
    image = registry.put_image()
    good = document(image.manifest) if part == "manifest" else Answer(body=getattr(image, part))
    registry.answer(
        getattr(image, f"{part}_path"), Answer(status), Answer(status, {"Retry-After": "7"}), good
    )
    store.pull(image.name, registry)
    assert waits == [1.0, 7.0]


def test_c5_until_a_date(registry: BadRegistry, store: Store, waits: list[float]) -> None:
    image = registry.put_image()
    later = formatdate(time.time() + 30, usegmt=True)
    registry.answer(image.manifest_path, Answer(429, {"Retry-After": later}), document(image.manifest))
    store.pull(image.name, registry)
    assert len(waits) == 1 and 20 < waits[0] <= 30


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3600", 3600),
        ("999999999999", 60),
        ("-1", 60),
        ("soon", 60),
        ("٣", 60),
        ("1e9", 60),
        ("86400000", 86400),
    ],
)
def test_c5_nobody_waits_for_hours(
    said: str, seconds: float, registry: BadRegistry, store: Store, waits: list[float]
) -> None:
    """The pull ends, and says when it may be worth another try."""
    image = registry.put_image()
    said = said.encode().decode("latin-1")
    registry.answer(image.manifest_path, Answer(429, {"Retry-After": said}))
    error = store.refuses(image.name, registry)
    assert isinstance(error, Temporary) and error.retry_after_seconds == seconds
    assert all(wait <= 60 for wait in waits) and "asked too often" in error.reason


def test_c5_when_to_try_again_is_told_by_the_worker_too(
    registry: BadRegistry, store: Store, tmp_path: Path
) -> None:
    from runtime.images.registry.endpoints import Endpoint
    from runtime.images.registry.origin import Origin
    from runtime.images.worker import IsolatedImages
    from runtime.layout import Layout

    image = registry.put_image()
    registry.answer(image.manifest_path, Answer(429, {"Retry-After": "3600"}))
    images = IsolatedImages(Layout("tbad", tmp_path / "data", tmp_path / "run"))
    with pytest.raises(Temporary) as caught:
        images.pull(image.name, [Origin(Endpoint(registry.host, is_insecure=True))])
    assert caught.value.retry_after_seconds == 3600
    assert threading.active_count() < 50
