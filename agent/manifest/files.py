"""Which files of a revision are manifests, and which project each belongs to. Pure, by name only.

shop/compose.yaml          a compose file of project shop
shop/front/web.yaml        an envelope file of project shop (the first directory counts)
web.yaml                   project "default"
.git/x.yaml, shop/.x.yaml  ignored: a name that starts with a dot
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from agent.manifest import image_lock

Form = Literal["compose", "override", "yaml", ""]

COMPOSE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""In the order in which compose looks for them; it takes the first."""
OVERRIDE = re.compile(r"(docker-)?compose\.override\.ya?ml")
COMPOSE = re.compile(r".+\.compose\.ya?ml")
DEFAULT_PROJECT = "default"
PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def form_of(path: str) -> Form:
    """How a file is to be read; "" for one that is no manifest."""
    if any(part.startswith(".") for part in path.split("/")):
        return ""
    name = posixpath.basename(path)
    if not name.endswith((".yaml", ".yml")) or path == image_lock.FILE:
        return ""
    if name in COMPOSE_NAMES or COMPOSE.fullmatch(name):
        return "compose"
    return "override" if OVERRIDE.fullmatch(name) else "yaml"


def project_of(path: str) -> str:
    """The project of a file, from its first directory; "" when that has no letter or digit.

    As compose does with a directory's name: lower case, and without what a project's name cannot hold.
    """
    directory, slash, _ = path.partition("/")
    if not slash:
        return DEFAULT_PROJECT
    return re.sub(r"^[_-]+", "", re.sub(r"[^a-z0-9_-]", "", directory.lower()))[:63]
