"""An image of a container: its image's layers, and what it changed of them as one more.

    commit_container(root, wanted, report, admit) ─ layer_writer ─> NewLayer ─ compose ─> StagedImage

Called in a worker (`copies.committing`), and by `Images.commit`. The image's own config stays, but for the
changes that are asked for: what a manifest gives one (its command, its environment with what is secret in it)
is no part of the image.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import NotFound
from runtime.images.compose import Composition, compose_in, read_config
from runtime.images.facts import Admit
from runtime.images.index import read_index
from runtime.images.layer_writer import write_layer
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.loader import refuse_moves
from runtime.images.progress import WRITTEN, Progress, Report
from runtime.images.reference import parse_reference
from runtime.images.stage import Stage, StagedImage
from runtime.images.staging_directory import staging_directory


@dataclass(frozen=True, slots=True)
class Commit:
    """What is asked for.

    container: its name, for people. upper: its writable layer. image: the id of its image. name: that the new
    one is to have, "" for none. changes: instructions (`config_changes`). at: Unix seconds. moves_name: when
    another image has it, too. config: fields of an image's config that count before the image's own.
    created_by: what the image's history says, None for words of ours.
    """

    container: str
    upper: str
    image: str
    name: str
    changes: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    at: float = 0.0
    moves_name: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    created_by: str | None = None


def commit_container(root: Path, wanted: Commit, report: Report, admit: Admit) -> StagedImage:
    """`Conflict` when the name is another image's; else as `layer_writer` and `compose`."""
    names = (parse_reference(wanted.name),) if wanted.name else ()
    document = read_config(root, wanted.image)
    config = config_after(document, wanted)
    if not wanted.moves_name:  # looked at again when it gets its name; here before any work
        refuse_moves(read_index(root), [("", names)])
    with staging_directory(root) as directory:
        stage = Stage(root, directory, report, DEFAULT_LIMITS, admit)
        advance = stage.advance("write", wanted.container, 0)
        try:
            layer = write_layer(
                Path(wanted.upper), stage.new_path("blob"), subject=wanted.container, advance=advance
            )
        except FileNotFoundError as error:
            gone = "its files are gone"
            raise NotFound("commit image", wanted.container, gone, "was it removed meanwhile?") from error
        report(Progress(WRITTEN, wanted.container, layer.size_bytes, layer.size_bytes))
        composition = Composition(wanted.image, (layer,), config, names)
        return compose_in(root, stage, composition, moves_names=wanted.moves_name)


def config_after(document: dict[str, Any], wanted: Commit) -> dict[str, Any]:
    """The config document of the new image, but for its layers. Pure."""
    created = datetime.datetime.fromtimestamp(wanted.at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = document.get("history")
    document = {**document, "config": {**(document.get("config") or {}), **wanted.config}}
    made_by = f"setpoint commit {wanted.container}" if wanted.created_by is None else wanted.created_by
    entry = {
        "created": created,
        "created_by": made_by,
        **({"author": wanted.author} if wanted.author else {}),
        **({"comment": wanted.message} if wanted.message else {}),
    }
    return {
        **document,
        "created": created,
        **({"author": wanted.author} if wanted.author else {}),
        "config": _changed(document, wanted.changes),
        "history": [*(known if isinstance(known, list) else []), entry],
    }


def _changed(document: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    if not changes:
        return dict(document["config"])
    from runtime.images.config_changes import changed  # late: it brings the reader of Dockerfiles

    return changed(document, changes)
