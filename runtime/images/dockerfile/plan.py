"""Dockerfile + what is asked for + configs of the base images -> BuildPlan. Pure.

A build asks twice: for the base images whose configs the plan must know, until there are no more
(an ONBUILD of one may need another), and then for the plan.

    while missing := missing_bases(dockerfile, request, bases):
        bases |= {base: from_document(the config of base) for base in missing}
    plan = make_plan(dockerfile, request, bases)
"""

from __future__ import annotations

from dataclasses import replace

from runtime.images.dockerfile.build_plan import Bases, BuildPlan, BuildRequest, StagePlan
from runtime.images.dockerfile.expand_instruction import Budget
from runtime.images.dockerfile.graph import Graph, global_variables, read_graph
from runtime.images.dockerfile.image_config import merged
from runtime.images.dockerfile.problems import DockerfileInvalid, Problem
from runtime.images.dockerfile.stage_plan import PROXIES, Context, Scope, first_scope, plan_stage
from runtime.images.dockerfile.stages import Dockerfile
from runtime.images.dockerfile.steps import FromImage, FromStage, Scratch

__all__ = ["Bases", "BuildPlan", "BuildRequest", "StagePlan", "make_plan", "missing_bases"]

_ALWAYS_USED = frozenset({"SOURCE_DATE_EPOCH"})


def missing_bases(dockerfile: Dockerfile, request: BuildRequest, bases: Bases) -> tuple[FromImage, ...]:
    """Base images that the plan needs and bases lacks. `DockerfileInvalid` for what is wrong already."""
    graph, _ = _graph(dockerfile, request, bases)
    return tuple(graph.missing)


def make_plan(dockerfile: Dockerfile, request: BuildRequest, bases: Bases) -> BuildPlan:
    """`DockerfileInvalid` with every mistake of the needed stages. bases: all that missing_bases named."""
    graph, context = _graph(dockerfile, request, bases)
    if graph.missing:
        raise KeyError(f"the config of {graph.missing[0].reference} is not given")
    scopes: dict[int, Scope] = {}
    stages: list[StagePlan] = []
    for node in graph.nodes:
        scope = _begin(node.base, scopes, bases)
        stages.append(plan_stage(node, scope, context))
        scopes[node.stage.index] = scope
    if context.problems:
        raise DockerfileInvalid(dockerfile.name, context.problems)
    stages[-1] = _labelled(stages[-1], request)
    remarks = [*dockerfile.remarks, *graph.remarks, *context.remarks]
    return BuildPlan(
        tuple(stages),
        _images(graph),
        _unused(dockerfile, request, context),
        tuple(sorted(set(remarks), key=lambda remark: (remark.line, remark.text))),
    )


def _graph(dockerfile: Dockerfile, request: BuildRequest, bases: Bases) -> tuple[Graph, Context]:
    budget = Budget()
    problems: list[Problem] = []
    variables = global_variables(dockerfile, request, budget, problems)
    graph = read_graph(dockerfile, request, bases, variables, budget)
    problems += graph.problems
    if problems:
        raise DockerfileInvalid(dockerfile.name, problems)
    return graph, Context(request, variables, dockerfile.directives.escape, budget)


def _begin(base: Scratch | FromStage | FromImage, scopes: dict[int, Scope], bases: Bases) -> Scope:
    if isinstance(base, FromStage):
        return scopes[base.index].inherited()
    return first_scope(bases[base] if isinstance(base, FromImage) else None)


def _labelled(stage: StagePlan, request: BuildRequest) -> StagePlan:
    if not request.labels:
        return stage
    # Whatever order they are asked for in, which is another each time with compose: one build, one image.
    labels = merged(stage.config.labels, sorted(request.labels.items()))
    return replace(stage, config=replace(stage.config, labels=labels))


def _images(graph: Graph) -> tuple[FromImage, ...]:
    found: dict[FromImage, None] = {}
    for node in graph.nodes:
        for origin in (node.base, *node.origins.values()):
            if isinstance(origin, FromImage):
                found[origin] = None
    return tuple(found)


def _unused(dockerfile: Dockerfile, request: BuildRequest, context: Context) -> tuple[str, ...]:
    """Only what no ARG of the whole file names: a stage that was left out may be its user."""
    asked = set(context.used) | _ALWAYS_USED
    for arg in dockerfile.global_arguments:
        asked.update(argument.name for argument in arg.arguments)
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            asked.update(argument.name for argument in getattr(instruction, "arguments", ()))
    return tuple(
        sorted(name for name in request.arguments if name not in asked and name.upper() not in PROXIES)
    )
