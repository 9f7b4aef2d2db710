"""An image as an object of its own, and `update:` wherever it may stand."""

from __future__ import annotations

import pytest

from agent.manifest.image_lock import FILE, write_lock
from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import read
from agent.manifest.spec import ContainerSpec, ImageSpec, UpdateSpec
from store.records import Key

HEAD = "apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: web, labels: {tier: front}}\nspec: "
A = "sha256:" + "a" * 64


def image(spec: str, **more: bytes) -> Manifest:
    return read(Revision("1", "t", {"web.yaml": (HEAD + spec).encode(), **more}))


def service(text: str) -> Manifest:
    return read(
        Revision("1", "t", {"shop/compose.yaml": f"services: {{web: {{image: x:1, {text}}}}}".encode()})
    )


def test_an_image_and_its_lock() -> None:
    found = image("{image: nginx:1.27, pull_policy: never}", **{FILE: write_lock({"nginx:1.27": A})})
    assert not found.errors and not found.warnings
    assert found.objects[Key("default", "image", "web")].spec == ImageSpec(
        image=f"nginx:1.27@{A}", pull_policy="never", labels={"tier": "front"}
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "spec is missing"), ("{}", "image is missing"), ("{image: 'a b'}", "is not an image's name"),
        ("{image: x, pull_policy: always}", '"always" is not one of'),
        ("{image: x, ports: []}", "unknown field"),
        ("{image: x, update: {window: '1-2'}}", "policy is missing"),
        ("{image: x, update: {policy: minor, window: '1-2'}}", '"1-2" is not a window'),
        ("{image: x, update: often}", '"often" is not one of digest, patch, minor, major'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(spec: str, message: str) -> None:
    assert any(message in str(error) for error in image(spec).errors), image(spec).errors


@pytest.mark.parametrize("name", ["update", "x-setpoint-update"])
def test_update_of_a_service_by_both_its_names(name: str) -> None:
    text = f"{name}: {{policy: minor, window: ['02:00-04:00 Sun'], minimum_age: 24h, prereleases: true}}"
    found = service(text)
    assert not found.errors
    spec = found.objects[Key("shop", "container", "web")].spec
    assert isinstance(spec, ContainerSpec)
    assert spec.update == UpdateSpec(
        policy="minor", window=("02:00-04:00 Sun",), minimum_age=86400.0, prereleases=True
    )


def test_the_policy_alone_and_two_that_disagree() -> None:
    spec = service("update: digest").objects[Key("shop", "container", "web")].spec
    assert isinstance(spec, ContainerSpec) and spec.update == UpdateSpec(policy="digest")
    assert service("update: digest, x-setpoint-update: minor").errors
    assert not service("update: minor, x-setpoint-update: minor").errors
    assert not service("x-other: {anything: goes}").errors
