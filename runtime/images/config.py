"""An image's config (JSON, from outside) to ImageInfo. Pure; trusts nothing in it.

Called by the store for each image it reads. What cannot be used is refused (`Invalid`); what must not
be believed is dropped: an image never sets labels of our own namespace, and an environment entry
without '=' never looks anything up on the host.
"""

from __future__ import annotations

import datetime
import posixpath
import re
from collections.abc import Mapping, Sized
from typing import Any

from runtime.errors import Invalid
from runtime.images.documents import MAX_LAYERS, parse_json
from runtime.images.info import ImageInfo
from runtime.images.reference import is_digest

RESERVED_LABELS = "setpoint."
MAX_ITEMS = 10_000
MAX_VOLUMES = 128  # each is a directory, a record and a mount of every container
MAX_TEXT = 1024 * 1024  # MAX_ARG_STRLEN is 128 KiB; environment and labels together stay far below this
_DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_MAX_NANOSECONDS = 2**63 - 1
_RESERVED_TARGETS = ("/", "/proc", "/sys", "/dev")
_VARIABLE = re.compile(r"[^=\0]+=[^\0]*", re.DOTALL)
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")


def parse_config(data: bytes, image_id: str) -> ImageInfo:
    """What the config says. What the store knows (names, sizes, the manifest's digest) is still empty."""
    what = image_id[:19]
    document = parse_json(data, what)
    config = _object(document.get("config"), "config", what)
    return ImageInfo(
        id=image_id,
        names=(),
        size_bytes=0,
        created_at=parse_time(document.get("created")),
        architecture=_text(document.get("architecture"), "architecture", what),
        os=_text(document.get("os"), "os", what) or "linux",
        entrypoint=_strings(config.get("Entrypoint"), "Entrypoint", what),
        command=_strings(config.get("Cmd"), "Cmd", what),
        environment=_environment(config.get("Env"), what),
        working_dir=_working_dir(config.get("WorkingDir"), what),
        user=_text(config.get("User"), "User", what),
        volumes=_volumes(config.get("Volumes"), what),
        exposed_ports=_ports(config.get("ExposedPorts"), what),
        labels=_labels(config.get("Labels"), what),
        stop_signal=_text(config.get("StopSignal"), "StopSignal", what),
        healthcheck=_healthcheck(config.get("Healthcheck"), what),
        layers=parse_diff_ids(document, what),
    )


def parse_diff_ids(document: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """The layers' digests unpacked, lowest first."""
    rootfs = _object(document.get("rootfs"), "rootfs", what)
    diff_ids = _strings(rootfs.get("diff_ids"), "rootfs.diff_ids", what)
    if len(diff_ids) > MAX_LAYERS or not all(map(is_digest, diff_ids)):
        raise _invalid(what, f"rootfs.diff_ids are not at most {MAX_LAYERS} digests")
    return diff_ids


def parse_time(value: object) -> float:
    """RFC 3339 to Unix seconds; 0.0 for what is no time, which changes nothing that matters."""
    if not isinstance(value, str) or len(value) > 64:
        return 0.0
    text = re.sub(r"(\.[0-9]{6})[0-9]*", r"\1", value)  # nanoseconds are more than datetime keeps
    try:
        moment = datetime.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _environment(value: object, what: str) -> tuple[str, ...]:
    entries = _strings(value, "Env", what)
    for entry in entries:
        if not _VARIABLE.fullmatch(entry):
            raise _invalid(what, f"Env entry {entry[:100]!r} is not NAME=VALUE")
    return entries


def _working_dir(value: object, what: str) -> str:
    path = _text(value, "WorkingDir", what)
    return posixpath.normpath("/" + path.lstrip("/")) if path else ""


def _volumes(value: object, what: str) -> tuple[str, ...]:
    """Targets inside the container: absolute, no '..', and not where the kernel's own files are."""
    paths: list[str] = []
    for path in _object(value, "Volumes", what):
        if len(paths) == MAX_VOLUMES:
            raise _invalid(what, f"it declares more than {MAX_VOLUMES} volumes")
        clean = posixpath.normpath("/" + path.lstrip("/"))
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path or len(path) > 4095:
            raise _invalid(what, f"volume {path[:100]!r} is not an absolute path without '..'")
        if clean in _RESERVED_TARGETS or clean.startswith(("/proc/", "/sys/", "/dev/")):
            raise _invalid(what, f"volume {path[:100]!r} would cover the container's own {clean[:20]!r}")
        paths.append(clean)
    return tuple(paths)


def _ports(value: object, what: str) -> tuple[str, ...]:
    """`80/tcp`; what is no port is dropped, because exposing a port does nothing by itself."""
    ports = []
    for text in _object(value, "ExposedPorts", what):
        match = _PORT.fullmatch(text)
        if match and all(0 < int(port) < 65536 for port in match.group(1, 2) if port):
            ports.append(text if match[3] else f"{text}/tcp")
    return tuple(ports)


def _labels(value: object, what: str) -> dict[str, str]:
    labels = {key: _text(text, "Labels", what) for key, text in _object(value, "Labels", what).items()}
    return {key: text for key, text in labels.items() if not key.startswith(RESERVED_LABELS)}


def _healthcheck(value: object, what: str) -> dict[str, object] | None:
    """Docker's own keys; durations are nanoseconds. None when the image has none."""
    fields = _object(value, "Healthcheck", what)
    test = _strings(fields.get("Test"), "Healthcheck.Test", what)
    if not fields or not test:
        return None
    if test[0] not in ("NONE", "CMD", "CMD-SHELL") or (test[0] == "CMD-SHELL" and len(test) != 2):
        raise _invalid(
            what, f"Healthcheck.Test starts with {test[0][:40]!r}, not with NONE, CMD or CMD-SHELL"
        )
    numbers = {key: _count(fields.get(key), f"Healthcheck.{key}", what) for key in (*_DURATIONS, "Retries")}
    return {"Test": test, **{key: number for key, number in numbers.items() if number}}


def _count(value: object, key: str, what: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NANOSECONDS:
        raise _invalid(what, f"{key} is not a whole number that is not negative")
    return value


def _strings(value: object, key: str, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _invalid(what, f"{key} is not a list of strings")
    _check_count(value, key, what)
    return tuple(_text(item, key, what) for item in value)


def _text(value: object, key: str, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value or len(value) > MAX_TEXT or not _is_unicode(value):
        raise _invalid(what, f"{key} is not text, or has a NUL character")
    return value


def _object(value: object, key: str, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(map(_is_unicode, value)):
        raise _invalid(what, f"{key} is not an object")
    _check_count(value, key, what)
    return value


def _check_count(value: Sized, key: str, what: str) -> None:
    """EXPOSE 1-65535 makes as many entries, and each is carried along wherever the image is."""
    if len(value) > MAX_ITEMS:
        raise _invalid(what, f"{key} has {len(value)} entries, and {MAX_ITEMS} are the most")


def _is_unicode(text: str) -> bool:
    """JSON may hold half of a surrogate pair, which no later encode() would take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(what: str, reason: str) -> Invalid:
    return Invalid("read image config", what, reason, "the image is broken: build it anew")
