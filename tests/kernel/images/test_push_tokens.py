"""A push to a registry that takes tokens alone: which it asks for, and that it asks again when one is old."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.images.images import Images
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.layout import Layout
from tests import token_server
from tests.registry import Registry, make_image, started
from tests.token_server import TokenServer

LOGIN, IDENTITY = ("me", "s3cret-canary"), "identity-canary"


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    with token_server.served(tmp_path / "tokens", login=LOGIN, identity=IDENTITY) as server:
        yield server


@pytest.fixture
def registry(tmp_path: Path, tokens: TokenServer) -> Iterator[Registry]:
    with started(tmp_path / "registry", auth=tokens.auth) as registry:
        yield registry


@pytest.fixture
def images(layout: Layout, tmp_path: Path) -> Images:
    images = Images(layout)
    images.load(make_image(tmp_path / "app", [{"etc/one": b"1" * 100_000}, {"etc/two": b"2"}]))
    return images


def named(images: Images, registry: Registry, path: str) -> str:
    images.tag(images.list()[0].id, f"{registry.host}/{path}")
    return f"{registry.host}/{path}"


def origin_of(registry: Registry, credential: Credential | None) -> Origin:
    return Origin(Endpoint(registry.host, is_insecure=True), credential)


def scopes(tokens: TokenServer) -> list[str]:
    return [asked.form.get("scope", "") for asked in tokens.asked]


@pytest.mark.parametrize("credential", [Credential(*LOGIN), Credential(identity_token=IDENTITY)])
def test_it_asks_to_write_there_and_to_read_the_neighbour(
    credential: Credential, registry: Registry, tokens: TokenServer, images: Images
) -> None:
    origin = origin_of(registry, credential)
    assert images.push(named(images, registry, "lab/base:1"), origin).sent == 3
    assert scopes(tokens) == ["repository:lab/base:pull,push"], "one token for all that is sent"
    pushed = images.push(named(images, registry, "lab/app:1"), origin)
    assert (pushed.sent, pushed.mounted) == (1, 2)
    assert set(scopes(tokens)[1:]) == {
        "repository:lab/app:pull,push", "repository:lab/app:pull,push repository:lab/base:pull",
    }  # fmt: skip


def test_a_neighbour_that_it_may_not_read_is_no_obstacle(
    registry: Registry, tokens: TokenServer, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = origin_of(registry, Credential(*LOGIN))
    images.push(named(images, registry, "private/base:1"), origin)
    given = tokens.token
    monkeypatch.setattr(
        TokenServer,
        "token",
        lambda self, scopes: given(" ".join(s for s in scopes.split() if "private" not in s)),
    )
    pushed = images.push(named(images, registry, "lab/app:1"), origin)
    assert (pushed.sent, pushed.mounted) == (3, 0)


def test_an_old_token_is_no_end(registry: Registry, tokens: TokenServer, images: Images) -> None:
    """Each token has run out before it comes: the registry allows a minute (distribution, token.go)."""
    origin = origin_of(registry, Credential(*LOGIN))
    name = named(images, registry, "lab/old:1")
    images.push(name, origin)
    tokens.seconds = -3600
    with pytest.raises(Invalid, match="does not let us in"):
        images.push(name, origin)


def test_nobody_is_told_what_to_do(registry: Registry, images: Images) -> None:
    with pytest.raises(Invalid, match=r"setpoint login") as caught:
        images.push(named(images, registry, "lab/app:1"), origin_of(registry, None))
    assert str(caught.value).startswith("push image")
