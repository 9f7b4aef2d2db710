"""What is remembered of images: when they were first seen, and the signatures that came with them."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from runtime.errors import Temporary
from runtime.images import evidence
from runtime.images.evidence import Evidence
from runtime.images.facts import (
    SIMPLE,
    ImageFacts,
    Signature,
    facts_from_json,
    facts_to_json,
    signature_from_json,
)
from runtime.images.gate import Gate

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ONE, TWO = Signature(SIMPLE, b"\x00\xff", b"1"), Signature("dsse", b"{}", b"2")


def file_of(root: Path, digest: str) -> Path:
    return root / "seen" / f"{digest[7:]}.json"


def test_it_is_seen_once_and_remembered(tmp_path: Path) -> None:
    before = time.time()
    first = Evidence(tmp_path).complete(ImageFacts("x", (A, B), signatures=(TWO, ONE, ONE)))
    assert before <= first.first_seen_at <= time.time() and set(first.signatures) == {ONE, TWO}
    for digest in (A, B):
        again = Evidence(tmp_path).read(ImageFacts("y", (digest,)))
        assert (again.first_seen_at, again.signatures) == (first.first_seen_at, first.signatures)
        assert (
            file_of(tmp_path, digest).stat().st_mode & 0o077 == 0
            or (tmp_path / "seen").stat().st_mode & 0o077 == 0
        )


def test_what_is_known_is_not_pushed_out(tmp_path: Path) -> None:
    known = Evidence(tmp_path)
    known.complete(ImageFacts("x", (A,), signatures=(ONE,)))
    many = tuple(Signature(SIMPLE, b"", str(n).encode()) for n in range(100))
    after = known.complete(ImageFacts("x", (A,), signatures=many)).signatures
    assert after[0] == ONE and len(after) == evidence.MAX_SIGNATURES


def test_the_same_again_writes_nothing(tmp_path: Path) -> None:
    known = Evidence(tmp_path)
    known.complete(ImageFacts("x", (A,), signatures=(ONE,)))
    before = file_of(tmp_path, A).stat()
    known.complete(ImageFacts("x", (A,)))
    known.read(ImageFacts("x", (A,), signatures=(TWO,)))
    after = file_of(tmp_path, A).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_manifest_that_is_here_is_as_old_as_its_file(tmp_path: Path) -> None:
    blob = tmp_path / "blobs/sha256" / A[7:]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"")
    os.utime(blob, (1000.0, 1000.0))
    assert Evidence(tmp_path).read(ImageFacts("x", (A, B))).first_seen_at == 1000.0


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"first_seen_at": "x", "signatures": []}', '{"first_seen_at": 1}', "[" * 100_000,
     '{"first_seen_at": 1, "signatures": [{"kind": "simple", "payload": "?", "signature": ""}]}',
     '{"first_seen_at": 1, "signatures": [7]}'],
)  # fmt: skip
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    known = Evidence(tmp_path)
    known.complete(ImageFacts("x", (A,)))
    file_of(tmp_path, A).write_text(text)
    assert known.read(ImageFacts("x", (A,))).first_seen_at > time.time() - 100
    known.complete(ImageFacts("x", (A,)))
    assert json.loads(file_of(tmp_path, A).read_text())["first_seen_at"] > time.time() - 100


def test_of_those_that_are_not_here_only_the_newest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_RECORDS", 3)
    known, digests = Evidence(tmp_path), ["sha256:" + f"{n:064x}" for n in range(6)]
    here = tmp_path / "blobs/sha256" / digests[0][7:]
    here.parent.mkdir(parents=True)
    here.write_bytes(b"")
    for n, digest in enumerate(digests):
        known.complete(ImageFacts("x", (digest,)))
        os.utime(file_of(tmp_path, digest), (n + 1, n + 1))
    left = {f"sha256:{path.stem}" for path in (tmp_path / "seen").glob("*.json")}
    assert left == {digests[0], digests[4], digests[5]}


def test_what_a_cut_write_left(tmp_path: Path) -> None:
    known = Evidence(tmp_path)
    known.complete(ImageFacts("x", (A,)))
    old, new = tmp_path / "seen/.a.json.1.part", tmp_path / "seen/.b.json.1.part"
    for part in (old, new):
        part.write_bytes(b"{")
    os.utime(old, (1000.0, 1000.0))
    assert known.litter() == [old]


def test_facts_come_back_as_they_went() -> None:
    facts = ImageFacts("docker.io/library/x:1", (A, B), "amd64", (ONE, TWO), 7.5, is_exact=True)
    assert facts_from_json(json.loads(json.dumps(facts_to_json(facts)))) == facts
    with pytest.raises(ValueError, match="no signature"):
        signature_from_json({"kind": "simple"})


class _Yes:
    def has_image_rules(self) -> bool:
        return True

    def wants_signatures(self, name: str) -> bool:
        return True

    def check_image(self, op: str, name: str) -> None:
        return None

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        return None


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, Temporary), (errno.EROFS, Temporary), (errno.EINVAL, OSError)]
)
def test_what_cannot_be_kept_lets_nothing_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def fails(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(evidence, "replace_file", fails)
    with pytest.raises(kind):
        Gate(tmp_path, _Yes()).admit_image("pull image", ImageFacts("x", (A,)))
