"""Which images manifests run: what their names mean runs with what those manifests may have. Reads."""

from __future__ import annotations

import contextlib

from agent.api.context import Context
from agent.reconcile.api_objects import API_OWNER
from runtime.errors import Invalid
from runtime.images.reference import parse_reference


def wanted_names(context: Context) -> dict[str, str]:
    """Canonical names of images that manifests run, and where each is written."""
    found = {}
    for record in context.loop.objects().values():
        reference = record.spec.get("image")
        if record.owner != API_OWNER and isinstance(reference, str) and not record.deleting:
            with contextlib.suppress(Invalid):
                found[parse_reference(reference).canonical] = f"{record.file}:{record.line}"
    return found
