"""Archives through the API: their frames, what comes of an error in the middle, and who is asked what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.client import Client
from runtime.errors import Conflict, Invalid, NotFound
from runtime.images.container_commit import Commit
from runtime.model import ImageInfo

from .agents import Agent


class Files:
    """As `runtime.container_files`, of containers whose content is a few words."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.asked: list[tuple[Any, ...]] = []
        self.breaks = False
        self.is_closed = False

    async def export(self, id: str) -> AsyncIterator[bytes]:
        self.asked.append(("export", id))
        try:
            yield b"first"
            await asyncio.sleep(0)
            if self.breaks:
                raise NotFound("export", id, "it was deleted meanwhile")
            yield b"x" * 300_000
        finally:
            self.is_closed = True

    async def changes(self, id: str) -> list[tuple[str, str]]:
        self.asked.append(("diff", id))
        return [("A", "/\udcff"), ("C", "/etc")]

    async def commit(self, id: str, wanted: Commit, *, pauses: bool, report: Any) -> ImageInfo:
        self.asked.append(("commit", id, wanted, pauses))
        image: ImageInfo = next(iter(self.agent.engine.images.values()))
        return replace(image, names=(wanted.name,))


class Saved:
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    def chunks(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if piece == b"damaged":
                raise Invalid("save image", "sha256:1", "damaged")
            yield piece


@pytest.fixture
def files(agent: Agent) -> Files:
    agent.engine.files = Files(agent)  # type: ignore[attr-defined]
    return agent.engine.files  # type: ignore[attr-defined,no-any-return]


def container(client: Client, key: str, replica: int = 1) -> str:
    return str(client.describe(key)["containers"][replica - 1]["id"])


def test_an_export_is_of_one_container(client: Client, files: Files) -> None:
    assert b"".join(client.export("shop/db")) == b"first" + b"x" * 300_000
    assert files.asked == [("export", container(client, "shop/container/db"))]
    with pytest.raises(Conflict, match="2 replicas"):
        list(client.export("shop/web"))
    list(client.export("shop/web", 2))
    assert files.asked[-1] == ("export", container(client, "shop/container/web", 2))
    with pytest.raises(NotFound):
        list(client.export("shop/none"))
    with pytest.raises(NotFound, match="no container"):
        list(client.export("shop/volume/data"))


def test_an_error_in_the_middle_is_told(client: Client, files: Files) -> None:
    files.breaks = True
    received = []
    with pytest.raises(NotFound, match="deleted meanwhile"):
        for piece in client.export("shop/db"):
            received.append(piece)
    assert received == [b"first"]
    assert files.is_closed


def test_diff(client: Client, files: Files) -> None:
    assert client.diff("shop/db") == [{"kind": "A", "path": "/\udcff"}, {"kind": "C", "path": "/etc"}]


def test_commit(client: Client, files: Files) -> None:
    body = {
        "name": "a:1",
        "changes": ["CMD sh"],
        "message": "m",
        "author": "a",
        "pause": False,
        "force": True,
    }
    assert list(client.commit("shop/db", body))[-1]["images"][0]["names"] == ["a:1"]
    assert files.asked[-1][2:] == (
        Commit("", "", "", "a:1", ("CMD sh",), "m", "a", 0.0, moves_name=True), False,
    )  # fmt: skip
    list(client.commit("shop/db", {"name": "a:1"}))
    assert files.asked[-1][2:] == (Commit("", "", "", "a:1"), True)


@pytest.mark.parametrize("body", [
    {}, {"name": ""}, {"name": 7}, {"name": "a:1", "changes": "CMD sh"}, {"name": "a:1", "changes": [7]},
    {"name": "a:1", "message": "x" * 20_000}, {"name": "a:1", "author": ["me"]},
])  # fmt: skip
def test_a_commit_that_says_nothing_sensible(client: Client, files: Files, body: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        list(client.commit("shop/db", body))
    assert files.asked == []


def test_save(agent: Agent, client: Client) -> None:
    asked = []

    def save(names: Sequence[str], form: str) -> Saved:
        asked.append((list(names), form))
        return Saved([b"one", b"damaged"] if "bad" in names else [b"one", b"two"])

    agent.engine.images.save = save  # type: ignore[attr-defined]
    assert b"".join(client.save_images(["a", "b"], "docker-archive")) == b"onetwo"
    assert asked == [(["a", "b"], "docker-archive")]
    with pytest.raises(Invalid, match="damaged"):
        list(client.save_images(["bad"], "oci-archive"))
    with pytest.raises(Invalid, match="is none of"):
        list(client.save_images(["a"], "zip"))
    for names in ("", "7", "[]", "[7]", "{}", '["a"' + ', "a"' * 1000 + "]"):
        with pytest.raises(Invalid, match="JSON list"):
            list(client.frames("/image/save", {"names": names}))
