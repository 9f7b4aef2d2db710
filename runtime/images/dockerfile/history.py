"""What `image history` says of each instruction: Docker's words, without the name of a builder. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from runtime.images.dockerfile import instructions
from runtime.images.dockerfile.image_config import HistoryEntry, ImageConfig
from runtime.images.dockerfile.instructions import Instruction
from runtime.images.dockerfile.ports import count_ports, read_ports
from runtime.images.dockerfile.steps import Action, RunAction
from runtime.images.dockerfile.transfers import created_by

_MOST_PORTS = 100  # named one by one


def keyword(instruction: Instruction) -> str:
    """`RUN`."""
    if isinstance(instruction, instructions.Transfer):
        return "ADD" if instruction.is_add else "COPY"
    return type(instruction).__name__.upper()


def entry(
    instruction: Instruction,
    action: Action | None,
    after: ImageConfig,
    variables: Mapping[str, str],
    arguments: Iterable[str],
) -> HistoryEntry:
    """after: the config that the instruction left. arguments: names of the ARGs in force."""
    return HistoryEntry(_created_by(instruction, action, after, variables, arguments), action is None)


def _created_by(
    instruction: Instruction,
    action: Action | None,
    after: ImageConfig,
    variables: Mapping[str, str],
    arguments: Iterable[str],
) -> str:
    word = keyword(instruction)
    match instruction:
        case instructions.Run():
            return f"RUN {_run(action, variables, arguments)}"
        case instructions.Transfer():
            return created_by(instruction)
        case instructions.Env(pairs=pairs) | instructions.Label(pairs=pairs):
            return " ".join([word, *(f"{name}={value}" for name, value in pairs)])
        case instructions.Arg(arguments=declared):
            return " ".join([word, *(one.name + _default(one.default) for one in declared)])
        case instructions.Cmd():
            return f"CMD {_quoted(after.command)}"
        case instructions.Entrypoint():
            return f"ENTRYPOINT {_quoted(after.entrypoint)}"
        case instructions.Expose(ports=ports):
            return f"EXPOSE [{' '.join(ports if count_ports(ports) > _MOST_PORTS else read_ports(ports))}]"
        case instructions.Volume(paths=paths):
            return f"VOLUME [{' '.join(paths)}]"
        case instructions.Shell(words=words):
            return f"SHELL [{' '.join(words)}]"
        case instructions.Workdir():
            return f"WORKDIR {after.working_dir}"
        case instructions.User(user=text) | instructions.StopSignal(signal=text):
            return f"{word} {text}"
        case instructions.Maintainer(name=text) | instructions.OnBuild(expression=text):
            return f"{word} {text}"
        case _:
            return instruction.place.text


def _run(action: Action | None, variables: Mapping[str, str], arguments: Iterable[str]) -> str:
    """`|2 A=1 B=2 /bin/sh -c make`: the ARGs in force, as many as the number says, then the command."""
    declared = [f"{name}={variables.get(name, '')}" for name in arguments]
    command = list(action.argv) if isinstance(action, RunAction) else []
    return " ".join([*([f"|{len(declared)}"] if declared else []), *declared, *command])


def _default(value: str | None) -> str:
    return "" if value is None else f"={value}"


def _quoted(words: tuple[str, ...] | None) -> str:
    return f"[{' '.join(json.dumps(word, ensure_ascii=False) for word in words or ())}]"
