"""What the API did with images, as events of the agent: `ImagePulled`, and what it was done to."""

from __future__ import annotations

from agent.api.context import Context
from agent.images.keeper import IMAGES

PULLED, PUSHED, TAGGED, UNTAGGED, DELETED = "Pulled", "Pushed", "Tagged", "Untagged", "Deleted"
LOADED, IMPORTED, SAVED, COMMITTED = "Loaded", "Imported", "Saved", "Committed"


def note(context: Context, what: str, id: str, name: str = "") -> None:
    """One event, and whoever uses that image is looked at. name: familiar, "" for all of an image."""
    message = f"{name} {what.lower()}, {id}" if name else f"{id} {what.lower()}"
    context.loop.note(IMAGES, "Normal", f"Image{what}", message)
    if what not in (PUSHED, SAVED):
        context.loop.image_changed(name)
