"""Short ways to a Dockerfile, its plan and its mistakes."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.images.dockerfile.build_plan import BuildPlan, BuildRequest, StagePlan
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.instructions import Instruction
from runtime.images.dockerfile.plan import make_plan, missing_bases
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.images.dockerfile.stages import read_dockerfile
from runtime.images.dockerfile.steps import FromImage, Step

AMD = "linux/amd64"


def instructions_of(body: str, header: str = "FROM scratch\n") -> tuple[Instruction, ...]:
    return read_dockerfile((header + body).encode()).stages[0].instructions


def one(body: str) -> Instruction:
    (found,) = instructions_of(body)
    return found


def plan_of(
    text: str, bases: Mapping[str, ImageConfig] | None = None, platform: str = AMD, **asked: object
) -> BuildPlan:
    """bases: by reference as written; those that are not named are empty."""
    dockerfile = read_dockerfile(text.encode())
    request = BuildRequest(platform, AMD, **asked)  # type: ignore[arg-type]
    configs = {f"docker.io/library/{name}:latest": config for name, config in (bases or {}).items()}
    known: dict[FromImage, ImageConfig] = {}
    while missing := missing_bases(dockerfile, request, known):
        known |= {base: configs.get(base.reference, ImageConfig()) for base in missing}
    return make_plan(dockerfile, request, known)


def target_of(text: str, bases: Mapping[str, ImageConfig] | None = None, **asked: object) -> StagePlan:
    return plan_of(text, bases, **asked).stages[-1]


def steps_of(body: str, **asked: object) -> tuple[Step, ...]:
    return target_of("FROM scratch\n" + body, **asked).steps


def mistakes_of(text: str, **asked: object) -> list[str]:
    """`line:column text (hint)`, of reading or of planning."""
    try:
        plan_of(text, **asked)
    except DockerfileInvalid as error:
        return [problem.tell("D") for problem in error.problems]
    return []
