"""Who is asked for an image, and who may be told a password."""

from __future__ import annotations

import pytest

from runtime.errors import Invalid
from runtime.images.registry.endpoints import Endpoint, Registries, Registry, check_host, may_be_told


def test_the_hub_is_elsewhere() -> None:
    assert Registries().endpoints("docker.io") == (Endpoint("registry-1.docker.io"),)
    assert Registries().endpoints("example.com:5000")[0].url == "https://example.com:5000"


def test_mirrors_come_first() -> None:
    mirror, own = Endpoint("mirror.lan", is_insecure=True), Endpoint("registry-1.docker.io")
    registries = Registries({"docker.io": Registry(own, (mirror,))})
    assert registries.endpoints("docker.io") == (mirror, own)
    assert registries.endpoints("ghcr.io") == (Endpoint("ghcr.io"),)
    assert mirror.url == "http://mirror.lan"


@pytest.mark.parametrize(
    ("host", "other", "expected"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("registry.example.com:5000", "REGISTRY.example.com", True),
        ("registry.example.com", "auth.example.com:8443", True),
        ("registry.example.com", "example.com.evil.org", False),
        ("registry.example.com", "evilexample.com", False),
        ("registry.example.co.uk", "auth.example.co.uk", True),
        ("registry.example.co.uk", "evil.co.uk", False),
        ("10.0.0.5:5000", "10.0.0.5:6000", True),
        ("10.0.0.5:5000", "10.0.1.5", False),
        ("[fd00::1]:5000", "[fd00::1]", True),
        ("[fd00::1]:5000", "[fd00::2]", False),
        ("registry:5000", "auth:5000", False),
        ("localhost:5000", "localhost", True),
    ],
)
def test_who_is_told(host: str, other: str, expected: bool) -> None:
    assert may_be_told(Endpoint(host), other) is expected


def test_a_host_that_the_settings_name_is_told() -> None:
    assert may_be_told(Endpoint("registry.lan", token_hosts=("keycloak.other",)), "keycloak.other:8443")


@pytest.mark.parametrize(
    "text", ["", "http://a", "a/b", "a b", "user@a", "a:port", "a:1234567", "[::1", "-a"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(Invalid, match="HOST"):
        check_host(text)


@pytest.mark.parametrize("text", ["a", "a.b", "a:5000", "[::1]:5000", "127.0.0.1", "xn--a.example"])
def test_what_is_a_host(text: str) -> None:
    assert check_host(text) == text
