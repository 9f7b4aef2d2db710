"""Signatures of images that are here already, under a rule that is younger than they are: they come from a
real registry, by the image's digest, as who may read there, and no layer comes with them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.errors import Invalid, SetpointError, Temporary, Unsupported
from runtime.images.reference import Reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.worker import IsolatedImages
from runtime.signature_calls import SignatureCalls
from tests.kernel.images.test_gate import House
from tests.registry import Registry, started
from tests.signing import bundle, simple

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def house(tmp_path: Path, registry: Registry) -> House:
    return House(tmp_path, registry)


def origin(host: str, **login: str) -> Origin:
    return Origin(Endpoint(host, is_insecure=True), Credential(**login) if login else None)


def calls(images: IsolatedImages, *origins: Origin) -> SignatureCalls:
    def find(reference: Reference, project: str) -> tuple[Origin, ...]:
        return origins

    return SignatureCalls(images, find, lambda reference, error: None)


def admitted(house: House, name: str) -> bool:
    try:
        return bool(house.images.admitted("run", name))
    except Invalid:
        return False


@pytest.mark.skipif(shutil.which("cosign") is None, reason="cosign is not installed")
async def test_signed_by_cosign_itself(house: House) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(house.folder)}

    def cosign(*words: str) -> None:
        subprocess.run(["cosign", *words], cwd=house.folder, env=environment, check=True, capture_output=True)

    name = house.put_image()
    house.pull(name)
    cosign("generate-key-pair")
    cosign(
        "sign", "--key", "cosign.key", "--tlog-upload=false", "--yes", "--allow-insecure-registry",
        f"{house.registry.host}/lab/app@{house.digest}",
    )  # fmt: skip
    pem = (house.folder / "cosign.pub").read_text()
    house.rule("signed_by:", "  - |", *("    " + line for line in pem.splitlines()))
    assert not admitted(house, name)
    assert await calls(house.images, origin(house.registry.host)).bring(name)
    assert admitted(house, name)


@pytest.mark.parametrize("form", ["tag", "referrer", "bundle"])
async def test_no_layer_is_asked_for_and_no_tag_is_believed(house: House, form: str) -> None:
    name = house.put_image()
    house.pull(name)
    digest, signer = house.digest, house.signer
    if form == "tag":
        signer.put_tag(digest, simple(KEY, digest))
    else:
        signer.put_referrer(digest, (simple if form == "referrer" else bundle)(KEY, digest))
    # Its tag means another image by now, whose signature says nothing of the one that is here.
    tag = name.rpartition(":")[2]
    signer.put_manifest(tag, signer.manifest(tag) + b" ")
    house.signed_by(KEY)
    before = house.content()
    for path in (house.layout.images / "layers").iterdir():
        shutil.rmtree(path)  # so that whoever wants one has to fetch it
    assert not admitted(house, name)
    assert await calls(house.images, origin(house.registry.host)).bring(name)
    assert admitted(house, name)
    assert set(house.content()) < set(before)


async def test_an_image_by_its_id_is_asked_for_under_each_of_its_names(house: House) -> None:
    name = house.put_image()
    house.pull(name)
    house.images.tag(name, "free.example/app:1")
    house.signer.put_tag(house.digest, simple(KEY, house.digest))
    house.signed_by(KEY)
    image = house.images.get(name)
    assert image is not None
    assert {facts.name for facts in house.images.to_be_signed(image.id)} == {name}
    assert await calls(house.images, origin(house.registry.host)).bring(image.id)
    assert admitted(house, image.id)


async def test_who_signed_is_for_the_rule_to_say(house: House) -> None:
    name = house.put_image()
    house.pull(name)
    house.signer.put_tag(house.digest, simple(OTHER, house.digest))
    house.signed_by(KEY)
    assert await calls(house.images, origin(house.registry.host)).bring(name)
    with pytest.raises(Invalid, match="none of its 1 signatures is by a key of the rule"):
        house.images.admitted("run", name)
    house.signed_by(OTHER)
    assert admitted(house, name)


async def test_nobody_is_asked_where_no_rule_wants_it(house: House) -> None:
    name = house.put_image()
    house.pull(name)
    house.rule("architectures: [amd64, arm64]")
    assert not await calls(house.images, origin("127.0.0.1:1")).bring(name)
    house.signed_by(KEY)
    assert not await calls(house.images, origin("127.0.0.1:1")).bring("no/such:image")


async def failure_of(calls: SignatureCalls, name: str) -> SetpointError:
    with pytest.raises(SetpointError) as caught:
        await calls.bring(name)
    return caught.value


async def test_a_registry_that_cannot_be_asked(house: House) -> None:
    """It says why, and what a mirror has counts all the same."""
    name = house.put_image()
    house.pull(name)
    house.signed_by(KEY)
    away = calls(house.images, origin("127.0.0.1:1"))
    error = await failure_of(away, name)
    assert isinstance(error, Temporary) and error.op == "ask for signatures of"
    assert not admitted(house, name)
    house.signer.put_tag(house.digest, simple(KEY, house.digest))
    mirrored = calls(house.images, origin(house.registry.host), origin("127.0.0.1:1"))
    assert isinstance(await failure_of(mirrored, name), Temporary)
    assert admitted(house, name)
    nobody = SignatureCalls(house.images, None, lambda reference, error: None)
    assert isinstance(await failure_of(nobody, name), Unsupported)


async def test_a_mirror_that_lacks_them_has_the_registry_behind_it(house: House, tmp_path: Path) -> None:
    name = house.put_image()
    house.pull(name)
    house.signer.put_tag(house.digest, simple(KEY, house.digest))
    house.signed_by(KEY)
    with started(tmp_path / "mirror") as mirror:
        both = calls(house.images, origin(mirror.host), origin(house.registry.host))
        assert await both.bring(name)
    assert admitted(house, name)


async def test_as_who_may_read_there(tmp_path: Path) -> None:
    with started(tmp_path / "locked", login=("me", "secret")) as registry:
        house = House(tmp_path, registry)
        name = house.put_image()
        house.pull(name)
        house.signer.put_tag(house.digest, simple(KEY, house.digest))
        house.signed_by(KEY)
        anybody = calls(house.images, origin(registry.host))
        error = await failure_of(anybody, name)
        assert isinstance(error, Invalid) and "the registry does not let us in" in error.reason
        assert await calls(house.images, origin(registry.host, username="me", password="secret")).bring(name)
        assert admitted(house, name)


async def test_what_is_begun_is_told_when_it_ends(house: House) -> None:
    name = house.put_image()
    house.pull(name)
    house.signed_by(KEY)
    ended: list[tuple[str, SetpointError | None]] = []
    end = asyncio.Event()

    def on_end(reference: str, error: SetpointError | None) -> None:
        ended.append((reference, error))
        end.set()

    origins = [origin("127.0.0.1:1")]
    found = SignatureCalls(house.images, lambda reference, project: origins, on_end)
    found.begin(name, "shop")
    found.begin(name, "other")  # is under way
    state = found.state(name)
    assert state is not None and state.error is None
    await end.wait()
    state = found.state(name)
    assert state is not None and isinstance(state.error, Temporary) and state.project == "shop"
    origins[:] = [origin(house.registry.host)]
    end.clear()
    found.begin(name)
    await end.wait()
    assert found.state(name) is None and [error is None for _, error in ended] == [False, True]
    await found.close()
