"""C2, F7: who may hear a password (CVE-2020-15157, CVE-2021-41092), and where nobody may read it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.images.registry.credentials import Credential
from tests.bad_registry import Answer, BadRegistry, document, started
from tests.threats.registries import Store, store_in, waits

__all__ = ["waits"]
ME = Credential("me", "s3cret-canary")
TOKEN = Credential(identity_token="identity-canary")
BASIC = base64.b64encode(b"me:s3cret-canary").decode()
SECRETS = ("s3cret-canary", BASIC, "identity-canary", "bearer-canary")
SCOPE = "repository:lab/app:pull"


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def other() -> Iterator[BadRegistry]:
    """Another host, as far as anybody can tell: another port is one, too."""
    with started() as registry:
        yield registry


@pytest.fixture
def store(tmp_path: Path, registry: BadRegistry) -> Store:
    return store_in(tmp_path, registry)


def ask(registry: BadRegistry, challenge: str, *paths: str) -> None:
    """A 401 for all that is not known; and for paths, once."""
    answer = Answer(401, {"WWW-Authenticate": challenge})
    for path in paths:
        registry.answer(path, answer)


def authorizations(registry: BadRegistry) -> set[str]:
    return {asked.authorization for asked in registry.seen}


# --- another host -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("part", ["manifest", "layer"])
def test_c2_a_password_does_not_go_along_to_another_host(
    status: int, part: str, registry: BadRegistry, other: BadRegistry, store: Store
) -> None:
    image = registry.put_image()
    path, data = getattr(image, f"{part}_path"), getattr(image, part)
    other.answer("/elsewhere", document(data))
    registry.answer(
        path,
        Answer(401, {"WWW-Authenticate": 'Basic realm="lab"'}),
        Answer(status, {"Location": f"http://{other.host}/elsewhere?signed=1"}),
    )
    if part == "layer":  # said already when the manifest was asked for
        registry.answer(path, Answer(status, {"Location": f"http://{other.host}/elsewhere?signed=1"}))
        registry.answer(
            image.manifest_path,
            Answer(401, {"WWW-Authenticate": 'Basic realm="lab"'}), document(image.manifest),
        )  # fmt: skip
    store.pull(image.name, registry, ME)
    assert f"Basic {BASIC}" in authorizations(registry)
    assert authorizations(other) == {""}
    assert not any("Cookie" in asked.headers for asked in other.seen)


def test_c2_another_host_that_asks_who_we_are_hears_nothing(
    registry: BadRegistry, other: BadRegistry, store: Store
) -> None:
    """What it asks is taken for the registry's own question, and answered there alone."""
    image = registry.put_image()
    registry.answer(image.manifest_path, Answer(302, {"Location": f"http://{other.host}/x"}))
    ask(other, 'Basic realm="lab"', "/x")
    store.refuses(image.name, registry, ME)
    assert authorizations(other) == {""}


@pytest.mark.parametrize(
    "location",
    [
        "", "http://user:pass@127.0.0.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1", "//",
        "gopher://127.0.0.1:70/1", "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x",
        "http://[::ffff:169.254.169.254]/x", "http://0.0.0.0/x", "http://224.0.0.1/x", "https://169.254.169.254/x",
        "http://2852039166/x", "http://127.0.0.1:99999/x", "http://example.invalid/x", "http://127.0.0.1:1\\@x/",
        "https://\x01/", "http:", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_c2_where_nobody_is_sent_on_to(
    location: str, registry: BadRegistry, store: Store, waits: list[float]
) -> None:
    image = registry.put_image()
    registry.answer(image.manifest_path, Answer(302, {"Location": location}))
    store.refuses(image.name, registry, ME)
    assert len(registry.seen) <= 6


@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0"])
@pytest.mark.parametrize("is_insecure", [True, False])
def test_c2_no_connection_is_tried_to_where_clouds_keep_secrets(
    address: str, is_insecure: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    monkeypatch.setattr("urllib3.util.connection.create_connection", lambda *a, **k: tried.append(a))
    error = store.refuses("lab/app:1", BadRegistry(f"{address}:80"), is_insecure=is_insecure)
    assert "is not an address to fetch images from" in error.reason
    assert tried == []


def test_c2_a_name_that_means_such_an_address_is_no_way_there(
    registry: BadRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the name means is looked at, and then what was connected to: it may mean another thing by then."""
    image = registry.put_image()
    answer = [(2, 1, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: answer)
    registry.answer(image.manifest_path, Answer(302, {"Location": "http://metadata.example/"}))
    error = store.refuses(image.name, BadRegistry("metadata.example:80"))
    assert "169.254.169.254 is not an address" in error.reason


# --- where tokens come from -------------------------------------------------------------------


def bearer(realm: str, service: str = "lab") -> str:
    return f'Bearer realm="{realm}",service="{service}",scope="{SCOPE}"'


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/token", "http://evil.example/token", "https://127.0.0.1.evil.example/token",
        "https://127.0.0.1@evil.example/token", "https://me:x@127.0.0.1/token", "ftp://127.0.0.1/token",
        "//evil.example/token", "", "token", "https://", "https://[::1/token", "https://169.254.169.254/token",
        "https://evil.example\\@127.0.0.1/token", "https://evil.example#@127.0.0.1/token", "http://127.0.0.2/token",
        "https://evil.example/\\r\\nAuthorization: x", "file:///etc/passwd", "https://127.0.0.1:99999/token",
        "https://\tevil.example/token", "http://127.0.0.1:1%0d%0aX:y/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("who", [ME, TOKEN])
def test_c2_a_realm_elsewhere_hears_no_password(
    realm: str, who: Credential, registry: BadRegistry, store: Store, waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[str] = []
    request = "runtime.images.registry.transport.Transport.request"
    from runtime.images.registry.transport import Transport

    real = Transport.request

    def watched(
        self: Transport, method: str, url: str, headers: dict[str, str], body: object = None, *more: float
    ) -> object:
        if "evil" in url or not url.startswith(f"http://{registry.host}/"):
            told = body.decode() if isinstance(body, bytes) else ""
            asked.append(headers.get("Authorization", "") + told)
        return real(self, method, url, headers, body, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(request, watched)
    image = registry.put_image()
    ask(registry, bearer(realm), image.manifest_path)
    store.refuses(image.name, registry, who)
    assert all("canary" not in said and BASIC not in said for said in asked if "127.0.0.1:" not in realm)
    assert not any("evil" in asked.path for asked in registry.seen)


def test_c2_an_http_realm_of_an_https_registry(store: Store, other: BadRegistry) -> None:
    from tests.threats.test_c03_tls import certified

    with certified() as (registry, ca):
        image = registry.put_image()
        ask(registry, bearer(f"http://{other.host}/token"), image.manifest_path)
        error = store.refuses(image.name, registry, ME, is_insecure=False, ca_file=ca)
    assert "by http" in error.reason and error.hint == "only HTTPS is trusted"
    assert other.seen == []


def test_c2_addresses_in_a_manifest_are_not_asked(
    registry: BadRegistry, other: BadRegistry, store: Store
) -> None:
    """`urls` of foreign layers: what is not in the registry, is nowhere."""
    image = registry.put_image()
    value = json.loads(image.manifest)
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar"
    value["layers"][0].update(urls=[f"http://{other.host}/layer"], mediaType=foreign)
    registry.answer(image.manifest_path, document(json.dumps(value).encode()))
    registry.answer(image.layer_path, Answer(404))
    assert "there is no blob" in store.refuses(image.name, registry).reason
    assert other.seen == []


# --- tokens -----------------------------------------------------------------------------------


def give_token(registry: BadRegistry, *tokens: str) -> None:
    registry.answer("/token", *(Answer(body=json.dumps({"token": each}).encode()) for each in tokens))


def token_requests(registry: BadRegistry) -> list[object]:
    return [asked for asked in registry.seen if asked.path.startswith("/token")]


@pytest.mark.parametrize("who", [None, ME, TOKEN])
def test_tokens_are_asked_for_as_who_we_are(
    who: Credential | None, registry: BadRegistry, store: Store
) -> None:
    image = registry.put_image()
    registry.answer(
        image.manifest_path,
        Answer(401, {"WWW-Authenticate": bearer(f"http://{registry.host}/token?a=b")}),
        document(image.manifest),
    )  # fmt: skip
    give_token(registry, "bearer-canary")
    store.pull(image.name, registry, who)
    (asked,) = [asked for asked in registry.seen if asked.path.startswith("/token")]
    scope = "scope=repository%3Alab%2Fapp%3Apull"
    if who is TOKEN:
        assert asked.method == "POST" and asked.authorization == "" and "canary" not in asked.path
        assert b"refresh_token=identity-canary" in asked.body and b"grant_type=refresh_token" in asked.body
        assert scope in asked.body.decode()
    else:
        assert (
            asked.method == "GET"
            and scope in asked.path
            and "a=b" in asked.path
            and "service=lab" in asked.path
        )
        assert asked.authorization == (f"Basic {BASIC}" if who else "")
    assert [asked.authorization for asked in registry.seen[-2:]] == ["Bearer bearer-canary"] * 2


def test_a_token_that_ends_in_the_middle_of_a_pull_is_renewed_once(
    registry: BadRegistry, store: Store
) -> None:
    image = registry.put_image()
    asks = Answer(401, {"WWW-Authenticate": bearer(f"http://{registry.host}/token")})
    registry.answer(image.manifest_path, asks, document(image.manifest))
    registry.answer(image.layer_path, asks, Answer(body=image.layer))
    give_token(registry, "one", "two")
    store.pull(image.name, registry, ME)
    assert len(token_requests(registry)) == 2
    assert [a.authorization for a in registry.seen if a.path == image.layer_path] == [
        "Bearer one",
        "Bearer two",
    ]


def test_a_registry_that_takes_no_token_is_not_asked_for_ever(registry: BadRegistry, store: Store) -> None:
    image = registry.put_image()
    ask(registry, bearer(f"http://{registry.host}/token"), image.manifest_path)
    give_token(registry, "one")
    assert "does not let us in" in store.refuses(image.name, registry, ME).reason
    assert len(registry.seen) == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token":7}', b'{"token":""}', b'{"token":"a\\r\\nX: y"}', b'{"token":"\\u00fc"}',
     b'{"token":"' + b"a" * 300_000 + b'"}', b"[" * 200_000],
)  # fmt: skip
def test_c2_what_is_no_token(body: bytes, registry: BadRegistry, store: Store) -> None:
    image = registry.put_image()
    ask(registry, bearer(f"http://{registry.host}/token"), image.manifest_path)
    registry.answer("/token", Answer(body=body))
    assert "gives no token" in store.refuses(image.name, registry, ME).reason


# --- F7: nobody reads it ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
@pytest.mark.parametrize("who", [ME, TOKEN])
def test_f7_a_registry_that_says_a_password_back_is_not_repeated(
    status: int, who: Credential, registry: BadRegistry, store: Store, waits: list[float]
) -> None:
    image = registry.put_image()
    echo = json.dumps({"errors": [{"message": "you said " + " and ".join(SECRETS)}]}).encode()
    challenge = bearer(f"http://{registry.host}/token") if who is TOKEN else 'Basic realm="x"'
    registry.answer(
        image.manifest_path, Answer(401, {"WWW-Authenticate": challenge}), Answer(status, body=echo)
    )
    give_token(registry, "bearer-canary")
    error = store.refuses(image.name, registry, who)
    told = SECRETS[:2] if who is ME else SECRETS[2:]
    assert not any(secret in f"{error} {error!r}" for secret in told)


def test_f7_a_credential_shows_nothing_of_itself() -> None:
    both = Credential("me", "s3cret-canary", "identity-canary")
    assert not any(secret in f"{both} {both!r}" for secret in SECRETS)


def test_f7_a_token_server_that_wants_it_sent_away_is_told_nothing(
    registry: BadRegistry, store: Store
) -> None:
    image = registry.put_image()
    ask(registry, bearer("https://evil.example/token"), image.manifest_path)
    error = store.refuses(image.name, registry, ME)
    assert isinstance(error, Invalid) and "token_hosts" in error.hint
