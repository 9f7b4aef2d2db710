"""The agent, what runs, and what is kept on the disk."""

from typing import Literal, NotRequired, TypedDict

from agent.api.openapi.shapes.words import Bytes, Moment
from agent.images.prune import Thing


class Version(TypedDict):
    """metrics: the address where they are served, "" for nowhere. is_outdated: its program, its packages or
    its Python are others on the disk by now."""

    version: str
    instance: str
    started_at: Moment
    metrics: str
    is_outdated: bool


class Check(TypedDict):
    """One part of the agent."""

    ok: bool
    detail: str
    hint: NotRequired[str]


class Doctor(TypedDict):
    """What only the agent can tell of itself."""

    program: Check
    source: Check
    manifests: Check
    supervisor: Check
    store: Check
    disk: Check
    loop: Check


class Stopping(TypedDict):
    """The agent ends in a moment."""

    stopping: Literal[True]


class Removed(TypedDict):
    """What is gone: a key, or in words what nobody wanted."""

    removed: str


class Done(TypedDict):
    """The last line."""

    done: Literal[True]


class Named(TypedDict):
    """Whose the counters are."""

    key: str
    replica: str
    name: str


class OwnKey(TypedDict):
    """The object that it was made for; "" for none."""

    key: str


class Process(TypedDict):
    """One process. pid: the host's. memory_bytes: its resident set."""

    container: str
    pid: int
    user: int
    state: str
    cpu_seconds: float
    memory_bytes: Bytes
    command: list[str]


class VolumeOrder(TypedDict):
    """A directory of the host, to be copied into a volume."""

    name: str
    path: str


class VolumeTaken(TypedDict):
    """The volume that has it now. left_out: devices, the first of them, which are no data."""

    name: str
    left_out: list[str]


class Change(TypedDict):
    """What a container changed of its image's files: added, changed or deleted."""

    kind: Literal["A", "C", "D"]
    path: str


class ExecOrder(TypedDict):
    """What to run. environment: NAME=VALUE each. rows, columns: of a terminal."""

    argv: list[str]
    tty: NotRequired[bool]
    stdin: NotRequired[bool]
    user: NotRequired[str]
    working_dir: NotRequired[str]
    environment: NotRequired[list[str]]
    rows: NotRequired[int]
    columns: NotRequired[int]


class Prune(TypedDict):
    """bytes: of what goes."""

    things: list[Thing]
    bytes: Bytes


class Counted(TypedDict):
    """Files and what they take."""

    count: int
    bytes: Bytes


class ImageUse(TypedDict):
    """What one image takes. unshared_bytes: what no other image has too."""

    id: str
    names: list[str]
    bytes: Bytes
    unshared_bytes: Bytes
    used_at: float | None
    why: str


class ImagesUse(TypedDict):
    """What all images take together."""

    count: int
    in_use: int
    bytes: Bytes
    packed_bytes: Bytes
    layers: int
    layer_bytes: Bytes
    shared_bytes: Bytes
    litter_bytes: Bytes
    reclaimable_bytes: Bytes
    items: list[ImageUse]


class TreeUse(TypedDict):
    """A container's own layer or a volume. is_whole: False where it takes more than was counted."""

    name: str
    id: NotRequired[str]
    running: NotRequired[bool]
    bytes: Bytes
    is_whole: bool
    counted_at: Moment


class TreesUse(TypedDict):
    """All of a kind together."""

    count: int
    in_use: int
    bytes: Bytes
    is_whole: bool
    items: list[TreeUse]


class Disk(TypedDict):
    """The file system that the instance lies on."""

    total_bytes: Bytes
    free_bytes: Bytes


class DiskUse(TypedDict):
    """What an instance takes, by kind."""

    images: ImagesUse
    build_cache: Counted
    containers: TreesUse
    volumes: TreesUse
    logs: Counted
    database: Counted
    ballast: Counted
    disk: Disk
    counted_seconds: float


class ErrorFields(TypedDict):
    """kind: what who asked should do about it. op, subject: what was being done, and to what."""

    kind: Literal["Invalid", "NotFound", "Conflict", "Unsupported", "Temporary", "Bug"]
    op: str
    subject: str
    reason: str
    hint: str
    retry_after_seconds: NotRequired[float]


class Error(TypedDict):
    """Of every answer that is none. In a stream: its last line."""

    error: ErrorFields
