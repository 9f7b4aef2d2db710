"""Who a client is to a registry: read for one request, and never said back (F7)."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.registry_auth import credential_of, decoded, domain_of, read_header
from runtime.errors import Invalid
from runtime.images.reference import parse_reference
from runtime.images.registry.credentials import Credential

SECRET = "s3cret/+Ä?"
WEB = parse_reference("lab.example:5000/web")
HUB = parse_reference("busybox")


def header(*, urlsafe: bool = True, padded: bool = True, **fields: str) -> str:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(json.dumps(fields, ensure_ascii=False).encode()).decode()
    return text if padded else text.rstrip("=")


@pytest.mark.parametrize("urlsafe", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_a_password(urlsafe: bool, padded: bool) -> None:
    for length in range(4):
        text = header(urlsafe=urlsafe, padded=padded, username="me", password=SECRET + "x" * length)
        assert read_header(text, WEB) == Credential("me", SECRET + "x" * length)


def test_tokens() -> None:
    assert read_header(header(identitytoken="i"), WEB) == Credential(identity_token="i")
    assert read_header(header(registrytoken="r"), WEB) == Credential(registry_token="r")
    assert credential_of({"auth": base64.b64encode(b"me:a:b").decode()}, "x.y") == Credential("me", "a:b")


@pytest.mark.parametrize(
    "text", ["", "e30=", "bnVsbA==", header(serveraddress="https://other/"), header(email="x")]
)
def test_nobody(text: str) -> None:
    assert read_header(text, WEB) is None


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("lab.example:5000", "lab.example:5000"),
        ("https://lab.example:5000/v2/", "lab.example:5000"),
        ("localhost", "localhost"),
        ("lab.example/group/image", "lab.example"),
    ],
)
def test_addresses(address: str, domain: str) -> None:
    assert domain_of(address) == domain


@pytest.mark.parametrize(
    "address", ["https://", "a b", "https://me:pass@lab.example", "http://[::1", "x/../y", "Ä.x"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(Invalid, match="no registry's host"):
        domain_of(address)


def test_a_login_for_another_registry_is_not_sent() -> None:
    text = header(username="me", password=SECRET, serveraddress="https://index.docker.io/v1/")
    assert read_header(text, HUB) == Credential("me", SECRET)
    with pytest.raises(Invalid, match=r"is for 'docker.io', and not for lab.example:5000") as raised:
        read_header(text, WEB)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "%%%", "zzz", "a" * 70000, header(username="me", secret=SECRET),
        base64.b64encode(f'"{SECRET}"'.encode()).decode(),
        base64.b64encode(f'{{"username":"{SECRET}"'.encode()).decode(),
        base64.b64encode(f'{{"username":"{SECRET}","username":"x"}}'.encode()).decode(),
        header(auth=SECRET),
    ],
)  # fmt: skip
def test_what_is_no_header_is_not_said_back(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_header(text, WEB)
    assert "s3cret" not in str(raised.value)
    assert text not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_credential_never_shows_itself() -> None:
    shown = repr(Credential("me", SECRET, "ident-" + SECRET, "reg-" + SECRET))
    assert SECRET not in shown


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    for text in (base64.urlsafe_b64encode(data).decode(), data.decode("latin-1")):
        try:
            assert isinstance(decoded(text), dict)
        except Invalid as error:
            assert error.reason.startswith("invalid X-Registry-Auth header")
