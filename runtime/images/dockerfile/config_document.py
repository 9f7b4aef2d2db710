"""An image's config as JSON has it, to ImageConfig and back. Pure; trusts nothing in a document.

from_document takes the whole config blob of a base image; what a build cannot use in it is refused.
to_document makes the `config` object; architecture, history and layers are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.errors import Invalid
from runtime.images.dockerfile import limits
from runtime.images.dockerfile.image_config import HealthConfig, ImageConfig

_DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_MOST_NANOSECONDS = 2**63 - 1


def from_document(document: Mapping[str, Any], what: str) -> ImageConfig:
    """what: the image, for messages."""
    config = _object(document.get("config"), "config", what)
    environment = [entry.partition("=") for entry in _strings(config, "Env", what) or ()]
    return ImageConfig(
        environment=tuple({name: value for name, equals, value in environment if name and equals}.items()),
        entrypoint=_strings(config, "Entrypoint", what),
        command=_strings(config, "Cmd", what),
        working_dir=_text(config, "WorkingDir", what),
        user=_text(config, "User", what),
        ports=_names(config, "ExposedPorts", what),
        volumes=_names(config, "Volumes", what),
        labels=_labels(config, what),
        stop_signal=_text(config, "StopSignal", what),
        healthcheck=_health(config, what),
        shell=_strings(config, "Shell", what) or (),
        on_build=_strings(config, "OnBuild", what) or (),
        author=_text(document, "author", what),
    )


def to_document(config: ImageConfig) -> dict[str, Any]:
    """Docker's keys, those without a value left out, in a fixed order."""
    found: dict[str, Any] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in sorted(config.ports)},
        "Env": [f"{name}={value}" for name, value in config.environment],
        "Entrypoint": _listed(config.entrypoint),
        "Cmd": _listed(config.command),
        "Healthcheck": _health_document(config.healthcheck),
        "Volumes": {path: {} for path in sorted(config.volumes)},
        "WorkingDir": config.working_dir,
        "Labels": dict(sorted(config.labels)),
        "StopSignal": config.stop_signal,
        "Shell": list(config.shell),
        "OnBuild": list(config.on_build),
    }
    may_be_empty = ("Cmd", "Entrypoint")
    return {
        key: value for key, value in found.items() if value or (key in may_be_empty and value is not None)
    }


def _listed(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _health_document(health: HealthConfig | None) -> dict[str, Any] | None:
    if health is None:
        return None
    durations = (health.interval, health.timeout, health.start_period, health.start_interval)
    numbers = {**dict(zip(_DURATIONS, durations, strict=True)), "Retries": health.retries}
    return {"Test": list(health.test), **{key: number for key, number in numbers.items() if number}}


def _health(config: Mapping[str, Any], what: str) -> HealthConfig | None:
    fields = _object(config.get("Healthcheck"), "Healthcheck", what)
    test = _strings(fields, "Test", what)
    if not test:
        return None
    numbers = [_count(fields, key, what) for key in (*_DURATIONS, "Retries")]
    return HealthConfig(test, *numbers)


def _labels(config: Mapping[str, Any], what: str) -> tuple[tuple[str, str], ...]:
    labels = _object(config.get("Labels"), "Labels", what)
    return tuple((name, _text(labels, name, what)) for name in labels)


def _names(config: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    return tuple(_object(config.get(key), key, what))


def _strings(config: Mapping[str, Any], key: str, what: str) -> tuple[str, ...] | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > limits.WORDS:
        raise _invalid(what, f"{key} is not a list of strings")
    return tuple(_checked(one, key, what) for one in value)


def _text(config: Mapping[str, Any], key: str, what: str) -> str:
    value = config.get(key)
    return "" if value is None else _checked(value, key, what)


def _count(config: Mapping[str, Any], key: str, what: str) -> int:
    value = config.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_NANOSECONDS:
        raise _invalid(what, f"{key} is not a whole number that is not negative")
    return value


def _object(value: object, key: str, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > limits.WORDS:
        raise _invalid(what, f"{key} is not an object")
    return {_checked(name, key, what): one for name, one in value.items()}


def _checked(value: object, key: str, what: str) -> str:
    """Text that a process could be given, and that JSON could hold again."""
    if not isinstance(value, str) or len(value) > limits.VALUE_CHARACTERS or "\0" in value:
        raise _invalid(what, f"{key} is not text, is endless, or has a NUL character")
    if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
        raise _invalid(what, f"{key} has half of a character")
    return value


def _invalid(what: str, reason: str) -> Invalid:
    return Invalid("read the config of a base image", what, reason, "the image is broken: build it anew")
