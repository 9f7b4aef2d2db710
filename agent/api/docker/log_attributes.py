"""What `docker logs --details` shows before each line: what the log options labels, env and tag name. Pure.

The same for all lines of a container, so that nothing of it need lie in its log: it is told by whoever reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus

from agent.manifest.log_tags import FIELD
from agent.manifest.spec import Logging

_ID_DIGITS = 12
MAX_BYTES = 1024  # of all of them: they stand before each line, and a block may have 20,000


def attributes_of(
    options: Logging, labels: Mapping[str, str], environment: Mapping[str, str],
    fields: Mapping[str, str],
) -> str:  # fmt: skip
    """ "name=value,other=value" as the daemon writes them; "" for more than can stand before a line. fields:
    `fields_of`, for the tag."""
    found: dict[str, str] = {}
    for names, values in ((options.labels, labels), (options.env, environment)):
        for name in filter(None, names.split(",")):
            if name in values:
                found[name] = values[name]
    if options.tag:
        found["tag"] = FIELD.sub(lambda field: fields.get(field[1], ""), options.tag)
    said = ",".join(f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found))
    return said if len(said) <= MAX_BYTES else ""


def fields_of(id: str, name: str, image: str, image_name: str) -> dict[str, str]:
    """What a tag may name. image: its id."""
    return {
        ".ID": id[:_ID_DIGITS],
        ".FullID": id,
        ".Name": name,
        ".ImageName": image_name,
        ".ImageID": image.removeprefix("sha256:")[:_ID_DIGITS],
        ".ImageFullID": image,
        ".DaemonName": "docker",
    }
