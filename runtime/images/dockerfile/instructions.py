"""Instructions as they are written: checked for their form, no variable expanded yet. Pure values.

Made by syntax.py from a logical line, held by a Stage, turned into steps (steps.py) by plan.py. Words
keep their quotes and `$`: what they come to depends on the base image and the build's arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the Dockerfile. Lines count from 1, both included; here-documents belong to it.

    text: the source without comments, lines joined, for people and for the history.
    marks: (offset in text, line, column) of each physical line in it.
    """

    first: int
    last: int
    text: str = ""
    marks: tuple[tuple[int, int, int], ...] = field(default=(), repr=False, compare=False)

    def position(self, word: str) -> tuple[int, int]:
        """Line and column of a word of it; column 0 where it is not found as it is."""
        offset = self.text.find(word) if word and self.marks else -1
        if offset < 0:
            return self.first, 0
        begin, line, column = max(mark for mark in self.marks if mark[0] <= offset)
        return line, column + offset - begin


@dataclass(frozen=True, slots=True)
class HereDocument:
    """`<<NAME`: lines up to NAME.

    content: with its last newline; tabs at the beginning of lines are already taken off for `<<-`.
    raw: as it is in the file, what a shell has to read that is given `<<-` itself.
    is_expanded: the name was written without quotes, so that variables in it stand for their values.
    """

    name: str
    content: str
    raw: str
    is_expanded: bool = True
    is_chomped: bool = False


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Exec form (`["a", "b"]`: words) or shell form (one word, for the shell in force)."""

    words: tuple[str, ...]
    is_shell: bool


@dataclass(frozen=True, slots=True)
class From:
    place: Place
    base: str
    name: str = ""  # lower case; "" without AS
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Argument:
    """One name of an ARG; default None when it has none."""

    name: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Arg:
    place: Place
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Env:
    place: Place
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Label:
    place: Place
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """mounts: the values of --mount, each as written. network: "default", "none" or "host"."""

    place: Place
    command: CommandLine
    documents: tuple[HereDocument, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Transfer:
    """COPY or ADD (`is_add`).

    sources: words in order, those of here-documents (`<<NAME`) left out: they are in documents.
    origin: --from, "" for the build context. unpack: None when ADD was not told.
    """

    place: Place
    is_add: bool
    sources: tuple[str, ...]
    destination: str
    documents: tuple[HereDocument, ...] = ()
    origin: str = ""
    owner: str = ""
    mode: str = ""
    is_link: bool = False
    keeps_parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keeps_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class Cmd:
    place: Place
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Entrypoint:
    place: Place
    command: CommandLine


@dataclass(frozen=True, slots=True)
class Expose:
    place: Place
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    place: Place
    user: str


@dataclass(frozen=True, slots=True)
class Volume:
    place: Place
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workdir:
    place: Place
    path: str


@dataclass(frozen=True, slots=True)
class StopSignal:
    place: Place
    signal: str


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """command None is HEALTHCHECK NONE. Durations are nanoseconds, as in an image's config; 0 inherits."""

    place: Place
    command: CommandLine | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Shell:
    place: Place
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnBuild:
    """expression: the instruction that a build from this image will run first, as written."""

    place: Place
    expression: str


@dataclass(frozen=True, slots=True)
class Maintainer:
    place: Place
    name: str


Instruction = (
    Arg
    | Env
    | Label
    | Run
    | Transfer
    | Cmd
    | Entrypoint
    | Expose
    | User
    | Volume
    | Workdir
    | StopSignal
    | Healthcheck
    | Shell
    | OnBuild
    | Maintainer
)
