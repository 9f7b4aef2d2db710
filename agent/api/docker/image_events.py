"""What the API did with images, as events in the daemon's words."""

from __future__ import annotations

import contextlib

from agent.api.context import Context
from agent.api.docker import events
from runtime.errors import SetpointError
from runtime.images.reference import parse_reference

PULLED, PUSHED, TAGGED, UNTAGGED, DELETED = "pull", "push", "tag", "untag", "delete"
LOADED, IMPORTED, SAVED = "load", "import", "save"


def note(context: Context, action: str, id: str, name: str = "") -> None:
    """One event; whoever uses that image is looked at. name: familiar, of what went to or came from a
    registry and of a new name; else, as the daemon has it, the image is told by its id."""
    labels = _labels(context, id)
    if action in (PULLED, PUSHED):
        repository = parse_reference(name).familiar_repository
        events.note(context, "image", action, name, {**labels, "name": repository})
    else:
        shown_as = name if action == TAGGED and name else id
        events.note(context, "image", action, id, {**labels, "name": shown_as})
    if action not in (PUSHED, SAVED):
        context.loop.image_changed(name)


def note_prune(context: Context, reclaimed_bytes: int) -> None:
    events.note(context, "image", "prune", "", {"reclaimed": str(reclaimed_bytes)})


def _labels(context: Context, id: str) -> dict[str, str]:
    with contextlib.suppress(SetpointError):
        image = context.engine.image(id)
        return dict(image.labels) if image is not None else {}
    return {}
