"""Names of containers: what may be one, and one for who gives none. Pure but for chance."""

from __future__ import annotations

import re
import secrets
from collections.abc import Container

from runtime.errors import Invalid

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
MAX_NAME = 128
_QUALITY_WORDS = """
amber bold brave brisk calm clear clever cosmic crisp daring deep eager early even fair fine fleet fond free
fresh gentle glad golden grand happy hardy honest ideal jolly keen kind lively loyal lucid lucky merry mild
modest neat noble open patient plain polite prime proud quick quiet rapid ready rosy round sharp silent smart
snug solid steady still sunny swift tidy warm wise witty
"""
_THING_WORDS = """
anchor arrow atlas beacon birch bridge canyon cedar cliff cloud comet coral crane delta dune ember falcon fern
field fjord forest garden glacier grove harbor heron island juniper kettle lagoon lantern larch ledge lotus
maple meadow mesa mill moss nest oak orchard otter pebble pine pond prairie quartz raven reef ridge river
robin sail shore sparrow spruce stone summit thicket tide tower valley willow wren
"""
_QUALITIES, _THINGS = _QUALITY_WORDS.split(), _THING_WORDS.split()


def checked(name: str) -> str:
    """A name that a client gives, without its leading slash. Invalid in the daemon's words."""
    bare = name.removeprefix("/")
    if len(bare) < 2 or len(bare) > MAX_NAME or not _NAME.fullmatch(bare):
        raise Invalid(
            "", "",
            f"Invalid container name ({name[:60]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, "
            f"from 2 to {MAX_NAME} of them",
        )  # fmt: skip
    return bare


def free_name(taken: Container[str]) -> str:
    """One that nobody has: quality_thing, with a number where chance strikes twice."""
    while True:
        name = f"{secrets.choice(_QUALITIES)}_{secrets.choice(_THINGS)}"
        if name not in taken:
            return name
        if (numbered := f"{name}{secrets.randbelow(10**6)}") not in taken:
            return numbered
