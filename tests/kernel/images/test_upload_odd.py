"""Registries that answer an upload oddly, and a blob that is not what it was."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, Temporary
from runtime.images.content import digest_of
from runtime.images.registry import upload
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.repository import Repository
from runtime.images.registry.upload import Blob, Way, _end_of, upload_blob
from tests import breaking_proxy
from tests.bad_registry import Answer, BadRegistry, started
from tests.breaking_proxy import Keeping

DATA = bytes(range(256)) * 1000
UPLOADS = "/v2/lab/app/blobs/uploads/"


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    with breaking_proxy.keeping() as registry:
        yield registry


@pytest.fixture
def fake() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("repository", "upload"):
        monkeypatch.setattr(f"runtime.images.registry.{module}.time.sleep", lambda seconds: None)
    monkeypatch.setattr(upload, "CHUNK_BYTES", 100_000)


def send(host: str, data: bytes = DATA, size: int | None = None, told: list[int] | None = None) -> Way:
    repository = Repository(Endpoint(host, is_insecure=True), "lab/app")
    blob = Blob(digest_of(data), len(data) if size is None else size, lambda: io.BytesIO(data))
    try:
        return upload_blob(repository, blob, (told if told is not None else []).append, lambda: False)
    finally:
        repository.close()


def test_what_is_told_adds_up(keeping: Keeping) -> None:
    told: list[int] = []
    keeping.break_after = [50_000, 120_000]
    assert send(keeping.host, told=told) is Way.SENT
    assert sum(told) == len(DATA)


def test_nothing_at_all_is_a_blob_too(keeping: Keeping) -> None:
    assert send(keeping.host, b"") is Way.SENT
    assert keeping.blobs == {digest_of(b""): b""}


@pytest.mark.parametrize("least", [1, 100_000, 200_000, 10**9, 10**12])
def test_whatever_size_of_parts_it_wants(least: int, keeping: Keeping) -> None:
    keeping.least_chunk = least
    assert send(keeping.host) is Way.SENT
    assert all(each.received >= min(least, 100_000) for each in keeping.of("PATCH"))


def test_a_file_that_got_shorter(keeping: Keeping) -> None:
    with pytest.raises(Invalid, match="shorter than it was"):
        send(keeping.host, DATA, len(DATA) + 5)
    assert not keeping.blobs


@pytest.mark.parametrize(
    "answer",
    [
        Answer(202, {"Location": "/up", "Range": "0-10"}),
        Answer(202, {"Location": "/up", "Range": "nonsense"}),
        Answer(400, body=b'{"errors":[{"message":"digest \x1b[31m"}]}'),
        Answer(404), Answer(416), Answer(501),
    ],
)  # fmt: skip
def test_one_that_never_takes_it_is_given_up(answer: Answer, fake: BadRegistry) -> None:
    fake.answer(UPLOADS, Answer(202, {"Location": "/up"}))
    fake.answer("/up", answer)
    with pytest.raises((Temporary, Invalid)) as caught:
        send(fake.host)
    assert str(caught.value).isprintable() and len(fake.seen) < 40


def test_without_a_place_for_it(fake: BadRegistry) -> None:
    fake.answer(UPLOADS, Answer(202))
    with pytest.raises(Invalid, match="to nowhere"):
        send(fake.host)


def test_a_blob_of_another_length_is_not_there(fake: BadRegistry) -> None:
    fake.answer(f"/v2/lab/app/blobs/{digest_of(DATA)}", Answer(200, {"Content-Length": "5"}))
    fake.answer(UPLOADS, Answer(403))
    with pytest.raises(Invalid):
        send(fake.host)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("0-0", 0), ("0-9", 10), ("bytes=0-9", 10), ("", 0), ("1-9", 0), ("0--9", 0), ("0-" + "9" * 30, 0)],
)
def test_how_far_it_came(said: str, expected: int) -> None:
    assert _end_of(said) == expected


def test_from_a_file(keeping: Keeping, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    repository = Repository(Endpoint(keeping.host, is_insecure=True), "lab/app")
    blob = Blob(digest_of(DATA), len(DATA), lambda: path.open("rb", buffering=0))
    assert upload_blob(repository, blob, lambda size: None, lambda: False) is Way.SENT
    repository.close()
    assert keeping.blobs[digest_of(DATA)] == DATA
