"""A Dockerfile as its stages. Pure.

Dockerfile ─ directives, global arguments (ARG before the first FROM), stages in order of the file
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.images.dockerfile import instructions, limits, syntax
from runtime.images.dockerfile.early import check_early
from runtime.images.dockerfile.instructions import Arg, Instruction, Place
from runtime.images.dockerfile.lines import Directives, Lines, Remark, Statement, read_lines
from runtime.images.dockerfile.problems import DockerfileInvalid, Mistake, Problem


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
class Dockerfile:
    """name: of the file, for messages."""

    name: str
    directives: Directives
    global_arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    remarks: tuple[Remark, ...] = ()


def read_dockerfile(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """`DockerfileInvalid` with every mistake that can be seen without knowing variables and bases."""
    text = _decoded(data, name)
    lines = read_lines(text)
    body = _Body(lines)
    for statement in lines.statements:
        if len(body.problems) == limits.MISTAKES:
            break
        body.add(statement)
    problems = lines.problems + body.problems
    if not body.stages and not problems:
        problems.append(Problem(1, 0, "there is no FROM, so nothing to build", "begin with FROM IMAGE"))
    if problems:
        raise DockerfileInvalid(name, problems)
    remarks = tuple(sorted(lines.remarks + body.remarks, key=lambda remark: remark.line))
    return Dockerfile(name, lines.directives, tuple(body.global_arguments), body.finished(), remarks)


def _decoded(data: bytes, name: str) -> str:
    if len(data) > limits.FILE_BYTES:
        text = f"larger than {limits.FILE_BYTES // 1024} KiB"
        raise DockerfileInvalid(name, [Problem(1, 0, text, "COPY files instead of writing them into it")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DockerfileInvalid(name, [Problem(line, 0, "not UTF-8", "save it as UTF-8")]) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DockerfileInvalid(name, [Problem(line, 0, "a NUL character", "take it out")])
    return text


class _Body:
    """The statements as they fall into stages. A mistake in one costs only that one."""

    def __init__(self, lines: Lines) -> None:
        self._escape = lines.directives.escape
        self.global_arguments: list[Arg] = []
        self.stages: list[tuple[instructions.From, list[Instruction]]] = []
        self.problems: list[Problem] = []
        self.remarks: list[Remark] = []
        self._is_lost = False  # a FROM could not be read: what follows it is in a stage all the same

    def add(self, statement: Statement) -> None:
        try:
            self._place(statement, syntax.read_instruction(statement, self._escape))
        except Mistake as mistake:
            self.problems.append(Problem(*statement.place.position(mistake.word), mistake.text, mistake.hint))
            self._is_lost |= statement.place.text[:4].upper() == "FROM"

    def finished(self) -> tuple[Stage, ...]:
        return tuple(
            Stage(index, begin.name, begin.base, begin.platform, begin.place, tuple(body))
            for index, (begin, body) in enumerate(self.stages)
        )

    def _place(self, statement: Statement, instruction: instructions.From | Instruction) -> None:
        if isinstance(instruction, instructions.From):
            self._begin(instruction)
            return
        self._remark(instruction)
        check_early(instruction, self._escape)
        if self.stages:
            self.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            self.global_arguments.append(instruction)
        elif not self._is_lost:
            keyword = statement.place.text.split(maxsplit=1)[0]
            raise Mistake(f"{keyword.upper()} stands before the first FROM", "only ARG may", keyword)

    def _begin(self, begin: instructions.From) -> None:
        if len(self.stages) == limits.STAGES:
            raise Mistake(f"more than {limits.STAGES} stages")
        if begin.name and any(begin.name == other.name for other, _ in self.stages):
            self.remarks.append(Remark(begin.place.first, f"two stages are named {begin.name}"))
        self.stages.append((begin, []))

    def _remark(self, instruction: Instruction) -> None:
        line = instruction.place.first
        if isinstance(instruction, instructions.Maintainer):
            self.remarks.append(Remark(line, "MAINTAINER is of the past: write LABEL maintainer=…"))
        if isinstance(instruction, instructions.Env | instructions.Label) and len(instruction.pairs) == 1:
            name = instruction.pairs[0][0]
            if f"{name}=" not in instruction.place.text:
                self.remarks.append(Remark(line, f"the old form with a space: write {name[:60]}=…"))
