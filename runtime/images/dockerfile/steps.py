"""What a build does, step by step, every variable expanded. Pure values: plan.py makes them.

    Step ─ action ─┬─ RunAction       argv, environment, user, mounts, network
                   ├─ TransferAction  COPY and ADD: origin, sources, destination
                   ├─ WorkdirAction   a directory that must be there
                   └─ None            the config changes and nothing else

Paths of sources and targets are text from a Dockerfile: who opens them does it below a root, by descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.images.dockerfile.image_config import HistoryEntry, ImageConfig
from runtime.images.dockerfile.instructions import Place


@dataclass(frozen=True, slots=True)
class Scratch:
    """An empty root."""


@dataclass(frozen=True, slots=True)
class FromStage:
    """The root that another stage of the plan ends with. index: of the stage in the Dockerfile, from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class FromImage:
    """An image from outside. reference: canonical. platform: `os/architecture[/variant]`."""

    reference: str
    platform: str


@dataclass(frozen=True, slots=True)
class FromContext:
    """The build context, `.dockerignore` applied. name: of another directory that was given beside it."""

    name: str = ""


Base = Scratch | FromStage | FromImage
Origin = FromStage | FromImage | FromContext | Scratch


@dataclass(frozen=True, slots=True)
class BindMount:
    """A part of an origin inside the step. Writes, when allowed, are thrown away after the step."""

    target: str
    origin: Origin
    source: str = "/"
    is_read_only: bool = True


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A directory that outlives the build. id: checked, no path. sharing: "shared", "private" or "locked".

    origin, source: what it begins with; Scratch: nothing. mode: permission bits. uid, gid: of the directory.
    """

    target: str
    id: str
    sharing: str = "shared"
    origin: Origin = Scratch()
    source: str = "/"
    is_read_only: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """size_bytes 0: the engine's own limit."""

    target: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A secret of the build as a file, as a variable, or both. target "": no file. env "": no variable."""

    id: str
    target: str
    env: str = ""
    is_required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class SshMount:
    """The agent's socket of the build. SSH_AUTH_SOCK names the target inside the step."""

    id: str
    target: str
    is_required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True)
class Script:
    """A here-document with `#!`: to be an executable file (0755) at `path` while the step runs."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class RunAction:
    """argv: whole, the shell included. working_dir: absolute; the step makes it when it is missing.

    environment: `NAME=value`: the image's ENV, then the ARGs in force. proxies: HTTP_PROXY and its
    kin, given to the process and kept out of cache keys, history and image.
    """

    argv: tuple[str, ...]
    environment: tuple[str, ...]
    proxies: tuple[str, ...]
    working_dir: str
    user: str
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    script: Script | None = None


@dataclass(frozen=True, slots=True)
class PathSource:
    """path: below the origin's root, clean, no leading "/", "" for the root itself. It may be a pattern
    (globs.py) when has_pattern. pivot: with --parents, the part before `/./`, which is not kept.
    """

    path: str
    has_pattern: bool = False
    pivot: str = ""


@dataclass(frozen=True, slots=True)
class InlineSource:
    """A here-document of COPY or ADD, variables expanded: a file of this name, 0644 unless mode says else."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class UrlSource:
    """ADD over http or https. name: of the file below a destination that is a directory, "" without one."""

    url: str
    name: str


@dataclass(frozen=True, slots=True)
class GitSource:
    """ADD of a repository. ref "" is its default branch; subdir "" its whole tree."""

    url: str
    ref: str = ""
    subdir: str = ""


Source = PathSource | InlineSource | UrlSource | GitSource


@dataclass(frozen=True, slots=True)
class TransferAction:
    """destination: absolute and clean. is_directory: the sources go into it, by their names.

    owner: `user[:group]` by name or number, "" for 0:0. mode: octal or symbolic (`u=rwX,go=rX`), "" keeps.
    exclude: patterns as of .dockerignore (ignore.py). checksum: `sha256:…` or, of git, a commit; "" for any.
    unpack: whether a local tar archive (None: ADD's own rule: local yes, remote no) is unpacked.
    """

    is_add: bool
    origin: Origin
    sources: tuple[Source, ...]
    destination: str
    is_directory: bool
    owner: str = ""
    mode: str = ""
    is_link: bool = False
    keeps_parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keeps_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True)
class WorkdirAction:
    """path: absolute and clean; made with its parents when it is missing, owned by the user in force."""

    path: str


Action = RunAction | TransferAction | WorkdirAction


@dataclass(frozen=True, slots=True)
class Step:
    """keyword: `RUN`. before, after: the config when it begins and when it has ended.

    needs: indexes of the stages that must be complete before it runs.
    is_trigger: it comes from an ONBUILD of the base image; its place is that of FROM.
    """

    keyword: str
    place: Place
    action: Action | None
    before: ImageConfig
    after: ImageConfig
    history: HistoryEntry
    needs: tuple[int, ...] = ()
    is_trigger: bool = False
