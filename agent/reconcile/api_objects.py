"""What the Docker Engine API wants is in one project of its own, whose name no manifest can have. Pure.

A container's key is named by the first digits of its id, since its name may change while it lives; a
network's or a volume's by its name. In its spec, names of other projects' objects are whole keys.
"""

from __future__ import annotations

from store.records import Key

API_PROJECT = "@api"
API_OWNER = "api"
KEY_DIGITS = 12


def named_key(project: str, kind: str, name: str) -> Key:
    """What a spec of that project calls `name`: a whole key, or one of its own project."""
    if project == API_PROJECT and name.count("/") == 2:
        return Key.parse(name)
    return Key(project, kind, name)


def is_api(key: Key) -> bool:
    return key.project == API_PROJECT
