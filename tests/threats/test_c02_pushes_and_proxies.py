"""C2, F7: who hears of a password, and gets an image's bytes, when something is brought to a registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, SetpointError
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from tests import forward_proxy
from tests.bad_registry import Answer, BadRegistry, started
from tests.threats.registries import Store, store_in

ME = Credential("me", "s3cret-canary")
BASIC = "Basic " + base64.b64encode(b"me:s3cret-canary").decode()
BASIC_ASKED = Answer(401, {"WWW-Authenticate": 'Basic realm="lab"'})
UPLOADS = "/v2/lab/mine/blobs/uploads/"


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def other() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path, registry: BadRegistry) -> Store:
    return store_in(tmp_path, registry)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    for module in ("repository", "upload"):
        monkeypatch.setattr(f"runtime.images.registry.{module}.time.sleep", found.append)
    return found


def push(store: Store, registry: BadRegistry, credential: Credential | None = ME) -> None:
    name = f"{registry.host}/lab/mine:1"
    store.images.tag(store.images.list()[0].id, name)
    store.images.push(name, Origin(Endpoint(registry.host, is_insecure=True), credential))


def heard(registry: BadRegistry) -> set[str]:
    return {asked.authorization for asked in registry.seen}


@pytest.mark.parametrize("how", ["location", "redirect"])
def test_c2_a_password_does_not_go_along_with_the_bytes(
    how: str, registry: BadRegistry, other: BadRegistry, store: Store
) -> None:
    """An upload may be wanted elsewhere, at a store with a signed address: who we are is not."""
    target = {"Location": f"http://{other.host}/store?signed=1"}
    good = Answer(202 if how == "location" else 307, target)
    registry.answer(UPLOADS, BASIC_ASKED, good)
    other.answer("/store", Answer(202, {"Location": "/store"}) if how == "redirect" else Answer(201))
    with pytest.raises(SetpointError):
        push(store, registry)
    assert other.seen and heard(other) == {""}
    assert BASIC in heard(registry)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest", "http://[fe80::1]/x", "file:///etc/passwd", "http://user:p@127.0.0.1/x",
        "", "http://0.0.0.0/x", "ftp://127.0.0.1/x",
    ],
)  # fmt: skip
def test_c2_where_no_byte_is_sent(location: str, registry: BadRegistry, store: Store) -> None:
    registry.answer(UPLOADS, Answer(202, {"Location": location}))
    with pytest.raises(SetpointError) as caught:
        push(store, registry)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    assert not any(asked.method in ("PUT", "PATCH") for asked in registry.seen)


def test_c2_no_mount_is_a_reason_to_stop_or_to_tell_more(registry: BadRegistry, store: Store) -> None:
    """A neighbour of another host is no neighbour; one of the same host is asked for by its path alone."""
    store.images.tag(store.images.list()[0].id, "elsewhere.example.com/private/base:1")
    registry.answer(UPLOADS, Answer(403))
    with pytest.raises(Invalid):
        push(store, registry)
    asked = [asked.path for asked in registry.seen if asked.method == "POST"]
    assert any("from=lab%2Fkept" in path for path in asked)
    assert not any("private" in path or "elsewhere" in path for path in asked)


def test_c2_a_registry_that_lies_about_what_it_took_is_not_believed(
    registry: BadRegistry, store: Store
) -> None:
    registry.answer(UPLOADS, Answer(202, {"Location": "/up"}))
    registry.answer("/up", Answer(201, {"Docker-Content-Digest": "sha256:" + "0" * 64}))
    with pytest.raises(Invalid, match="not to be trusted"):
        push(store, registry)


def test_c2_the_token_for_a_push_is_asked_for_that_repository_alone(
    registry: BadRegistry, store: Store
) -> None:
    token = json.dumps({"token": "bearer-canary"}).encode()
    registry.answer("/token", Answer(body=token))
    challenge = f'Bearer realm="http://{registry.host}/token",service="lab"'
    registry.answer("", Answer(401, {"WWW-Authenticate": challenge}))
    with pytest.raises(Invalid) as caught:
        push(store, registry)
    scopes = [asked.path for asked in registry.seen if asked.path.startswith("/token")]
    assert scopes and all("scope=repository%3Alab%2Fmine%3Apull%2Cpush" in each for each in scopes)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("answer", [413, 500, 503, 418, 200])
def test_f7_no_answer_makes_it_say_a_password(answer: int, registry: BadRegistry, store: Store) -> None:
    said = json.dumps({"errors": [{"message": f"you said {BASIC} s3cret-canary"}]}).encode()
    registry.answer(UPLOADS, BASIC_ASKED, Answer(answer, {"Location": "/up"}, body=said))
    registry.answer("/up", Answer(answer, body=said))
    with pytest.raises(SetpointError) as caught:
        push(store, registry)
    assert "canary" not in str(caught.value) and BASIC not in str(caught.value)


def test_c2_nothing_is_pushed_under_a_name_that_nobody_gave(registry: BadRegistry, store: Store) -> None:
    """A short id is a good name of the hub's: the image would go there."""
    identity = store.images.list()[0].id
    origin = Origin(Endpoint(registry.host, is_insecure=True), ME)
    for text in (identity, identity[7:], identity[7:19], identity[7:11]):
        with pytest.raises(Invalid, match="push it by a name"):
            store.images.push(text, origin)
    assert not registry.seen


@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]"])
def test_c2_a_proxy_is_not_sent_to_where_clouds_keep_secrets(
    address: str, store: Store, registry: BadRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forward_proxy.started(registry.host) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with pytest.raises(SetpointError, match="is not an address to fetch images from"):
            store.pull("lab/app:1", BadRegistry(f"{address}:80"))
        assert not proxy.seen


def test_f7_a_proxys_password_is_for_the_proxy_alone(
    store: Store, registry: BadRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of plain HTTP it sees what the registry is told; the registry does not see what the proxy is told."""
    with forward_proxy.started(registry.host, login="me:proxy-canary") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:proxy-canary@{proxy.address}")
        with pytest.raises(SetpointError) as caught:
            store.pull("registry.invalid:5000/lab/none:1", BadRegistry("registry.invalid:5000"))
        assert "canary" not in str(caught.value)
        assert proxy.seen and all("Proxy-Authorization" in headers for headers in proxy.headers)
    wanted = base64.b64encode(b"me:proxy-canary").decode()
    assert not any(wanted in str(asked.headers) for asked in registry.seen)
