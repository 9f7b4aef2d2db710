"""What is asked of a build, and what it comes to. Pure values; plan.py makes the one of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.lines import Remark
from runtime.images.dockerfile.steps import Base, FromImage, Step

Bases = Mapping[FromImage, ImageConfig]


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """target: a stage's name or index, "" for the last. platform, build_platform: `linux/amd64`.

    arguments: of --build-arg. labels: put on the target after all of its own. network: of RUN steps
    that name none: "default", "none" or "host"; a step may ask for "host" only when it is "host" itself.
    contexts: what goes before stages and images of its name: an image's reference, "" for a directory.
    """

    platform: str
    build_platform: str
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    contexts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """needs: indexes of the stages that it builds on or takes files of, ascending; each comes earlier in
    the plan. initial, config: what it begins and ends with."""

    index: int
    name: str
    base: Base
    platform: str
    needs: tuple[int, ...]
    initial: ImageConfig
    steps: tuple[Step, ...]
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """stages: only those that the target needs, each after all it needs; the target is the last.

    images: everything from outside: bases, COPY --from, RUN --mount from. unused_arguments: given, and
    asked for by no ARG. remarks: of the Dockerfile and of the plan.
    """

    stages: tuple[StagePlan, ...]
    images: tuple[FromImage, ...]
    unused_arguments: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
