"""What goes out of images and containers by the command line: files that are whole or absent."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent.cli.layout import write_layout
from runtime.errors import Conflict, Invalid
from runtime.images.content import digest_of

from .conftest import FakeAgent, Run

BLOB = b"a blob"
NAME = "blobs/sha256/" + digest_of(BLOB)[7:]


def frames(*pieces: bytes, error: dict[str, Any] | None = None, is_whole: bool = True) -> bytes:
    """As the agent sends an archive."""
    sent = b"".join(struct.pack("!BxxxI", 1, len(piece)) + piece for piece in pieces)
    if error is not None:
        told = json.dumps(error).encode()
        return sent + struct.pack("!BxxxI", 5, len(told)) + told
    return sent + (struct.pack("!BxxxI", 1, 0) if is_whole else b"")


def archive(**members: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_an_archive_is_there_when_it_is_whole(agent: FakeAgent, run: Run, tmp_path: Path) -> None:
    agent.routes["GET /export/shop/web"] = frames(b"one", b"two")
    assert run("export", "shop/web", "-o", str(tmp_path / "x.tar")) == (0, "", "")
    assert (tmp_path / "x.tar").read_bytes() == b"onetwo"
    assert agent.asked[0][1] == "/export/shop/web"
    run("export", "shop/web", "--replica", "2", "-o", str(tmp_path / "y.tar"))
    assert agent.asked[1][1] == "/export/shop/web?replica=2"


@pytest.mark.parametrize("sent", [
    frames(b"half", error={"kind": "Invalid", "op": "export", "subject": "x", "reason": "why", "hint": ""}),
    frames(b"half", is_whole=False),
])  # fmt: skip
def test_half_of_an_archive_is_none(agent: FakeAgent, run: Run, tmp_path: Path, sent: bytes) -> None:
    (tmp_path / "x.tar").write_text("as it was")
    agent.routes["GET /image/save"] = sent
    code, _, err = run("image", "save", "busybox", "-o", str(tmp_path / "x.tar"))
    assert code == 1
    assert "why" in err or "before the archive was whole" in err
    assert (tmp_path / "x.tar").read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ""] == ["x.tar"]


def test_save_says_what_it_wants(agent: FakeAgent, run: Run, tmp_path: Path) -> None:
    agent.routes["GET /image/save"] = frames(b"x")
    run("image", "save", "a:1", "b:2", "-o", str(tmp_path / "x"), "--format", "oci-archive")
    assert agent.asked[0][1] == "/image/save?names=%5B%22a%3A1%22%2C%20%22b%3A2%22%5D&form=oci-archive"
    assert "oci-archive" in run("image", "save", "a:1", "-o", str(tmp_path / "x"), "--format", "zip")[2]
    assert "is a directory" in run("image", "save", "a:1", "-o", str(tmp_path))[2]
    assert "cannot go to stdout" in run("image", "save", "a:1", "-o", "-", "--format", "oci-layout")[2]


def test_diff(agent: FakeAgent, run: Run) -> None:
    agent.routes["GET /diff/shop/web"] = [{"kind": "A", "path": "/new\x1b[2J"}, {"kind": "D", "path": "/old"}]
    code, out, _ = run("diff", "shop/web")
    assert code == 0
    assert out.splitlines()[1] == "D /old"
    assert "\x1b" not in out
    assert json.loads(run("diff", "shop/web", "--json")[1])[1] == {"kind": "D", "path": "/old"}


def test_commit(agent: FakeAgent, run: Run) -> None:
    agent.routes["POST /commit/shop/web"] = (
        b'{"step":"write"}\n{"images":[{"id":"sha256:1","names":["a:1"]}]}'
    )
    words = ["--change", "CMD sh", "-c", "ENV A=1", "-m", "why", "-a", "who", "--no-pause", "--force"]
    assert run("commit", "shop/web", "a:1", *words) == (0, "committed a:1\n", "")
    assert agent.asked[0][2] == {
        "name": "a:1", "changes": ["CMD sh", "ENV A=1"], "message": "why", "author": "who", "pause": False,
        "force": True,
    }  # fmt: skip


def test_load_and_import_say_who_may_move_names(agent: FakeAgent, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.tar").touch()
    done = b'{"images":[]}'
    agent.routes |= {"POST /image/load": done, "POST /image/import": done}
    run("image", "load", str(tmp_path / "x.tar"))
    run("image", "load", "--force", str(tmp_path / "x.tar"))
    run("image", "import", "--force", str(tmp_path / "x.tar"), "a:1", "--change", "CMD sh")
    assert ["force=1" in path for _, path, _ in agent.asked] == [False, True, True]
    assert "changes=%5B%22CMD%20sh%22%5D" in agent.asked[2][1]


def test_a_layout_is_written_from_an_archive(tmp_path: Path) -> None:
    data = archive(**{"index.json": b"{}", "oci-layout": b"{}", NAME: BLOB})
    pieces = (data[at : at + 700] for at in range(0, len(data), 700))
    write_layout(tmp_path / "out", pieces)
    assert (tmp_path / "out" / NAME).read_bytes() == BLOB
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")} == {
        "index.json", "oci-layout", "blobs", "blobs/sha256", NAME,
    }  # fmt: skip
    with pytest.raises(Conflict, match="not empty"):
        write_layout(tmp_path / "out", iter([data]))


@pytest.mark.parametrize(
    "name", ["../out2", "blobs/sha256/../../x", "/etc/x", "blobs/sha256/short", "manifest"]
)
def test_names_that_no_layout_has_are_not_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="no name of an image layout"):
        write_layout(tmp_path / "out", iter([archive(**{NAME: BLOB, name: b"x"})]))
    assert list(tmp_path.iterdir()) == []


def test_a_layout_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def pieces():  # type: ignore[no-untyped-def]
        yield archive(**{NAME: BLOB, "index.json": b"{}"})[:600]
        raise Invalid("save image", "x", "damaged")

    with pytest.raises((Invalid, tarfile.TarError)):
        write_layout(tmp_path / "out", pieces())
    assert list(tmp_path.iterdir()) == []
