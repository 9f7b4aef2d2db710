"""The way from a verb to the running agent, and to the store when there is none. Used by every verb
that asks something.

Knows the socket's and the database's path by itself: importing runtime.layout (dataclasses, hashlib)
would be a third of what a `status` costs. tests/unit/cli holds the two to the same names.
"""

from __future__ import annotations

import os

from agent.client import Client
from agent.wire import AgentDown
from runtime.errors import Invalid, NotFound

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable
    from typing import Any

__all__ = ["AgentDown", "Client", "connect", "database_path", "match_keys", "socket_path"]

HOST = "SETPOINT_HOST"  # as `setpoint --host` sets it: tcp://HOST:PORT or ssh://USER@HOST


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def check_instance(name: str) -> str:
    if not 0 < len(name) <= 31 or name[0] not in _LETTERS or not _LETTERS.issuperset(name.replace("-", "")):
        raise Invalid(
            "use instance", name, "not a valid instance name",
            "lower-case letters, digits and '-', at most 31 characters",
        )  # fmt: skip
    return name


def instance_of(said: str) -> str:
    """The instance that a command line means: as said before or after the verb, else the environment's."""
    return said or os.environ.get("SETPOINT_INSTANCE") or "setpoint"


def socket_path(instance: str) -> str:
    return f"/run/{check_instance(instance)}/setpoint.sock"


def database_path(instance: str) -> str:
    return f"/var/lib/{check_instance(instance)}/setpoint.db"


class Plain:
    """What argparse.Namespace is."""

    def __init__(self, **said: Any) -> None:
        self.__dict__.update(said)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def connect(arguments: Namespace | Plain) -> Client:
    """A client of the instance's agent, or of one on another host. Nothing is sent yet."""
    return Client(os.environ.get(HOST) or socket_path(arguments.instance))


def match_objects(words: Iterable[str], objects: Iterable[dict[str, Any]]) -> list[str]:
    """`match_keys` of objects as `status` has them: those of the Docker API by their own names, too."""
    objects = list(objects)
    names = {str(o["key"]): str(o["name"]) for o in objects if o.get("unmanaged") and o.get("name")}
    return match_keys(words, [str(o["key"]) for o in objects], names)


def match_keys(words: Iterable[str], keys: Iterable[str], names: dict[str, str] | None = None) -> list[str]:
    """The keys that the words name, in the keys' order; NotFound for a word that names none.

    A word is a key (shop/container/web), project/name (shop/web, a container if several kinds have the
    name), a project (shop) or a name that only one object has (web). names: key -> what people call it.
    """
    known = list(keys)
    chosen: set[str] = set()
    for word in words:
        bare = word.strip("/")
        found = _match(bare.lower(), known)
        found += [k for k, name in (names or {}).items() if name == bare.removeprefix("@api/")]
        if not found:
            raise not_found(word, known)
        chosen.update(found)
    return [key for key in known if key in chosen]


def _match(word: str, keys: list[str]) -> list[str]:
    if word in keys:
        return [word]
    parts = word.split("/")
    if len(parts) == 2:
        found = [key for key in keys if key.split("/")[0] == parts[0] and key.split("/")[2] == parts[1]]
        containers = [key for key in found if key.split("/")[1] == "container"]
        return containers or found
    if len(parts) == 1:
        in_project = [key for key in keys if key.split("/")[0] == word]
        named = [key for key in keys if key.split("/")[2] == word]
        containers = [key for key in named if key.split("/")[1] == "container"]
        return in_project or _only(word, containers or named)
    return []


def _only(word: str, keys: list[str]) -> list[str]:
    if len(keys) > 1:
        raise Invalid("find object", word, "several have that name", "say which: " + ", ".join(keys[:8]))
    return keys


def not_found(word: str, keys: list[str]) -> NotFound:
    from agent.cli.output import nearest

    names = [*keys, *("/".join((k.split("/")[0], k.split("/")[2])) for k in keys)]
    return NotFound(
        "find object", word, "there is none", nearest(word, names) or "setpoint get lists what there is"
    )


def last_known(instance: str) -> dict[str, Any] | None:
    """What the store says, in the shape of the agent's status; None when no agent ever ran here."""
    if os.environ.get(HOST):
        return None
    from agent.api.views import stored_view
    from store.reader import read_status

    snapshot = read_status(database_path(instance))
    if snapshot is None:
        return None
    status = stored_view(*snapshot)
    for item in status["objects"]:
        item["containers"] = [_alive(dict(c)) for c in item["containers"]]
    return status


def _alive(container: dict[str, Any]) -> dict[str, Any]:
    """The store's pid may be of a process that ended since: the kernel knows."""
    pid = container.get("pid")
    if pid and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - pathlib is what we do not import
        container["pid"] = None
        container["phase"] = "stopped"
    return container
