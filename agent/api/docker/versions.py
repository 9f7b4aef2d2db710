"""Which versions of the Docker Engine API are served, and the headers that every answer bears. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from runtime.errors import Invalid

NEWEST = "1.52"
OLDEST = "1.24"
_HEADERS = {
    is_experimental: {
        "Api-Version": NEWEST, "Ostype": "linux", "Server": "Setpoint (linux)",
        "Docker-Experimental": str(is_experimental).lower(),
    }
    for is_experimental in (False, True)
}  # fmt: skip
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")


def headers(*, is_experimental: bool) -> Mapping[str, str]:
    """is_experimental: the docker CLI has its `checkpoint` commands only where this is said."""
    return _HEADERS[is_experimental]


def parsed(text: str) -> tuple[int, int]:
    """ "1.43" as (1, 43). Invalid for what is none."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise Invalid("read version", text[:20], "not a version of the API", f"such as v{NEWEST}")
    return int(found[1]), int(found[2])


@functools.lru_cache(maxsize=64)
def check(text: str) -> None:
    """Refuse what is not served, in the daemon's words: clients look for them when they negotiate."""
    version = parsed(text)
    if version > parsed(NEWEST):
        raise Invalid("", "", f"client version {text} is too new. Maximum supported API version is {NEWEST}")
    if version < parsed(OLDEST):
        raise Invalid(
            "", "",
            f"client version {text} is too old. Minimum supported API version is {OLDEST}, "
            "please upgrade your client to a newer version",
        )  # fmt: skip
