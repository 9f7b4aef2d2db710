"""Who we are to a registry, all the way: the file and the helpers of a login, a token server that signs, and
certificates of clients. What is asked is a registry of the distribution's package."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.registries.origins import Origins
from runtime.errors import Invalid, SetpointError
from runtime.images.images import Images
from runtime.images.reference import parse_reference
from runtime.images.registry import docker_config
from runtime.images.registry.credentials import Credential
from runtime.images.registry.docker_config import store_credential
from runtime.layout import Layout
from tests import bad_registry, token_server
from tests.bad_registry import Answer
from tests.registry import Registry, make_image, started
from tests.token_server import TokenServer

LOGIN, IDENTITY = ("me", "s3cret-canary"), "identity-canary"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_server.served(tmp_path_factory.mktemp("tokens"), login=LOGIN, identity=IDENTITY) as server:
        yield server


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, tokens: TokenServer) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry", auth=tokens.auth) as registry:
        put = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", ":".join(LOGIN)]
        archive = make_image(folder / "app", [{"etc/one": b"1" * 1000}, {"etc/two": b"2"}])
        subprocess.run([*put, f"oci:{archive}", f"docker://{registry.host}/lab/app:1"], check=True)
        yield registry


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(Layout("twho", tmp_path / "data", tmp_path / "run"))


@pytest.fixture
def logins(tmp_path: Path) -> Path:
    return tmp_path / "docker/config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-vault, which keeps what it is given, by the name of the registry."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-vault"
    program.write_text(f"""#!/bin/sh
echo "$@" >>{tmp_path}/arguments
case $1 in
  store) cat >{tmp_path}/kept ;;
  get) read -r name; echo "$name" >>{tmp_path}/asked
       if grep -q "\\"$name\\"" {tmp_path}/kept; then cat {tmp_path}/kept; else
         echo 'credentials not found in native keychain'; exit 1; fi ;;
  erase) rm -f {tmp_path}/kept ;;
esac
""")
    program.chmod(0o755)
    (tmp_path / "kept").write_text("")
    monkeypatch.setattr(docker_config, "_HELPER_PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def pull(images: Images, registry: Registry, logins: Path, folder: Path, name: str = "lab/app:1") -> None:
    settings = folder / "registries.yaml"
    settings.write_text(registry.settings())
    whole = f"{registry.host}/{name}"
    images.pull(whole, Origins(settings, logins).of(parse_reference(whole)))
    assert images.get(whole) is not None


def refused(images: Images, registry: Registry, logins: Path, folder: Path) -> SetpointError:
    with pytest.raises(Invalid, match="does not let us in") as caught:
        pull(images, registry, logins, folder)
    assert "canary" not in str(caught.value)
    return caught.value


def test_a_token_for_a_password(
    images: Images, registry: Registry, tokens: TokenServer, logins: Path, tmp_path: Path
) -> None:
    assert "setpoint login" in refused(images, registry, logins, tmp_path).hint
    store_credential(registry.host, Credential("me", "not-it"), logins)
    assert refused(images, registry, logins, tmp_path).hint == "log in again"
    store_credential(registry.host, Credential(*LOGIN), logins)
    tokens.asked.clear()
    pull(images, registry, logins, tmp_path)
    (asked,) = tokens.asked  # one token for the manifest, the config and the layers
    assert (asked.method, asked.form["scope"]) == ("GET", "repository:lab/app:pull")


def test_a_token_for_an_identity_token(
    images: Images, registry: Registry, tokens: TokenServer, logins: Path, tmp_path: Path
) -> None:
    store_credential(registry.host, Credential(identity_token="old"), logins)
    refused(images, registry, logins, tmp_path)
    store_credential(registry.host, Credential(identity_token=IDENTITY), logins)
    tokens.asked.clear()
    pull(images, registry, logins, tmp_path)
    (asked,) = tokens.asked
    assert (asked.method, asked.authorization) == ("POST", "")
    assert asked.form["grant_type"] == "refresh_token" and asked.form["scope"] == "repository:lab/app:pull"


def test_a_token_that_ended_is_fetched_again(
    images: Images, registry: Registry, tokens: TokenServer, logins: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The registry takes none of before a minute ago; the next is good."""
    store_credential(registry.host, Credential(*LOGIN), logins)
    tokens.asked.clear()
    real = TokenServer.token

    def token(server: TokenServer, scopes: str) -> str:
        server.seconds = -3600 if len(server.asked) == 1 else token_server.SECONDS
        return real(server, scopes)

    monkeypatch.setattr(TokenServer, "token", token)
    with pytest.raises(Invalid, match="does not let us in"):
        pull(images, registry, logins, tmp_path)
    pull(images, registry, logins, tmp_path)


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore"])
@pytest.mark.parametrize("who", [Credential(*LOGIN), Credential(identity_token=IDENTITY)])
def test_what_a_helper_keeps(
    kind: str, who: Credential, images: Images, registry: Registry, logins: Path, helper: Path, tmp_path: Path
) -> None:
    logins.parent.mkdir()
    said = f'{{"{registry.host}": "vault"}}' if kind == "credHelpers" else '"vault"'
    logins.write_text(f'{{"{kind}": {said}}}')
    refused(images, registry, logins, tmp_path)
    assert store_credential(registry.host, who, logins) == "vault"
    pull(images, registry, logins, tmp_path)
    assert (helper / "asked").read_text().split() == [registry.host] * 2
    assert set((helper / "arguments").read_text().split()) == {"get", "store"}
    assert "canary" not in logins.read_text()


# --- certificates of clients --------------------------------------------------------------------


def certificates(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_a_registry_that_asks_for_a_certificate(images: Images, tmp_path: Path) -> None:
    server, server_key = certificates(tmp_path, "server")
    mine, my_key = certificates(tmp_path, "mine")
    other, other_key = certificates(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    context.load_verify_locations(mine)
    context.verify_mode = ssl.CERT_REQUIRED
    settings = tmp_path / "registries.yaml"
    head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
    with bad_registry.started(context) as registry:
        image = registry.put_image()
        origins = Origins(settings, tmp_path / "none")
        for more in ("", f", certificate: {other}, key: {other_key}"):
            settings.write_text(f'{head}  "{registry.host}": {{ca: {server}{more}}}\n')
            with pytest.raises(SetpointError):
                images.pull(image.name, origins.of(parse_reference(image.name))[:1])
            assert registry.seen == []
        settings.write_text(
            f'{head}  "{registry.host}": {{ca: {server}, certificate: {mine}, key: {my_key}}}\n'
        )
        images.pull(image.name, origins.of(parse_reference(image.name)))
        assert images.get(image.name) is not None


def test_a_certificate_is_shown_to_nobody_else(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is sent on to another host, goes there as nobody: also where that one asks, and is trusted."""
    server, server_key = certificates(tmp_path, "server")
    monkeypatch.setenv("SSL_CERT_FILE", str(server))  # an authority of this host
    mine, my_key = certificates(tmp_path, "mine")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    seen: list[object] = []
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asking.load_cert_chain(server, server_key)
    asking.load_verify_locations(mine)
    asking.verify_mode = ssl.CERT_OPTIONAL
    settings = tmp_path / "registries.yaml"
    with bad_registry.started(context) as registry, bad_registry.started(asking) as other:
        image = registry.put_image()

        def note(handler: bad_registry.Handler) -> None:
            seen.append(handler.connection.getpeercert())  # type: ignore[attr-defined]
            handler.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        other.answer("", Answer(raw=note))
        registry.answer(image.layer_path, Answer(302, {"Location": f"https://{other.host}/x"}))
        settings.write_text(
            "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
            f'  "{registry.host}": {{ca: {server}, certificate: {mine}, key: {my_key}}}\n'
        )
        with pytest.raises(SetpointError):
            images.pull(image.name, Origins(settings, tmp_path / "none").of(parse_reference(image.name)))
        assert seen == [None]
