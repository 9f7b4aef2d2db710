"""An image's config while it is being built, and what each instruction makes of it. Pure.

    apply(config, instruction) -> config        every word of the instruction expanded

What a container of the image starts with, as Docker's and OCI's image config have it. None of entrypoint
and command is "not set", which is not the same as ().
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, replace

from runtime.images.dockerfile import instructions, limits
from runtime.images.dockerfile.instructions import CommandLine, Instruction
from runtime.images.dockerfile.ports import read_ports
from runtime.images.dockerfile.problems import Mistake, shown
from runtime.images.dockerfile.stop_signals import is_signal

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """test: ("NONE",), ("CMD", …) or ("CMD-SHELL", text). Durations in nanoseconds; 0 is the default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """environment, labels: pairs in order of first use. shell (): DEFAULT_SHELL.

    on_build: instructions for builds from this image. ports: `80/tcp`. author: of MAINTAINER.
    has_own_command: CMD was given in this stage, so that ENTRYPOINT does not take it away.
    """

    environment: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_dir: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    author: str = ""
    has_own_command: bool = False


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """created_by: the instruction as people read it in `image history`. is_empty: it made no layer."""

    created_by: str
    is_empty: bool


Pairs = tuple[tuple[str, str], ...]


def apply(config: ImageConfig, instruction: Instruction) -> ImageConfig:
    """What the config is after the instruction. `Mistake` for a value that no config may have.

    RUN, COPY, ADD and ARG change files or the build's own variables, and nothing here.
    """
    match instruction:
        case instructions.Env(pairs=pairs):
            return replace(config, environment=_checked_variables(merged(config.environment, pairs)))
        case instructions.Label(pairs=pairs):
            return replace(config, labels=_checked_labels(merged(config.labels, pairs)))
        case instructions.Cmd(command=command):
            return replace(config, command=argv(config, command), has_own_command=True)
        case instructions.Entrypoint(command=command):
            return _with_entrypoint(config, command)
        case instructions.Expose(ports=ports):
            return replace(config, ports=_united(config.ports, read_ports(ports), limits.PORTS, "ports"))
        case instructions.User(user=user):
            return replace(config, user=user)
        case instructions.Volume(paths=paths):
            return replace(
                config, volumes=_united(config.volumes, _volumes(paths), limits.VOLUMES, "volumes")
            )
        case instructions.Workdir(path=path):
            return replace(config, working_dir=below(config.working_dir, _text(path, "WORKDIR")))
        case instructions.StopSignal(signal=signal):
            return replace(config, stop_signal=_signal(signal))
        case instructions.Healthcheck():
            return replace(config, healthcheck=_health(instruction))
        case instructions.Shell(words=words):
            return replace(config, shell=words)
        case instructions.OnBuild(expression=expression):
            return replace(config, on_build=(*config.on_build, expression))
        case instructions.Maintainer(name=name):
            return replace(config, author=name)
        case _:
            return config


def argv(config: ImageConfig, command: CommandLine) -> tuple[str, ...]:
    """The command as it is run: the shell form behind the shell in force."""
    if not command.is_shell:
        return command.words
    return (*(config.shell or DEFAULT_SHELL), " ".join(command.words))


def below(working_dir: str, path: str) -> str:
    """An absolute and clean path; a relative one is below the working directory."""
    joined = posixpath.normpath(posixpath.join("/", working_dir, path))
    return "/" + joined.lstrip("/")


def merged(pairs: Pairs, more: Iterable[tuple[str, str]]) -> Pairs:
    """Later values take the place of earlier ones, where those stand."""
    found = dict(pairs)
    found.update(more)
    return tuple(found.items())


def _with_entrypoint(config: ImageConfig, command: CommandLine) -> ImageConfig:
    """A CMD of the base image belongs to its own entrypoint: it goes, one of this stage stays."""
    entrypoint = argv(config, command) if command.words or command.is_shell else None
    return replace(config, entrypoint=entrypoint, command=config.command if config.has_own_command else None)


def _health(instruction: instructions.Healthcheck) -> HealthConfig:
    command = instruction.command
    if command is None:
        return HealthConfig(("NONE",))
    return HealthConfig(
        ("CMD-SHELL" if command.is_shell else "CMD", *command.words),
        instruction.interval,
        instruction.timeout,
        instruction.start_period,
        instruction.start_interval,
        instruction.retries,
    )


def _volumes(paths: tuple[str, ...]) -> tuple[str, ...]:
    if not all(paths):
        raise Mistake("VOLUME has an empty path", "write VOLUME /data")
    return paths


def _signal(name: str) -> str:
    if not is_signal(name):
        raise Mistake(f"there is no signal {shown(name)}", "write SIGTERM, SIGRTMIN+3 or a number", name)
    return name


def _united(there: tuple[str, ...], more: tuple[str, ...], most: int, what: str) -> tuple[str, ...]:
    united = tuple(dict.fromkeys((*there, *more)))
    if len(united) > most:
        raise Mistake(f"more than {most} {what}")
    return united


def _checked_variables(environment: Pairs) -> Pairs:
    for name, _ in environment:
        if not name or "=" in name:
            raise Mistake(f"{shown(name)} is no variable's name", "write ENV NAME=VALUE", name)
    if len(environment) > limits.VARIABLES:
        raise Mistake(f"more than {limits.VARIABLES} variables")
    return environment


def _checked_labels(labels: Pairs) -> Pairs:
    if len(labels) > limits.LABELS:
        raise Mistake(f"more than {limits.LABELS} labels")
    return labels


def _text(value: str, keyword: str) -> str:
    if not value:
        raise Mistake(f"{keyword} is empty once its variables have their values", "give them values")
    return value
