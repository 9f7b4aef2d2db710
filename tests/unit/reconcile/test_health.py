"""Which health check counts: the manifest's, else the image's; whatever an image says is bounded."""

from __future__ import annotations

import pytest

from agent.manifest.spec import ContainerSpec, Healthcheck
from agent.reconcile.health import healthcheck_of
from runtime.model import ImageInfo

SECOND = 1_000_000_000


def spec(check: dict[str, object] | None) -> ContainerSpec:
    return ContainerSpec.model_validate(
        {"image": "a", **({"healthcheck": check} if check is not None else {})}
    )


def image(check: object) -> ImageInfo:
    return ImageInfo("sha256:a", ("a",), 1, 0.0, "amd64", "linux", healthcheck=check)  # type: ignore[arg-type]


WELL = {"Test": ["CMD", "check"], "Interval": 5 * SECOND, "Retries": 7, "StartPeriod": 2 * SECOND}


def test_without_any_there_is_nothing_to_ask() -> None:
    assert healthcheck_of(spec(None), None) is None
    assert healthcheck_of(spec(None), image(None)) is None


def test_the_manifest_goes_before_the_image() -> None:
    found = healthcheck_of(spec({"tcp": ":80"}), image(WELL))
    assert found is not None and found.tcp == ":80" and not found.test


@pytest.mark.parametrize("check", [{"disable": True}, {"test": ["NONE"]}, {"disable": True, "tcp": ":80"}])
def test_switched_off(check: dict[str, object]) -> None:
    assert healthcheck_of(spec(check), image(WELL)) is None


def test_the_images_own() -> None:
    assert healthcheck_of(spec(None), image(WELL)) == Healthcheck(
        test=("CMD", "check"), interval=5.0, timeout=30.0, retries=7, start_period=2.0, start_interval=5.0
    )


def test_the_images_test_with_the_manifests_times() -> None:
    found = healthcheck_of(spec({"interval": 9}), image(WELL))
    assert found is not None and (found.test, found.interval, found.retries) == (("CMD", "check"), 9.0, 3)
    assert healthcheck_of(spec({"interval": 9}), image(None)) is None


@pytest.mark.parametrize(
    "check",
    [{}, {"Test": "CMD"}, {"Test": []}, {"Test": ["CMD"]}, {"Test": ["CMD", 1]}, {"Test": ["NONE", "x"]}],
)
def test_what_is_no_check(check: object) -> None:
    assert healthcheck_of(spec(None), image(check)) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(-1, 30.0), (0, 30.0), (True, 30.0), ("x", 30.0), (1, 0.01), (10**30, 86400.0), (float("nan"), 30.0)],
)
def test_hostile_times(value: object, seconds: float) -> None:
    found = healthcheck_of(
        spec(None), image({"Test": ["CMD-SHELL", "true"], "Interval": value, "Retries": value})
    )
    assert found is not None and found.interval == seconds and 1 <= found.retries <= 1000
