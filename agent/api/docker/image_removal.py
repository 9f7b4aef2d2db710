"""What stands in the way of an image's removal, in the words of Docker's daemon, and what a removal did, as
rows. Pure. The engine looks again under its lock: this is for what people and clients read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.api.docker.image_names import ShownNames, short
from runtime.errors import Conflict
from runtime.images.reference import is_digest, parse_reference


@dataclass(frozen=True, slots=True)
class User:
    """A container that has the image."""

    id: str
    is_running: bool


def check_removal(
    id: str, names: ShownNames, asked: str, users: Sequence[User], *, by_name: bool, force: bool
) -> None:
    """Conflict when Docker's daemon would say so. asked: the name as it was said."""
    if by_name:
        if not force and _is_single(names) and users:
            raise Conflict(
                "", "", f'conflict: unable to remove repository reference "{asked}" (must force) - container '
                f"{short(users[0].id)} is using its referenced image {short(id)}",
            )  # fmt: skip
        return
    running = next((user for user in users if user.is_running), None)
    if running is not None:
        why = f"image is being used by running container {short(running.id)}"
        raise _unable(id, "cannot be forced", why)
    if not force and names.tags and not _is_single(names):
        raise _unable(id, "must be forced", "image is referenced in multiple repositories")
    if users and not force:
        why = f"image is being used by stopped container {short(users[0].id)}"
        raise _unable(id, "must be forced", why)
    if users and not names.tags and not names.digests:  # it has no name that could be taken away
        why = f"image is being used by stopped container {short(users[0].id)}"
        raise _unable(id, "cannot be forced", why)


def _is_single(names: ShownNames) -> bool:
    """At most one tag, and all in one repository."""
    repositories = {parse_reference(name).repository for name in (*names.tags, *names.digests)}
    return len(names.tags) <= 1 and len(repositories) == 1


def _unable(id: str, force: str, why: str) -> Conflict:
    return Conflict("", "", f"conflict: unable to delete {short(id)} ({force}) - {why}")


def rows(gone: Iterable[str], before: ShownNames, after: ShownNames) -> list[dict[str, str]]:
    """gone: names, ids and layers that the engine took away. before, after: the image's names, of which a
    digest goes with the last tag of its repository."""
    taken = list(gone)
    untagged = [name for name in taken if not is_digest(name)]
    digests = [name for name in before.digests if name not in after.digests and name not in untagged]
    return [
        *({"Untagged": name} for name in (*untagged, *digests)),
        *({"Deleted": digest} for digest in taken if is_digest(digest)),
    ]
