"""What hostile YAML does: an error, at once, in little memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from agent.manifest.objects import Revision
from agent.manifest.reader import read
from agent.manifest.yaml_nodes import MAX_FILE_BYTES, BadYaml, read_documents
from tests.bounds import BROKEN_SECONDS


def lol(levels: int, width: int) -> bytes:
    """The billion laughs: each level holds the one before `width` times."""
    lines = ["a0: &a0 [lol]"]
    for level in range(1, levels):
        aliases = ",".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines).encode()


def merging(levels: int, width: int) -> bytes:
    """The same with merge keys: each mapping takes in all of the one before, many times."""
    lines = ["m0: &m0 {" + ",".join(f"k{n}: v" for n in range(1000)) + "}"]
    for level in range(1, levels):
        lines.append(f"m{level}: &m{level} {{<<: [{','.join([f'*m{level - 1}'] * width)}]}}")
    return "\n".join(lines).encode()


BOMBS = {
    "308 bytes": lol(9, 9),
    "deep laughs": lol(60, 2),
    "wide laughs": lol(4, 2000),
    "merges": merging(20, 50),
    "flow lists": b"[" * 500_000,
    "flow mappings": b"{" * 500_000,
    "open pairs": b"[{a: " * 100_000,
    "block lists": b"- " * 300_000,
    "questions": b"? " * 300_000,
    "many values": b"[" + b"a," * 500_000 + b"]",
    "many keys": b"".join(b"k%d: v\n" % n for n in range(100_000)),
    "many documents": b"---\n" * 250_000,
    "one long text": b"x" * 1_000_000,
    "one long quote": b'"' + b"x" * 1_000_000,
    "comments": b"#" * 1_000_000,
    "empty lines": b"\n" * 1_000_000,
    "spaces": b" " * 1_000_000,
    "too large": b"a: b\n" * 300_000,
    "tags": b"- !!python/name:os.system x\n" * 15_000,
    "endless": b"&a [*a, *a, *a]",
    "endless merge": b"a: &a {<<: *a}",
    "long key": b"? " + b"k" * 900_000 + b"\n: v",
    "escapes": b'"' + b"\\x41" * 250_000 + b'"',
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_little(name: str) -> None:
    data = BOMBS[name]
    started = time.process_time()
    manifest = read(Revision("r", "s", {"compose.yaml": data}))
    assert time.process_time() - started < BROKEN_SECONDS
    assert manifest.objects == {}
    assert manifest.errors
    assert manifest.frozen_files == {"compose.yaml"}


@pytest.mark.parametrize(
    "data",
    [b"".join(b"- &a%d x\n" % n for n in range(80_000)), b"- |\n  x\n" * 45_000, b"- a\n" * 95_000],
    ids=["many anchors", "block scalars", "many items"],
)
def test_the_largest_file_that_is_read_at_all(data: bytes) -> None:
    started = time.process_time()
    assert read(Revision("r", "s", {"compose.yaml": data})).errors
    assert time.process_time() - started < BROKEN_SECONDS


def test_errors_are_bounded() -> None:
    text = "services:\n" + "".join(f"  s{n}: {{what: x}}\n" for n in range(2000))
    manifest = read(Revision("r", "s", {"compose.yaml": text.encode()}))
    assert len(manifest.errors) == 201
    assert "over 200 errors" in manifest.errors[0].message


@pytest.mark.parametrize("name", ["308 bytes", "merges", "many values", "flow lists", "endless"])
def test_bombs_take_little_memory(name: str) -> None:
    tracemalloc.start()
    read(Revision("r", "s", {"compose.yaml": BOMBS[name]}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("data", "line", "column", "message"),
    [
        (b"\xff\xfea\x00", 1, 1, "UTF-16"),
        (b"\xfe\xff\x00a", 1, 1, "UTF-16"),
        (b"a: b\nc\0d", 2, 2, "NUL"),
        (b"a: b\n\nc: \xff", 3, 4, "not valid UTF-8"),
        (b"a: b\nc: \x07", 2, 4, "control characters"),
        (b"a" * (MAX_FILE_BYTES + 1), 1, 1, "too large"),
        (b"a: 'x\n", 2, 1, "unexpected end"),
        (b"[a, b", 2, 1, "expected"),
        (b"a: &x 1\nb: &x 2", 2, 4, "duplicate anchor"),
    ],
)
def test_what_cannot_be_read(data: bytes, line: int, column: int, message: str) -> None:
    with pytest.raises(BadYaml) as caught:
        read_documents(data, lambda *problem: None)
    assert message in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_byte_order_mark_is_no_content() -> None:
    manifest = read(Revision("r", "s", {"compose.yaml": b"\xef\xbb\xbfservices: {a: {image: x}}"}))
    assert not manifest.errors
    assert len(manifest.objects) == 2


def test_empty_documents_are_left_out() -> None:
    assert len(read_documents(b"---\n---\na: b\n---\n~\n", lambda *problem: None)) == 1


def test_columns_count_characters() -> None:
    manifest = read(Revision("r", "s", {"compose.yaml": 'services: {"ä": 1, é: {image: x}}'.encode()}))
    assert [(error.where.line, error.where.column) for error in manifest.errors] == [(1, 12), (1, 20)]
