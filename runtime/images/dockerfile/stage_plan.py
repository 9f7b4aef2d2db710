"""The steps of one stage: its variables as they grow, its config as it changes. Pure. Called by plan.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from runtime.images.dockerfile import history, instructions, limits, mounts
from runtime.images.dockerfile.build_plan import BuildRequest, StagePlan
from runtime.images.dockerfile.documents import head_of
from runtime.images.dockerfile.expand_instruction import Budget, Words, expand_instruction
from runtime.images.dockerfile.graph import Node
from runtime.images.dockerfile.image_config import DEFAULT_PATH, ImageConfig, apply, argv, below
from runtime.images.dockerfile.instructions import Arg, Instruction, Run, Transfer, Workdir
from runtime.images.dockerfile.lines import Remark
from runtime.images.dockerfile.ports import count_ports
from runtime.images.dockerfile.problems import Mistake, Problem, did_you_mean, shown
from runtime.images.dockerfile.steps import (
    Action,
    FromStage,
    Mount,
    Origin,
    RunAction,
    Script,
    Step,
    WorkdirAction,
)
from runtime.images.dockerfile.transfers import is_file_name, transfer_action

SCRIPTS = "/dev/pipes"  # where Docker puts a here-document that is a script
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_SECRET = re.compile(
    r"(?:^|_)(?:password|passwd|pwd|secret|token|apikey|api_key|private_key)(?:$|_)", re.IGNORECASE
)


@dataclass(slots=True)
class Scope:
    """What a stage has when an instruction begins; a stage that stands on it goes on from there.

    variables: ENV and ARG, the later over the earlier. arguments: those of ARG, for the history.
    """

    config: ImageConfig
    variables: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    _environment: tuple[str, ...] | None = None

    def set(self, name: str, value: str) -> None:
        self.variables[name] = value
        self._environment = None

    def environment(self) -> tuple[str, ...]:
        """`NAME=value`. Steps with the same variables share it: a thousand of each is a million strings."""
        if self._environment is None:
            self._environment = tuple(f"{name}={value}" for name, value in self.variables.items())
        return self._environment

    def inherited(self) -> Scope:
        config = replace(self.config, on_build=(), has_own_command=False)
        return Scope(config, dict(self.variables), dict(self.arguments))


@dataclass(slots=True)
class Context:
    """What all stages of a plan share. used: names of build arguments that an ARG asked for."""

    request: BuildRequest
    global_variables: Mapping[str, str]
    escape: str
    budget: Budget
    used: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def remark(self, line: int, text: str) -> None:
        if len(self.remarks) < limits.GUESSES:
            self.remarks.append(Remark(line, text))


def first_scope(config: ImageConfig | None) -> Scope:
    """config: of the base image; None for scratch. PATH is always set, as with Docker."""
    config = replace(config or ImageConfig(working_dir="/"), on_build=(), has_own_command=False)
    if "PATH" not in dict(config.environment):
        config = replace(config, environment=(*config.environment, ("PATH", DEFAULT_PATH)))
    return Scope(config, dict(config.environment))


def plan_stage(node: Node, scope: Scope, context: Context) -> StagePlan:
    """The scope is changed to what the stage ends with."""
    initial = scope.config
    steps: list[Step] = []
    pairs = [(one, True) for one in node.triggers] + [(one, False) for one in node.stage.instructions]
    for instruction, is_trigger in pairs:
        try:
            steps.append(_step(instruction, is_trigger, node, scope, context))
        except Mistake as mistake:
            where = instruction.place.position(mistake.word)
            context.problems.append(Problem(*where, mistake.text, mistake.hint))
    stage = node.stage
    return StagePlan(
        stage.index, stage.name, node.base, node.platform, node.needs, initial, tuple(steps), scope.config
    )


def _step(instruction: Instruction, is_trigger: bool, node: Node, scope: Scope, context: Context) -> Step:
    before = scope.config
    words = Words(scope.variables, context.escape, context.budget)
    if isinstance(instruction, Arg):
        expanded: Instruction = _declared(instruction, words, scope, context)
    else:
        expanded = expand_instruction(instruction, words)
        _remark_instruction(expanded, scope, context)
    if isinstance(expanded, instructions.Expose):
        ports = len(before.ports) + count_ports(expanded.ports)
        context.budget.spend(ports * limits.PORT_CHARACTERS)
    action = _action(expanded, words, node.origins, scope, context)
    scope.config = after = apply(before, expanded)
    if isinstance(expanded, instructions.Env):
        for name, value in expanded.pairs:
            scope.set(name, value)
    if len(scope.variables) > limits.VARIABLES:
        raise Mistake(f"more than {limits.VARIABLES} variables in force")
    _remark_unset(instruction, words, scope, context)
    entry = history.entry(expanded, action, after, scope.variables, scope.arguments)
    context.budget.spend(len(entry.created_by))  # that of RUN repeats the value of each ARG
    needs = _needs(action)
    return Step(
        history.keyword(instruction), instruction.place, action, before, after, entry, needs, is_trigger
    )


def _declared(arg: Arg, words: Words, scope: Scope, context: Context) -> Arg:
    """ARG: the value that was given, else its default, else that of the global ARG, else it stays unset.

    Each name sees those before it in the same line.
    """
    found: list[instructions.Argument] = []
    for argument in arg.arguments:
        name = argument.name
        context.used.add(name)
        value = context.request.arguments.get(name)
        if value is not None:
            _check_given(name, value)
        elif argument.default is not None:
            value = words.one(argument.default)
        else:
            value = context.global_variables.get(name)
        if value is not None:
            scope.set(name, value)
        if _SECRET.search(name):
            context.remark(
                arg.place.first, f"{name} stays in the image's history: use RUN --mount=type=secret"
            )
        scope.arguments[name] = value or ""
        found.append(instructions.Argument(name, value))
    return replace(arg, arguments=tuple(found))


def _check_given(name: str, value: str) -> None:
    """A value from outside, which a process and an image's JSON must be able to hold."""
    if len(value) > limits.VALUE_CHARACTERS or "\0" in value:
        raise Mistake(
            f"the build argument {name} is longer than {limits.VALUE_CHARACTERS}, or has a NUL", "", name
        )
    if any("\ud800" <= one <= "\udfff" for one in value):
        raise Mistake(f"the build argument {name} is not UTF-8", "give it as UTF-8 text", name)


def _action(
    instruction: Instruction, words: Words, origins: Mapping[str, Origin], scope: Scope, context: Context
) -> Action | None:
    working_dir = scope.config.working_dir or "/"
    match instruction:
        case Run():
            return _run(instruction, words, origins, scope, context)
        case Transfer():
            return transfer_action(instruction, working_dir, origins)
        case Workdir(path=path) if path:
            made = below(working_dir, path)
            return WorkdirAction(made) if made != "/" else None
        case _:
            return None


def _run(run: Run, words: Words, origins: Mapping[str, Origin], scope: Scope, context: Context) -> RunAction:
    working_dir = below("/", scope.config.working_dir or "/")
    network = context.request.network if run.network == "default" else run.network
    if run.network == "host" and context.request.network != "host":
        raise Mistake(
            "the step asks for the host's network", "allow it: build with --network=host", "--network"
        )
    command, script = _command(run, scope.config)
    return RunAction(
        argv=command,
        environment=scope.environment(),
        proxies=_proxies(context.request.arguments),
        working_dir=working_dir,
        user=scope.config.user,
        mounts=_mounts(run, words, working_dir, origins),
        network=network,
        script=script,
    )


def _command(run: Run, config: ImageConfig) -> tuple[tuple[str, ...], Script | None]:
    """A lone here-document is the script itself; others are the shell's to read."""
    if not run.documents:
        return argv(config, run.command), None
    word = run.command.words[0]
    if head_of(word) is None:
        whole = word + "".join(f"\n{one.raw}{one.name}" for one in run.documents)
        return argv(config, replace(run.command, words=(whole,))), None
    document = run.documents[0]
    if not document.content.startswith("#!"):
        return argv(config, replace(run.command, words=(document.content,))), None
    if not is_file_name(document.name):
        raise Mistake(f"{shown(document.name)} is no name for a script", "name it by letters", document.name)
    path = f"{SCRIPTS}/{document.name}"
    return (path,), Script(path, document.content)


def _mounts(run: Run, words: Words, working_dir: str, origins: Mapping[str, Origin]) -> tuple[Mount, ...]:
    found: list[Mount] = []
    for number, written in enumerate(run.mounts):
        mount = mounts.read_mount(written, words.one, working_dir, origins, number)
        if any(mount.target and mount.target == other.target for other in found):
            raise Mistake(f"two mounts at {shown(mount.target)}", "give each a place of its own", written)
        found.append(mount)
    return tuple(found)


def _proxies(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Upper and lower case, as both are read by some program."""
    given = {name.upper(): value for name, value in sorted(arguments.items()) if name.upper() in PROXIES}
    return tuple(f"{spelled}={given[name]}" for name in given for spelled in (name, name.lower()))


def _needs(action: Action | None) -> tuple[int, ...]:
    if isinstance(action, RunAction):
        origins = [mount.origin for mount in action.mounts if hasattr(mount, "origin")]
    elif action is not None and not isinstance(action, WorkdirAction):
        origins = [action.origin]
    else:
        origins = []
    return tuple(sorted({origin.index for origin in origins if isinstance(origin, FromStage)}))


def _remark_instruction(instruction: Instruction, scope: Scope, context: Context) -> None:
    line = instruction.place.first
    if isinstance(instruction, instructions.Env):
        for name, _ in instruction.pairs:
            if _SECRET.search(name):
                context.remark(line, f"{name} stays in the image: use RUN --mount=type=secret")
    if isinstance(instruction, instructions.User) and not instruction.user:
        context.remark(line, "USER is empty, which is root")
    if isinstance(instruction, instructions.Cmd) and scope.config.has_own_command:
        context.remark(line, "a second CMD: only the last one counts")


def _remark_unset(instruction: Instruction, words: Words, scope: Scope, context: Context) -> None:
    for name in words.unset if len(context.remarks) < limits.GUESSES else ():
        if name and not name[0].isdigit() and name.replace("_", "a").isalnum():
            hint = did_you_mean(name, scope.variables)
            context.remark(instruction.place.first, f"${name} is not set" + (f": {hint}" if hint else ""))
