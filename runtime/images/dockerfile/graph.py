"""Which stages a build needs, what each stands on, and which images from outside. Pure.

    global arguments ─> base and platform of each stage ─> from the target down: what it needs ─> Graph

A stage needs only stages before it, so the graph has no circle and its order is that of the file.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import Invalid
from runtime.images.dockerfile import instructions, limits, mounts
from runtime.images.dockerfile.build_plan import Bases, BuildRequest
from runtime.images.dockerfile.expand_instruction import Budget, Words
from runtime.images.dockerfile.expansion import Rules, expand
from runtime.images.dockerfile.instructions import Instruction, Place
from runtime.images.dockerfile.lines import Remark, Statement, read_lines
from runtime.images.dockerfile.named import find_named, named_base
from runtime.images.dockerfile.platforms import normal_platform, platform_arguments
from runtime.images.dockerfile.problems import Mistake, Problem, did_you_mean, shown
from runtime.images.dockerfile.stages import Dockerfile, Stage
from runtime.images.dockerfile.steps import Base, FromImage, FromStage, Origin, Scratch
from runtime.images.dockerfile.syntax import read_instruction
from runtime.images.reference import parse_reference

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Node:
    """One stage with its names resolved. origins: what each --from and from= of it means.

    triggers: ONBUILD of its base, read; they run first. needs: ascending.
    """

    stage: Stage
    base: Base
    platform: str
    triggers: tuple[Instruction, ...]
    origins: Mapping[str, Origin]
    needs: tuple[int, ...]


@dataclass(slots=True)
class Graph:
    """nodes: the needed stages, ascending; the target is the last. missing: bases whose configs are not
    known yet; nodes are then not complete."""

    nodes: list[Node] = field(default_factory=list)
    missing: list[FromImage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    names: dict[str, list[int]] = field(default_factory=dict)  # of stages, with their indexes
    guesses: int = 0
    triggers: int = 0


def global_variables(
    dockerfile: Dockerfile, request: BuildRequest, budget: Budget, problems: list[Problem]
) -> dict[str, str]:
    """What FROM may name: the platforms, and ARG before the first FROM with the values that were given."""
    last = dockerfile.stages[-1].name
    variables = platform_arguments(request.platform, request.build_platform, request.target or last)
    for arg in dockerfile.global_arguments:
        for argument in arg.arguments:
            value = request.arguments.get(argument.name)
            if value is None and argument.default is not None:
                value = _tried(arg.place.first, problems, argument.default, variables, dockerfile, budget)
            if value is not None:
                variables[argument.name] = value
    return variables


def read_graph(
    dockerfile: Dockerfile, request: BuildRequest, bases: Bases, variables: Mapping[str, str], budget: Budget
) -> Graph:
    graph = Graph()
    for stage in dockerfile.stages:
        graph.names.setdefault(stage.name, []).append(stage.index)
    heads = [_head(dockerfile, request, stage, variables, budget, graph) for stage in dockerfile.stages]
    target = find_target(dockerfile, request.target, graph)
    if graph.problems or target is None:
        return graph
    found: dict[int, Node] = {}
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        base, platform = heads[index]
        found[index] = _node(dockerfile, request, index, base, platform, bases, graph)
        waiting += found[index].needs
    graph.nodes = [found[index] for index in sorted(found)]
    return graph


def find_target(dockerfile: Dockerfile, target: str, graph: Graph) -> int | None:
    if not target:
        return len(dockerfile.stages) - 1
    named = [stage.index for stage in dockerfile.stages if stage.name == target.lower() and stage.name]
    if named:
        return named[-1]
    if target.isascii() and target.isdigit() and len(target) < 6 and int(target) < len(dockerfile.stages):
        return int(target)
    names = [stage.name for stage in dockerfile.stages if stage.name]
    hint = did_you_mean(target.lower(), names) or f"there are {', '.join(names[:20]) or 'no named stages'}"
    graph.problems.append(
        Problem(dockerfile.stages[-1].place.first, 0, f"no stage is named {shown(target)}", hint)
    )
    return None


def _head(
    dockerfile: Dockerfile,
    request: BuildRequest,
    stage: Stage,
    variables: Mapping[str, str],
    budget: Budget,
    graph: Graph,
) -> tuple[Base, str]:
    """Base and platform of one stage, needed or not: a wrong FROM is told wherever it stands."""
    words = Words(variables, dockerfile.directives.escape, budget)
    try:
        platform = normal_platform(words.one(stage.platform)) if stage.platform else request.platform
        name = words.one(stage.base)
        if (named := named_base(request, name, platform)) is not None:
            return named, platform
        return _base(dockerfile, graph, stage, name, words, platform), platform
    except Mistake as mistake:
        graph.problems.append(_problem(stage.place, mistake))
        return Scratch(), request.platform


def _base(dockerfile: Dockerfile, graph: Graph, stage: Stage, name: str, words: Words, platform: str) -> Base:
    if not name:
        unset = ", ".join(words.unset)
        text = f"FROM {shown(stage.base)} is empty" + (f": {unset} has no value" if unset else "")
        raise Mistake(text, "give it a default: ARG NAME=VALUE before the first FROM", stage.base)
    earlier = _earlier(graph, stage.index, name)
    if earlier is not None:
        return FromStage(earlier)
    return Scratch() if name == SCRATCH else _image(name, platform, stage.base, dockerfile, stage.index)


def _image(name: str, platform: str, word: str, dockerfile: Dockerfile, before: int) -> FromImage:
    try:
        return FromImage(parse_reference(name).canonical, platform)
    except Invalid as error:
        names = [stage.name for stage in dockerfile.stages[:before] if stage.name]
        raise Mistake(
            f"{shown(name)}: {error.reason}", did_you_mean(name, names) or error.hint, word
        ) from None


def _earlier(graph: Graph, before: int, name: str) -> int | None:
    """The last stage of that name before this one."""
    indexes = graph.names.get(name.lower(), []) if name else []
    place = bisect.bisect_left(indexes, before)
    return indexes[place - 1] if place else None


def _node(
    dockerfile: Dockerfile,
    request: BuildRequest,
    index: int,
    base: Base,
    platform: str,
    bases: Bases,
    graph: Graph,
) -> Node:
    stage = dockerfile.stages[index]
    triggers = _triggers(dockerfile, stage, base, bases, graph)
    origins: dict[str, Origin] = {}
    for instruction in (*triggers, *stage.instructions):
        try:
            for name in _origin_names(instruction):
                if name not in origins:
                    origins[name] = _origin(dockerfile, request, graph, index, name)
                    _remark_typo(dockerfile, index, name, origins[name], instruction, graph)
        except Mistake as mistake:
            graph.problems.append(_problem(instruction.place, mistake))
    needs = {origin.index for origin in (base, *origins.values()) if isinstance(origin, FromStage)}
    return Node(stage, base, platform, triggers, origins, tuple(sorted(needs)))


def _triggers(
    dockerfile: Dockerfile, stage: Stage, base: Base, bases: Bases, graph: Graph
) -> tuple[Instruction, ...]:
    if isinstance(base, FromStage):
        of_base = dockerfile.stages[base.index].instructions
        expressions = [one.expression for one in of_base if isinstance(one, instructions.OnBuild)]
    elif isinstance(base, FromImage) and base in bases:
        expressions = list(bases[base].on_build)
    else:
        if isinstance(base, FromImage) and base not in graph.missing:
            graph.missing.append(base)
        return ()
    graph.triggers += len(expressions)
    if graph.triggers > limits.INSTRUCTIONS:
        text = f"more than {limits.INSTRUCTIONS} triggers of bases in all"
        graph.problems.append(Problem(stage.place.first, 0, text, "take ONBUILD out of the base"))
        return ()
    found = []
    for expression in expressions:
        try:
            found.append(_trigger(expression, stage, dockerfile.directives.escape))
        except Mistake as mistake:
            text = f"the base's ONBUILD {shown(expression)}: {mistake.text}"
            graph.problems.append(Problem(stage.place.first, 0, text, mistake.hint))
    return tuple(found)


def _trigger(expression: str, stage: Stage, escape: str) -> Instruction:
    """Its place is that of FROM: the text it has is in another file."""
    lines = read_lines(expression)
    if lines.problems:
        raise Mistake(lines.problems[0].text, lines.problems[0].hint)
    if len(lines.statements) != 1:
        raise Mistake("it is not one instruction", "build the base image anew")
    statement = lines.statements[0]
    place = Place(stage.place.first, stage.place.last, statement.place.text)
    instruction = read_instruction(Statement(place, statement.documents), escape)
    if isinstance(instruction, instructions.From | instructions.OnBuild | instructions.Maintainer):
        raise Mistake("it cannot be a trigger", "build the base image anew")
    return instruction


def _origin_names(instruction: Instruction) -> list[str]:
    match instruction:
        case instructions.Transfer(origin=origin) if origin:
            if "$" in origin:
                hint = "name a stage: FROM $IMAGE AS NAME, and write --from=NAME"
                raise Mistake("--from takes no variable", hint, "--from")
            return [origin]
        case instructions.Run(mounts=written):
            return [name for name in map(mounts.origin_name, written) if name]
        case _:
            return []


def _origin(dockerfile: Dockerfile, request: BuildRequest, graph: Graph, index: int, name: str) -> Origin:
    if name.isascii() and name.isdigit() and len(name) < 6:
        return FromStage(_checked_index(int(name), index, len(dockerfile.stages)))
    if (named := find_named(request, name, request.platform)) is not None:
        return named
    earlier = _earlier(graph, index, name)
    if earlier is not None:
        return FromStage(earlier)
    if name.lower() == dockerfile.stages[index].name:
        raise Mistake(f"the stage {name} cannot take from itself", "the files are already there", name)
    if name.lower() in graph.names:
        raise Mistake(f"the stage {name} comes later", "move it before this one", name)
    return Scratch() if name == SCRATCH else _image(name, request.platform, name, dockerfile, index)


def _remark_typo(
    dockerfile: Dockerfile, index: int, name: str, origin: Origin, instruction: Instruction, graph: Graph
) -> None:
    """A stage's name with a letter wrong is an image's name; its pull then fails, and cannot say why."""
    if not isinstance(origin, FromImage) or graph.guesses == limits.GUESSES:
        return
    graph.guesses += 1
    names = [stage.name for stage in dockerfile.stages[:index] if stage.name]
    hint = did_you_mean(name, names)
    if hint:
        graph.remarks.append(
            Remark(instruction.place.first, f"{name} is no stage, so it is an image: {hint}")
        )


def _checked_index(number: int, index: int, count: int) -> int:
    if number < index:
        return number
    if number == index:
        raise Mistake(f"the stage {number} cannot take from itself", "the files are already there", "--from")
    there = "comes later" if number < count else "does not exist"
    raise Mistake(f"the stage {number} {there}", "stages count from 0", "--from")


def _tried(
    line: int,
    problems: list[Problem],
    word: str,
    variables: Mapping[str, str],
    dockerfile: Dockerfile,
    budget: Budget,
) -> str | None:
    try:
        expanded = expand(word, variables, Rules(dockerfile.directives.escape))
        budget.spend(expanded.cost)
        return expanded.text
    except Mistake as mistake:
        problems.append(Problem(line, 0, mistake.text, mistake.hint))
        return None


def _problem(place: instructions.Place, mistake: Mistake) -> Problem:
    return Problem(*place.position(mistake.word), mistake.text, mistake.hint)
