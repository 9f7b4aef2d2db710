"""Where checkpoints lie: names, halves, directories of the caller's, and the seal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.checkpoints import facts, seal, shelf
from runtime.errors import Conflict, Invalid, NotFound, SetpointError

FOUND = facts.Facts("c" * 64, "sha256:x", "f" * 64, 1.5, (("/data", "bind:/data"),), {"stdin": "file[1:2]"})
KEY = b"k" * seal.KEY_BYTES


@pytest.fixture
def ours(tmp_path: Path) -> shelf.Shelf:
    (tmp_path / "bundle").mkdir()
    return shelf.Shelf(str(tmp_path / "bundle"), tmp_path / "checkpoint.key", "web")


def make(ours: shelf.Shelf, name: str, directory: str = "") -> None:
    (Path(ours.begin(name)) / "core-1.img").write_bytes(b"core")
    ours.finish(name, FOUND, directory)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".new-x",
        "a/b",
        "../x",
        "a\0b",
        "a\nb",
        "-a",
        "a b",
        "x" * 129,
        "é",
        "a/",
        "/etc",
        "one\n",
    ],
)
def test_a16_a_name_that_is_no_plain_one_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="Invalid checkpoint ID"):
        shelf.check_name(name)


def test_plain_names_are_taken() -> None:
    assert [shelf.check_name(name) for name in ("a", "A1_b.c-d", "x" * 128)]


@pytest.mark.parametrize("directory", ["relative", "../x", "/a/../b", "/a\0b", "."])
def test_a16_a_directory_that_is_no_absolute_path_is_refused(directory: str) -> None:
    with pytest.raises(Invalid, match="absolute path"):
        shelf.check_directory(directory)
    assert shelf.check_directory("/a/b") == "/a/b" and shelf.check_directory("") == ""


def test_one_is_whole_or_not_there(ours: shelf.Shelf) -> None:
    path = Path(ours.begin("one"))
    (path / "core-1.img").write_bytes(b"core")
    assert ours.names("") == []
    ours.finish("one", FOUND, "")
    assert ours.names("") == ["one"]
    assert ours.read_facts(ours.take("one", ""), "one") == FOUND
    ours.begin("two")
    ours.clear(keep_taken=False)
    assert (ours.names(""), path.parent.stat().st_mode & 0o777) == (["one"], 0o700)
    assert os.listdir(path.parent) == ["one"]
    with pytest.raises(Conflict, match="already exists for container web"):
        ours.refuse_taken("one", "")
    ours.remove("one", "")
    for call in (ours.remove, ours.take):
        with pytest.raises(NotFound, match="checkpoint one does not exist for container web"):
            call("one", "")


def test_a16_from_outside_only_what_was_sealed_is_taken_and_as_a_copy(
    ours: shelf.Shelf, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    make(ours, "one", str(outside))
    assert (ours.names(""), ours.names(str(outside))) == ([], ["one"])
    taken = Path(ours.take("one", str(outside)))
    assert outside not in taken.parents and (taken / "core-1.img").read_bytes() == b"core"
    ours.put_back()
    assert not taken.exists()
    core = outside / "one" / "core-1.img"

    def refused() -> None:
        with pytest.raises(SetpointError):
            ours.take("one", str(outside))
        assert not taken.exists()

    core.write_bytes(b"evil")
    refused()
    core.write_bytes(b"core")
    core.rename(outside / "one" / "core-2.img")
    refused()
    (outside / "one" / "core-2.img").rename(core)
    (outside / "one" / "pages-1.img").write_bytes(b"")
    refused()
    (outside / "one" / "pages-1.img").unlink()
    os.mkfifo(outside / "one" / "pages-1.img")
    refused()
    (outside / "one" / "pages-1.img").unlink()
    (outside / "one" / "pages-1.img").symlink_to("/etc/shadow")
    refused()
    (outside / "one" / "pages-1.img").unlink()
    assert ours.take("one", str(outside))
    another = shelf.Shelf(str(tmp_path / "bundle"), tmp_path / "another.key", "web")
    with pytest.raises(Conflict, match="not as this instance wrote it"):
        another.take("one", str(outside))
    (outside / "one" / seal.NAME).unlink()
    with pytest.raises(NotFound):
        ours.take("one", str(outside))


def test_a16_no_link_is_followed_to_a_directory_of_the_callers(ours: shelf.Shelf, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for directory in (tmp_path / "link", tmp_path / "link/deeper"):
        with pytest.raises(Invalid, match="no link on the way"):
            make(ours, "one", str(directory))
        with pytest.raises(Invalid, match="no link on the way"):
            ours.names(str(directory))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "one").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="is there already"):
        make(ours, "one", str(tmp_path / "real"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_key_is_made_once_and_is_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.key"
    key = seal.read_key(path)
    assert (len(key), seal.read_key(path), path.stat().st_mode & 0o777) == (32, key, 0o600)
    path.write_bytes(b"short")
    assert seal.read_key(path) not in (key, b"short")


def test_names_and_contents_are_not_mixed_up_in_the_seal(tmp_path: Path) -> None:
    seals = set()
    for index, files in enumerate(({"ab": b"c"}, {"a": b"bc"}, {"a": b"", "b": b"c"}, {})):
        source, target = tmp_path / f"s{index}", tmp_path / f"t{index}"
        source.mkdir(), target.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
        fd = os.open(target, os.O_RDONLY)
        seal.copy_out(str(source), fd, KEY)
        os.close(fd)
        seals.add((target / seal.NAME).read_text())
    assert len(seals) == 4
