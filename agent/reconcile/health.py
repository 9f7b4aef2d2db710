"""Which health check counts for a container: the manifest's, else its image's. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.manifest.spec import ContainerSpec, Healthcheck
from runtime.model import ImageInfo

NANOSECONDS = 1_000_000_000
DOCKER_DEFAULTS = Healthcheck()


def healthcheck_of(spec: ContainerSpec, image: ImageInfo | None) -> Healthcheck | None:
    """None when there is nothing to ask."""
    check = spec.healthcheck
    if check is None:
        return _from_image(image.healthcheck) if image and image.healthcheck else None
    if check.disable or check.test[:1] == ("NONE",):
        return None
    if check.test or check.http or check.tcp:
        return check
    inherited = _from_image(image.healthcheck) if image and image.healthcheck else None
    return None if inherited is None else check.model_copy(update={"test": inherited.test})


def _from_image(data: Mapping[str, object]) -> Healthcheck | None:
    """An image config's Healthcheck: times in nanoseconds, 0 or missing is the default. Hostile."""
    test = data.get("Test")
    if not isinstance(test, list | tuple) or not all(isinstance(word, str) for word in test):
        return None
    if len(test) < 2 or test[0] not in ("CMD", "CMD-SHELL"):
        return None
    retries = data.get("Retries")
    return Healthcheck(
        test=tuple(test),
        interval=_seconds(data.get("Interval"), DOCKER_DEFAULTS.interval),
        timeout=_seconds(data.get("Timeout"), DOCKER_DEFAULTS.timeout),
        start_period=_seconds(data.get("StartPeriod"), DOCKER_DEFAULTS.start_period),
        start_interval=_seconds(data.get("StartInterval"), DOCKER_DEFAULTS.start_interval),
        retries=retries if isinstance(retries, int) and 0 < retries <= 1000 else DOCKER_DEFAULTS.retries,
    )


def _seconds(value: object, default: float) -> float:
    """Never below 10 ms nor over a day, whatever an image says."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        return default
    return min(max(value / NANOSECONDS, 0.01), 86400.0)
