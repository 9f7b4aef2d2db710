"""Instructions of a Dockerfile that change an image's config, on their own: `--change` of commit and import.

    changed(document, ["CMD sh", "ENV A=1"]) ─> the `config` object of the new image

Read by the Dockerfile's own reader, so that each means what it means there. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runtime.errors import Invalid
from runtime.images.dockerfile import instructions
from runtime.images.dockerfile.build_plan import BuildRequest
from runtime.images.dockerfile.config_document import from_document, to_document
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.instructions import Place
from runtime.images.dockerfile.plan import make_plan, missing_bases
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.images.dockerfile.stages import Dockerfile, read_dockerfile

_ALLOWED = (
    instructions.Cmd, instructions.Entrypoint, instructions.Env, instructions.Expose, instructions.Label,
    instructions.User, instructions.Volume, instructions.Workdir, instructions.StopSignal,
    instructions.Healthcheck, instructions.OnBuild,
)  # fmt: skip
_WORDS = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR"
_BASE = b"FROM base\n"
_PLATFORM = "linux/amd64"  # of no meaning: nothing is built


def changed(document: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """document: the config document that they begin from, {} for an image of nothing. What it has that no
    instruction is about stays. `Invalid` names the instruction."""
    inner = dict(document.get("config") or {})
    if not changes:
        return inner
    for change in changes:
        if "\n" in change or not change.strip() or change.lstrip()[0] == "#" or change.rstrip()[-1] == "\\":
            raise _invalid(change, "is not one instruction on one line")
    before = from_document(document, "the image")
    after = _apply(before, changes)
    known = to_document(replace(before, author=""))
    kept = {key: value for key, value in inner.items() if key not in known}
    return {**kept, **to_document(after)}


def _apply(before: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    try:
        read = read_dockerfile(_BASE + "\n".join(changes).encode("utf-8", "surrogateescape"))
        for place in (*(stage.place for stage in read.stages[1:]), *_foreign(read)):
            raise _invalid(changes[place.marks[0][1] - 2], "is no change of a config")
        request = BuildRequest(_PLATFORM, _PLATFORM)
        bases = {base: replace(before, on_build=()) for base in missing_bases(read, request, {})}
        after = make_plan(read, request, bases).stages[-1].config
    except DockerfileInvalid as error:
        first = error.problems[0]
        change = changes[first.line - 2] if first.line >= 2 else ""
        raise _invalid(change, first.text, first.hint) from None
    return replace(after, on_build=(*before.on_build, *after.on_build), author="")


def _foreign(read: Dockerfile) -> Iterator[Place]:
    for stage in read.stages:
        for instruction in stage.instructions:
            if not isinstance(instruction, _ALLOWED):
                yield instruction.place


def _invalid(change: str, reason: str, hint: str = "") -> Invalid:
    return Invalid("change config", repr(change[:200]), reason, hint or f"what changes it: {_WORDS}")
