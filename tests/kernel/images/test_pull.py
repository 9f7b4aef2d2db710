"""Images from a real registry: plain and with TLS, with and without a login, whole and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, NotFound, Temporary
from runtime.images.images import Images
from runtime.images.progress import EXISTS, LAYER, Progress
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.registry import Registry, make_image, started

FILES = [{"etc/one": b"1" * 100_000, "etc/same": b"lower"}, {"etc/two": b"2", "etc/same": b"upper"}]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry") as registry:
        registry.put(f"oci:{make_image(folder / 'app', FILES)}", "lab/app:1")
        yield registry


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a certificate that nobody knows, and a password."""
    folder = tmp_path_factory.mktemp("locked")
    with started(folder / "registry", tls=True, login=("me", "s3cret")) as registry:
        registry.put(f"oci:{make_image(folder / 'app', FILES)}", "lab/app:1")
        yield registry


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(Layout("tpull", tmp_path / "data", tmp_path / "run"))


def origin_of(registry: Registry, credential: Credential | None = None, **more: object) -> list[Origin]:
    ca = str(registry.ca) if registry.ca else ""
    endpoint = Endpoint(registry.host, ca_file=ca, is_insecure=registry.ca is None, **more)  # type: ignore[arg-type]
    return [Origin(endpoint, credential)]


def test_by_tag(registry: Registry, images: Images) -> None:
    name = f"{registry.host}/lab/app:1"
    pulled = images.pull(name, origin_of(registry))
    assert pulled.names == (name,)
    assert images.get(name) == pulled
    one, two = images.layer_directories(pulled.id)
    assert (one / "etc/one").read_bytes() == b"1" * 100_000
    assert (two / "etc/same").read_bytes() == b"upper"


def test_by_digest(registry: Registry, images: Images) -> None:
    digest = images.pull(f"{registry.host}/lab/app:1", origin_of(registry)).digest
    for name in (f"{registry.host}/lab/app@{digest}", f"{registry.host}/lab/app:ignored@{digest}"):
        assert images.pull(name, origin_of(registry)).digest == digest
        found = images.get(name)
        assert found is not None and found.digest == digest


def test_a_second_pull_fetches_no_layer(registry: Registry, images: Images) -> None:
    seen: list[Progress] = []
    images.pull(f"{registry.host}/lab/app:1", origin_of(registry), seen.append)
    assert {each.step for each in seen} == {LAYER, "fetch", "unpack", "sync"}
    seen.clear()
    images.pull(f"{registry.host}/lab/app:1", origin_of(registry), seen.append)
    assert {each.step for each in seen} == {EXISTS, "sync"}


def test_in_a_process_of_its_own(registry: Registry, tmp_path: Path) -> None:
    images = IsolatedImages(Layout("tpull", tmp_path / "data", tmp_path / "run"))
    seen: list[Progress] = []
    name = f"{registry.host}/lab/app:1"
    assert images.pull(name, origin_of(registry), seen.append).names == (name,)
    assert any(each.step == "fetch" for each in seen)
    with pytest.raises(NotFound, match="no manifest 'none'"):
        images.pull(f"{registry.host}/lab/app:none", origin_of(registry))


def test_a_mirror_that_lacks_it_is_passed_over(registry: Registry, images: Images) -> None:
    nobody = Origin(Endpoint("127.0.0.1:1", is_insecure=True))
    assert images.pull("lab/app:1", [nobody, *origin_of(registry)]).names == ("lab/app:1",)


@pytest.mark.parametrize("name", ["lab/app:none", "lab/nothing:1"])
def test_what_is_not_there(registry: Registry, images: Images, name: str) -> None:
    with pytest.raises(NotFound, match="there is no manifest"):
        images.pull(f"{registry.host}/{name}", origin_of(registry))
    assert images.list() == ()


def test_with_a_login_over_tls(locked: Registry, images: Images) -> None:
    name = f"{locked.host}/lab/app:1"
    assert images.pull(name, origin_of(locked, Credential("me", "s3cret"))).names == (name,)


@pytest.mark.parametrize("credential", [None, Credential("me", "wrong"), Credential("", "")])
def test_without_the_right_login(locked: Registry, images: Images, credential: Credential | None) -> None:
    with pytest.raises(Invalid, match="does not let us in"):
        images.pull(f"{locked.host}/lab/app:1", origin_of(locked, credential))


def test_a_certificate_that_nobody_knows(locked: Registry, images: Images) -> None:
    with pytest.raises(Invalid, match="certificate is not trusted") as caught:
        images.pull(f"{locked.host}/lab/app:1", [Origin(Endpoint(locked.host), Credential("me", "s3cret"))])
    assert "registries.yaml" in caught.value.hint


def test_plain_http_is_not_fallen_back_to(registry: Registry, images: Images) -> None:
    with pytest.raises((Invalid, Temporary)):
        images.pull(f"{registry.host}/lab/app:1", [Origin(Endpoint(registry.host))])


def test_nobody_there(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("runtime.images.registry.repository.time.sleep", waits.append)
    with pytest.raises(Temporary, match="connection refused"):
        images.pull("127.0.0.1:1/a:1", [Origin(Endpoint("127.0.0.1:1"))])
