"""One statement to one instruction: its flags, its words, its form. Pure.

Called by stages.py for each statement, and by plan.py for the triggers of base images. Expands nothing.
Raises `Mistake`; never anything else, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.images.dockerfile import documents, durations, instructions, mounts, words
from runtime.images.dockerfile.instructions import CommandLine, HereDocument, Instruction, Place
from runtime.images.dockerfile.lines import Statement
from runtime.images.dockerfile.problems import Mistake, did_you_mean, shown
from runtime.images.dockerfile.words import FlagKind, Flags

STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,127}")
_RETRIES = re.compile(r"[0-9]{1,9}")
_MOST_RETRIES = 2**31 - 1

TEXT, TEXTS, SWITCH = FlagKind.TEXT, FlagKind.TEXTS, FlagKind.SWITCH
_BOTH = {"chown": TEXT, "chmod": TEXT, "link": SWITCH, "exclude": TEXTS}
_FLAGS: dict[str, dict[str, FlagKind]] = {
    "FROM": {"platform": TEXT},
    "RUN": {"mount": TEXTS, "network": TEXT, "security": TEXT, "device": TEXTS},
    "COPY": {**_BOTH, "from": TEXT, "parents": SWITCH},
    "ADD": {**_BOTH, "checksum": TEXT, "keep-git-dir": SWITCH, "unpack": SWITCH},
    "HEALTHCHECK": {
        "interval": TEXT, "timeout": TEXT, "start-period": TEXT, "start-interval": TEXT, "retries": TEXT,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a reader of one kind of instruction is given."""

    keyword: str
    flags: Flags
    rest: str
    place: Place
    documents: tuple[HereDocument, ...]
    escape: str


def read_instruction(statement: Statement, escape: str) -> instructions.From | Instruction:
    place = statement.place
    split = words.split(place.text)
    reader = _READERS.get(split.keyword)
    keyword = place.text.split(maxsplit=1)[0]
    if reader is None:
        hint = did_you_mean(split.keyword, _READERS) or "an instruction is the first word of a line"
        raise Mistake(f"there is no instruction {shown(keyword)}", hint, keyword)
    flags = words.read_flags(split.keyword, split.flags, _FLAGS.get(split.keyword, {}))
    return reader(_Parts(split.keyword, flags, split.rest, place, statement.documents, escape))


def _from(parts: _Parts) -> instructions.From:
    given = words.plain_words(parts.rest)
    if not given:
        raise Mistake("FROM names no image", "write FROM IMAGE, or FROM scratch")
    if len(given) == 3 and given[1].lower() == "as":
        name = given[2].lower()
        if not STAGE_NAME.fullmatch(name):
            raise Mistake(
                f"{shown(given[2])} is no name for a stage",
                "a letter, then letters, digits, '-', '_' and '.', at most 128", given[2],
            )  # fmt: skip
        return instructions.From(parts.place, given[0], name, parts.flags.text("platform"))
    if len(given) != 1:
        raise Mistake(f"FROM has {len(given)} words", "write FROM IMAGE, or FROM IMAGE AS NAME", given[1])
    return instructions.From(parts.place, given[0], "", parts.flags.text("platform"))


def _arg(parts: _Parts) -> instructions.Arg:
    given = words.quoted_words(parts.rest, parts.escape)
    if not given:
        raise Mistake("ARG names nothing", "write ARG NAME or ARG NAME=VALUE")
    arguments = []
    for word in given:
        name, equals, default = word.partition("=")
        if not name:
            raise Mistake(f"{shown(word)} has no name", "write ARG NAME=VALUE", word)
        arguments.append(instructions.Argument(name, default if equals else None))
    return instructions.Arg(parts.place, tuple(arguments))


def _env(parts: _Parts) -> instructions.Env:
    return instructions.Env(parts.place, _pairs(parts))


def _label(parts: _Parts) -> instructions.Label:
    return instructions.Label(parts.place, _pairs(parts))


def _pairs(parts: _Parts) -> tuple[tuple[str, str], ...]:
    """`NAME=value …`, or the old form: `NAME the whole rest`."""
    given = words.quoted_words(parts.rest, parts.escape)
    if not given:
        raise Mistake(f"{parts.keyword} names nothing", f"write {parts.keyword} NAME=VALUE")
    if "=" not in given[0]:
        name, *tail = parts.rest.split(maxsplit=1)
        if not tail:
            raise Mistake(f"{parts.keyword} {shown(name)} has no value", f"write {name[:60]}=VALUE", name)
        return ((name, tail[0]),)
    pairs = []
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise Mistake(f"{shown(word)} has no =", 'write NAME=VALUE, and NAME="A VALUE" with spaces', word)
        if not name:
            raise Mistake(f"{shown(word)} has no name", "write NAME=VALUE", word)
        pairs.append((name, value))
    return tuple(pairs)


def _run(parts: _Parts) -> instructions.Run:
    network = parts.flags.text("network") or "default"
    if network not in ("default", "none", "host"):
        raise Mistake(
            f"there is no network {shown(network)} for a step",
            did_you_mean(network, ("default", "none", "host")) or "default, none or host", "--network",
        )  # fmt: skip
    if parts.flags.text("security") not in ("", "sandbox"):
        raise Mistake("a step of a build is never privileged", "leave --security away", "--security")
    if parts.flags.all("device"):
        raise Mistake("a step of a build gets no devices", "leave --device away", "--device")
    for mount in parts.flags.all("mount"):
        mounts.check_mount(mount)
    command = _command(parts.rest)
    if not command.words and not parts.documents:
        raise Mistake("RUN has nothing to run", "write RUN COMMAND")
    return instructions.Run(parts.place, command, parts.documents, parts.flags.all("mount"), network)


def _transfer(parts: _Parts) -> instructions.Transfer:
    listed = words.json_words(parts.rest)
    given = words.plain_words(parts.rest) if listed is None else listed
    if listed is None:
        given = _joined_heads(given)
    if len(given) < 2:
        raise Mistake(
            f"{parts.keyword} needs a source and a destination", f"write {parts.keyword} SOURCE DESTINATION"
        )
    *sources, destination = given
    if listed is None and _is_head(destination):
        raise Mistake("a here-document cannot be the destination", "name a path after it", destination)
    flags = parts.flags
    return instructions.Transfer(
        parts.place,
        is_add=parts.keyword == "ADD",
        sources=tuple(word for word in sources if listed is not None or not _is_head(word)),
        destination=destination,
        documents=parts.documents,
        origin=flags.text("from"),
        owner=flags.text("chown"),
        mode=flags.text("chmod"),
        is_link=flags.switch("link"),
        keeps_parents=flags.switch("parents"),
        exclude=flags.all("exclude"),
        checksum=flags.text("checksum"),
        keeps_git_dir=flags.switch("keep-git-dir"),
        unpack=flags.switches.get("unpack"),
    )


def _joined_heads(given: tuple[str, ...]) -> tuple[str, ...]:
    """`<< NAME` as `<<NAME`, as documents.heads reads it."""
    joined: list[str] = []
    for word in given:
        if joined and joined[-1] in ("<<", "<<-"):
            joined[-1] += word
        else:
            joined.append(word)
    return tuple(joined)


def _is_head(word: str) -> bool:
    return "<<" in word and documents.head_of(word) is not None


def _cmd(parts: _Parts) -> instructions.Cmd:
    return instructions.Cmd(parts.place, _command(parts.rest))


def _entrypoint(parts: _Parts) -> instructions.Entrypoint:
    return instructions.Entrypoint(parts.place, _command(parts.rest))


def _command(rest: str) -> CommandLine:
    listed = words.json_words(rest)
    if listed is not None:
        return CommandLine(listed, is_shell=False)
    return CommandLine((rest,) if rest else (), is_shell=True)


def _expose(parts: _Parts) -> instructions.Expose:
    given = words.plain_words(parts.rest)
    if not given:
        raise Mistake("EXPOSE names no port", "write EXPOSE 8080, EXPOSE 53/udp or EXPOSE 8000-8010")
    return instructions.Expose(parts.place, given)


def _user(parts: _Parts) -> instructions.User:
    return instructions.User(parts.place, _one(parts, "USER[:GROUP]"))


def _workdir(parts: _Parts) -> instructions.Workdir:
    return instructions.Workdir(parts.place, _one(parts, "PATH"))


def _stop_signal(parts: _Parts) -> instructions.StopSignal:
    return instructions.StopSignal(parts.place, _one(parts, "SIGTERM"))


def _maintainer(parts: _Parts) -> instructions.Maintainer:
    return instructions.Maintainer(parts.place, _one(parts, "NAME"))


def _one(parts: _Parts, form: str) -> str:
    if not parts.rest:
        raise Mistake(f"{parts.keyword} is empty", f"write {parts.keyword} {form}")
    return parts.rest


def _volume(parts: _Parts) -> instructions.Volume:
    listed = words.json_words(parts.rest)
    given = words.plain_words(parts.rest) if listed is None else listed
    paths = tuple(path.strip() for path in given)
    if not paths or not all(paths):
        raise Mistake("VOLUME has an empty path", 'write VOLUME /data or VOLUME ["/data"]')
    return instructions.Volume(parts.place, paths)


def _healthcheck(parts: _Parts) -> instructions.Healthcheck:
    kind, rest = [*parts.rest.split(maxsplit=1), "", ""][:2]
    if kind.upper() == "NONE":
        if rest or parts.flags.texts:
            raise Mistake("HEALTHCHECK NONE takes nothing else", "leave the rest away", rest)
        return instructions.Healthcheck(parts.place, None)
    if kind.upper() != "CMD":
        raise Mistake(
            f"HEALTHCHECK {shown(kind)}: there are CMD and NONE", "write HEALTHCHECK CMD COMMAND", kind
        )
    command = _command(rest.strip())
    if not command.words:
        raise Mistake("HEALTHCHECK CMD has no command", "write HEALTHCHECK CMD COMMAND")
    flags = parts.flags
    return instructions.Healthcheck(
        parts.place,
        command,
        interval=durations.nanoseconds(flags.text("interval"), "--interval"),
        timeout=durations.nanoseconds(flags.text("timeout"), "--timeout"),
        start_period=durations.nanoseconds(flags.text("start-period"), "--start-period"),
        start_interval=durations.nanoseconds(flags.text("start-interval"), "--start-interval"),
        retries=_retries(flags.text("retries")),
    )


def _retries(text: str) -> int:
    if not text:
        return 0
    if not _RETRIES.fullmatch(text) or int(text) > _MOST_RETRIES:
        raise Mistake(f"--retries {shown(text)} is no number of tries", "write --retries=3", text)
    return int(text)


def _shell(parts: _Parts) -> instructions.Shell:
    listed = words.json_words(parts.rest)
    if not listed:
        raise Mistake("SHELL is a list of a program and its flags", 'write SHELL ["/bin/bash", "-c"]')
    return instructions.Shell(parts.place, listed)


def _on_build(parts: _Parts) -> instructions.OnBuild:
    """The trigger is read as a whole, so that its mistakes are told where it is written."""
    if not parts.rest:
        raise Mistake("ONBUILD names no instruction", "write ONBUILD RUN COMMAND")
    keyword = parts.rest.split(maxsplit=1)[0]
    if keyword.upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise Mistake(f"{keyword.upper()} cannot be a trigger", "name it without ONBUILD", keyword)
    place = parts.place
    read_instruction(Statement(Place(place.first, place.last, parts.rest), parts.documents), parts.escape)
    expression = parts.rest + "".join(f"\n{one.raw}{one.name}" for one in parts.documents)
    return instructions.OnBuild(place, expression)


_READERS: Mapping[str, Callable[[_Parts], instructions.From | Instruction]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": _env,
    "LABEL": _label,
    "RUN": _run,
    "COPY": _transfer,
    "ADD": _transfer,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "EXPOSE": _expose,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
    "STOPSIGNAL": _stop_signal,
    "HEALTHCHECK": _healthcheck,
    "SHELL": _shell,
    "ONBUILD": _on_build,
    "MAINTAINER": _maintainer,
}
