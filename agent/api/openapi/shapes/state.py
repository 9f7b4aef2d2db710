"""What is wanted, what is, and what would be done."""

from typing import Any, Literal, NotRequired, TypedDict

from agent.api.openapi.shapes.history import Event, Revision
from agent.api.openapi.shapes.words import Key, Moment


class Condition(TypedDict):
    """One thing that is so, or not, of an object."""

    type: str
    status: str
    reason: str
    message: str
    since: Moment


class Port(TypedDict):
    """A published port. host_ip "": all addresses."""

    container_port: int
    host_port: int
    protocol: Literal["tcp", "udp", "sctp"]
    host_ip: str


class Replica(TypedDict):
    """One container of an object. addresses, addresses6: of IPv4 and IPv6, by network. health: "" without a
    check of it."""

    id: str
    name: str
    index: int
    phase: str
    pid: int | None
    addresses: dict[str, str]
    addresses6: dict[str, str]
    image: str
    health: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    oom_killed: bool
    ports: list[Port]


class Object(TypedDict):
    """An object: what is, and, while somebody wants it, what is wanted in brief."""

    key: Key
    phase: str
    ready: bool
    restarts: int
    message: str
    since: Moment
    containers: list[Replica]
    conditions: list[Condition]
    desired: NotRequired[int]
    owner: NotRequired[str]
    file: NotRequired[str]
    line: NotRequired[int]
    revision: NotRequired[str]
    generation: NotRequired[int]
    observed_generation: NotRequired[int]
    deleting: NotRequired[bool]
    unmanaged: NotRequired[bool]
    name: NotRequired[str]


class More(TypedDict):
    """All that is known of an object beside it. spec: as its kind has it."""

    spec: dict[str, Any]
    spec_hash: str
    updated_at: Moment
    events: list[Event]


class Problem(TypedDict):
    """Something wrong in a manifest; file "" for one that has no place."""

    file: str
    line: int
    column: int
    message: str
    hint: str


class Source(TypedDict):
    """What is followed. error: why it cannot be read, or ""."""

    kind: str
    where: str
    revision: str
    subject: str
    author: str
    looked_at: Moment
    error: str
    errors: list[Problem]
    warnings: list[Problem]


class Alarm(TypedDict):
    """What is wrong with no single object."""

    reason: str
    message: str
    hint: str
    since: Moment


class Status(TypedDict):
    """All of an instance. remembered: how many objects are shown as they were before this agent began."""

    ready: bool
    agent: Literal["running", "down"]
    revision: str
    objects: list[Object]
    source: Source
    errors: list[Problem]
    alarms: list[Alarm]
    remembered: int


class Why(TypedDict):
    """The chain commit, file and line, observation, actions, result. result: null for the host."""

    key: Key
    revision: str
    commit: Revision | None
    file: str
    line: int
    steps: list[Event]
    result: Object | None


class Action(TypedDict):
    """What would be done. replica: 0 for the object as a whole. text: all of it in a line."""

    key: Key
    action: str
    kind: str
    replica: int
    detail: str
    cause: str
    file: str
    line: int
    revision: str
    text: str


class Plan(TypedDict):
    """What the next pass would do."""

    actions: list[Action]
    errors: list[Problem]


class Files(TypedDict):
    """Manifests: path to content in base64."""

    files: dict[str, bytes]


class Met(TypedDict):
    """Whether what was waited for came. message: why not."""

    met: bool
    message: str


class Synced(TypedDict):
    """After the source was looked at."""

    revision: str
    ready: bool
    message: str
    source: Source


class Keyed(TypedDict):
    """The object that it was done to."""

    key: Key


class Overridden(TypedDict):
    """The containers that it was done to, by name."""

    key: Key
    containers: list[str]


class AdoptionOrder(TypedDict):
    """Where the manifest is to lie, below the source's top, and whose it is to be. declared: what manifests
    that were written just before declare, as their answers said it."""

    path: NotRequired[str]
    project: NotRequired[str]
    declared: NotRequired[list[str]]


class Adoption(TypedDict):
    """A manifest, its notes on what it says otherwise, and the problems that speak against it. declares: its
    networks and volumes, `PROJECT/KIND/NAME=REAL NAME`."""

    key: Key
    heir: Key
    path: str
    text: str
    notes: list[str]
    problems: list[str]
    declares: list[str]


class PruneAcknowledged(TypedDict):
    """How many objects may go."""

    revision: str
    objects: int
