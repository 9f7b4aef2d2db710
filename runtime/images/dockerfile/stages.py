"""A Dockerfile as its stages. Pure values.

Dockerfile ─ directives, global arguments (ARG before the first FROM), stages in order of the file
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.images.dockerfile.instructions import Arg, Instruction, Place


@dataclass(frozen=True, slots=True)
class Directives:
    """The parser directives, `# name=value` at the top. syntax and check are kept as they stand and do
    nothing: no frontend from outside is ever run."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM up to the next. base, platform: as written. name: lower case, "" without AS."""

    index: int
    name: str
    base: str
    platform: str
    place: Place
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that works and should not be so. line counts from 1."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """name: of the file, for messages."""

    name: str
    directives: Directives
    global_arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    remarks: tuple[Remark, ...] = ()
