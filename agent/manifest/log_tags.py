"""The tag of a log, as manifests and the Docker Engine API say it: a text with fields in it. Pure."""

from __future__ import annotations

import re

from runtime.errors import Invalid

FIELD = re.compile(r"\{\{\s*(.*?)\s*\}\}")
FIELDS = (".ID", ".FullID", ".Name", ".ImageName", ".ImageID", ".ImageFullID", ".DaemonName")


def check_tag(text: str) -> None:
    """Invalid for a form that asks for more than fields."""
    for field in FIELD.findall(text):
        if field not in FIELDS:
            raise Invalid("", "", f"log opt tag: {field[:40]!r} is no field", ", ".join(FIELDS))
    if "{{" in FIELD.sub("", text):
        raise Invalid("", "", f"log opt tag: {text[:40]!r} has a field without an end", "{{.Name}}")
