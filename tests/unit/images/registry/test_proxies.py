"""Through which proxy a host is reached."""

from __future__ import annotations

import pytest

from runtime.errors import Invalid
from runtime.images.registry.proxies import Proxy, proxies, proxy_for

BOTH = {"HTTPS_PROXY": "http://one.lan:3128", "http_proxy": "two.lan"}
ONE, TWO = Proxy("http://one.lan:3128"), Proxy("http://two.lan")


@pytest.mark.parametrize(
    ("scheme", "host", "no_proxy", "expected"),
    [
        ("https", "registry.example.com", "", ONE),
        ("http", "registry.example.com:5000", "", TWO),
        ("https", "registry.example.com", "*", None),
        ("https", "registry.example.com", "other.lan, example.com", None),
        ("https", "registry.example.com", ".example.com", None),
        ("https", "registry.example.com", "*.example.com", None),
        ("https", "example.com", "example.com", None),
        ("https", "notexample.com", "example.com", ONE),
        ("https", "example.com.evil.org", "example.com", ONE),
        ("https", "registry.example.com:5000", "example.com:5000", None),
        ("https", "registry.example.com:5001", "example.com:5000", ONE),
        ("https", "10.1.2.3", "10.0.0.0/8", None),
        ("https", "11.1.2.3", "10.0.0.0/8", ONE),
        ("https", "10.1.2.3", "10.1.2.3", None),
        ("https", "[fd00::5]:5000", "fd00::/8", None),
        ("https", "[fd00::5]:5000", "fd00::5", None),
        ("https", "registry.example.com", "10.0.0.0/99,,[,:", ONE),
        ("https", "REGISTRY.example.COM", "Example.com", None),
        ("https", "localhost:5000", "", None),
        ("http", "127.0.0.1:5000", "", None),
        ("https", "[::1]:5000", "", None),
    ],
)
def test_which_proxy(scheme: str, host: str, no_proxy: str, expected: Proxy | None) -> None:
    assert proxy_for(scheme, host, {**BOTH, "NO_PROXY": no_proxy}) == expected


def test_none_without_the_variables() -> None:
    assert proxy_for("https", "registry.example.com", {"PATH": "/bin"}) is None
    assert proxy_for("http", "registry.example.com", {"HTTPS_PROXY": "http://one.lan"}) is None


def test_who_we_are_to_it_is_no_part_of_its_address() -> None:
    found = proxy_for("https", "r.example.com", {"HTTPS_PROXY": "http://me:p%40ss@one.lan:3128"})
    assert found == Proxy("http://one.lan:3128", "Basic bWU6cEBzcw==")
    assert "p@ss" not in repr(found) and "bWU6" not in repr(found)


@pytest.mark.parametrize(
    "text", ["ftp://one.lan", "http://", "http://one.lan:99999", "http://[::1", "http://a\nb"]
)
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(Invalid, match="names no proxy"):
        proxy_for("https", "registry.example.com", {"HTTPS_PROXY": text})


def test_only_proxies_are_handed_on() -> None:
    known = {"HTTPS_PROXY": "a", "no_proxy": "b", "HTTP_PROXY": "", "SECRET": "c", "PATH": "/bin"}
    assert proxies(known) == {"HTTPS_PROXY": "a", "no_proxy": "b"}
