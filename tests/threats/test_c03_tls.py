"""C3: certificates that are not to be trusted, and what is no TLS of today: refused, and no way around."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.images.registry.credentials import Credential
from tests.bad_registry import Answer, BadRegistry, started
from tests.threats.registries import Store, store_in, waits

__all__ = ["waits"]
NAME = "subjectAltName=IP:127.0.0.1"
EXPIRED = ("-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
EARLY = ("-not_before", "20900101000000Z", "-not_after", "20910101000000Z")


def make_certificate(folder: Path, name: str = NAME, *more: str) -> Path:
    path = folder / "ca.pem"
    dates = more or ("-days", "2")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *dates, "-subj", "/CN=127.0.0.1",
         "-addext", name, "-keyout", folder / "key.pem", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def server_context(ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, ca.with_name("key.pem"))
    return context


@contextlib.contextmanager
def certified(name: str = NAME, *more: str) -> Iterator[tuple[BadRegistry, str]]:
    """A registry with TLS, and the authority that trusts it."""
    with tempfile.TemporaryDirectory(prefix="certified-") as folder:
        ca = make_certificate(Path(folder), name, *more)
        with started(server_context(ca)) as registry:
            yield registry, str(ca)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with started() as registry:
        yield store_in(tmp_path, registry)


def test_c3_one_that_is_in_order_is_trusted(store: Store) -> None:
    with certified() as (registry, ca):
        image = registry.put_image()
        store.pull(image.name, registry, is_insecure=False, ca_file=ca)
    assert store.images.get(image.name) is not None


@pytest.mark.parametrize(
    ("name", "more", "reason"),
    [
        (NAME, EXPIRED, "certificate has expired"),
        (NAME, EARLY, "not yet valid"),
        ("subjectAltName=DNS:registry.example,IP:127.0.0.2", (), "127.0.0.1"),
    ],
)
def test_c3_what_is_wrong_with_one(name: str, more: tuple[str, ...], reason: str, store: Store) -> None:
    with certified(name, *more) as (registry, ca):
        image = registry.put_image()
        error = store.refuses(image.name, registry, Credential("me", "x"), is_insecure=False, ca_file=ca)
    assert isinstance(error, Invalid)
    assert "its certificate is not trusted" in error.reason and reason in error.reason
    assert registry.seen == []


def test_c3_signed_by_itself(store: Store) -> None:
    with certified() as (registry, _):
        image = registry.put_image()
        error = store.refuses(image.name, registry, is_insecure=False)
    assert isinstance(error, Invalid) and "self-signed certificate" in error.reason
    assert registry.seen == []


def test_c3_one_that_speaks_no_tls(store: Store) -> None:
    with started() as registry:
        image = registry.put_image()
        error = store.refuses(image.name, registry, is_insecure=False)
    assert isinstance(error, Invalid) and error.reason == "it speaks no TLS"
    assert "set insecure" in error.hint and registry.seen == []


def test_c3_the_authority_of_one_registry_does_not_count_for_where_it_sends_us(store: Store) -> None:
    """Who trusts a registry with its own certificate, trusts nobody else by it."""
    with certified() as (registry, ca), certified() as (other, other_ca):
        both = Path(ca).with_name("both.pem")
        both.write_text(Path(ca).read_text() + Path(other_ca).read_text())
        image = registry.put_image()
        registry.answer(image.layer_path, Answer(302, {"Location": f"https://{other.host}/x"}))
        error = store.refuses(image.name, registry, is_insecure=False, ca_file=str(both))
    assert "certificate is not trusted" in error.reason
    assert other.seen == []


def test_c3_http_alone(store: Store, waits: list[float]) -> None:
    """No word is said to it but the first of TLS."""
    with started() as registry:
        image = registry.put_image()
        store.refuses(image.name, registry, Credential("me", "x"), is_insecure=False)
    assert registry.seen == []


def test_c3_tls_sends_us_to_http(store: Store) -> None:
    with certified() as (registry, ca), started() as plain:
        image = registry.put_image()
        registry.answer(image.layer_path, Answer(302, {"Location": f"http://{plain.host}/x"}))
        error = store.refuses(image.name, registry, is_insecure=False, ca_file=ca)
    assert "by http" in error.reason
    assert plain.seen == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_c3_an_old_tls(version: ssl.TLSVersion, store: Store, tmp_path: Path, waits: list[float]) -> None:
    ca = make_certificate(tmp_path)
    context = server_context(ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with started(context) as registry:
        image = registry.put_image()
        store.refuses(image.name, registry, is_insecure=False, ca_file=str(ca))
    assert registry.seen == []
