"""Volumes of the Docker Engine API: what is asked for, and how they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.docker.volume_view import (
    ANONYMOUS,
    check_options,
    fits,
    is_anonymous,
    spec_of,
    volume,
)
from agent.manifest.spec import VolumeSpec
from runtime.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from runtime.model import VolumeState

GENERATED = "e" * 64


def test_what_is_asked_for() -> None:
    assert spec_of({"Name": "data"}, GENERATED) == VolumeSpec(name="data")
    assert spec_of({"Name": "data"}, GENERATED).model_fields_set == {"name"}
    full = {
        "Name": "data",
        "Driver": "local",
        "DriverOpts": {},
        "Labels": {"a": "b"},
        "ClusterVolumeSpec": None,
    }
    assert spec_of(full, GENERATED) == VolumeSpec(name="data", labels={"a": "b"})
    assert spec_of({}, GENERATED) == VolumeSpec(name=GENERATED, labels={ANONYMOUS: ""})
    assert spec_of({}, GENERATED).keep


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"Name": "a"}, Invalid),
        ({"Name": "../x"}, Invalid),
        ({"Name": "/x"}, Invalid),
        ({"Name": "a\0b"}, Invalid),
        ({"Name": "a" * 256}, Invalid),
        ({"Name": "ab", "Bogus": 1}, Invalid),
        ({"Name": "ab", "Labels": {"setpoint.key": "x"}}, Invalid),
        ({"Name": "ab", "Labels": {"a": "b" * 200_000}}, Invalid),
        ({"Name": "ab", "Driver": "rexray"}, NotFound),
        ({"Name": "ab", "DriverOpts": {"x": "y"}}, Invalid),
        ({"Name": "ab", "DriverOpts": {"device": "/x"}}, Invalid),
        ({"Name": "ab", "DriverOpts": {"type": "nfs", "device": ":/x", "o": "addr=192.0.2.1"}}, Unsupported),
        ({"Name": "ab", "ClusterVolumeSpec": {"Group": "x"}}, Temporary),
    ],
)
def test_what_is_refused(body: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        spec_of(body, GENERATED)


def test_a_volume_as_it_is_shown() -> None:
    state = VolumeState("data", {"setpoint.key": "@api/volume/data", "a": "b"}, "/v/data/_data", 1.9)
    assert volume(state) == {
        "CreatedAt": "1970-01-01T00:00:01Z", "Driver": "local", "Labels": {"a": "b"},
        "Mountpoint": "/v/data/_data", "Name": "data", "Options": {}, "Scope": "local",
    }  # fmt: skip
    assert not is_anonymous(state)


def test_what_a_container_made_for_itself() -> None:
    assert is_anonymous(VolumeState("e" * 64, {}, "")) and not is_anonymous(VolumeState("data", {}, ""))
    assert not is_anonymous(VolumeState("e" * 64, {"a": "b"}, ""))
    assert is_anonymous(VolumeState("data", {ANONYMOUS: ""}, ""))


def test_filters() -> None:
    state = VolumeState("data", {"a": "b"}, "")
    assert fits(state, {"name": ("at",), "driver": ("local",), "label": ("a",)}, is_used=True)
    assert not fits(state, {"driver": ("nfs",)}, is_used=True)
    assert fits(state, {"dangling": ("true",)}, is_used=False)
    assert not fits(state, {"dangling": ("true",)}, is_used=True)
    assert not fits(state, {"dangling": ("false",)}, is_used=False)
    assert not fits(state, {"label!": ("a",)}, is_used=False) and fits(
        state, {"label!": ("c",)}, is_used=False
    )


BIND = {"type": "none", "o": "bind", "device": "/srv"}


def test_options_are_kept_and_shown() -> None:
    assert spec_of({"Name": "data", "DriverOpts": BIND}, GENERATED) == VolumeSpec(
        name="data", driver_opts=BIND
    )
    assert spec_of({"DriverOpts": BIND}, GENERATED).driver_opts == BIND
    assert volume(VolumeState("data", {}, "", options=BIND))["Options"] == BIND
    with pytest.raises(Invalid, match='create data: invalid option: "x"'):
        spec_of({"Name": "data", "DriverOpts": {"x": "y"}}, GENERATED)


def test_one_that_is_there_is_asked_for_with_its_own_options_or_none() -> None:
    state = VolumeState("data", {}, "", options=BIND)
    check_options(state, {})
    check_options(state, dict(BIND))
    with pytest.raises(Conflict, match="has other options"):
        check_options(state, BIND | {"device": "/etc"})
    with pytest.raises(Conflict, match="has other options"):
        check_options(VolumeState("data", {}, ""), BIND)
