"""Pulls and pushes through a proxy, which alone knows where the registry is."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from runtime.errors import Invalid, Temporary
from runtime.images.images import Images
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests import bad_registry, forward_proxy
from tests.registry import Registry, make_image

HOST = "registry.invalid"


@pytest.fixture
def images(layout: Layout, tmp_path: Path) -> Images:
    images = IsolatedImages(layout)
    images.load(make_image(tmp_path / "app", [{"etc/one": b"1" * 100_000}]))
    return images


def test_pull_and_push_by_http(
    registry: Registry, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, origin = f"{HOST}:5000/lab/app:1", Origin(Endpoint(f"{HOST}:5000", is_insecure=True))
    images.tag(images.list()[0].id, name)
    with pytest.raises(Temporary, match="no address for that name"):
        Images(Layout("tnone", tmp_path / "none", tmp_path / "run")).pull(name, [Origin(origin.endpoint)])
    with forward_proxy.started(registry.host, login="me:s3cret") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cret@{proxy.address}")
        pushed = images.push(name, origin)
        assert f"PUT http://{HOST}:5000/v2/lab/app/manifests/1" in proxy.seen
        other = IsolatedImages(Layout("tproxy", tmp_path / "data", tmp_path / "run"))
        assert other.pull(name, [origin]).digest == pushed.digest
        monkeypatch.setenv("NO_PROXY", HOST)
        count = len(proxy.seen)
        with pytest.raises(Temporary, match="no address for that name"):
            other.pull(name, [origin])
        assert len(proxy.seen) == count


def test_pull_by_https_goes_through_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy sees the host's name and bytes that it cannot read; the certificate is the registry's."""
    pem = tmp_path / "ca.pem"
    words = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
        "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", tmp_path / "key.pem", "-out", pem,
    ]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, tmp_path / "key.pem")
    with bad_registry.started(context) as registry, forward_proxy.started(registry.host) as proxy:
        image = registry.put_image()
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        images = IsolatedImages(Layout("ttls", tmp_path / "data", tmp_path / "run"))
        origin = Origin(Endpoint(HOST, ca_file=str(pem)))
        assert images.pull(f"{HOST}/lab/app:1", [origin]).digest == bad_registry.digest_of(image.manifest)
        assert set(proxy.seen) == {f"CONNECT {HOST}:443"}
        with pytest.raises(Invalid, match="certificate is not trusted"):
            images.pull(f"{HOST}/lab/app:1", [Origin(Endpoint(HOST))])


def test_a_proxy_that_lets_nobody_in_or_is_not_there(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images(Layout("tdead", tmp_path / "data", tmp_path / "run"))
    monkeypatch.setattr("runtime.images.registry.repository.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Temporary, match=r"its proxy: connection refused.*HTTPS_PROXY"):
        images.pull(f"{HOST}/lab/app:1", [Origin(Endpoint(HOST))])
    with forward_proxy.started(registry.host, login="me:s3cret") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wr0ng@{proxy.address}")
        with pytest.raises(Temporary, match=r"its proxy: .*407") as caught:
            images.pull(f"{HOST}/lab/app:1", [Origin(Endpoint(HOST))])
        assert "wr0ng" not in str(caught.value)
