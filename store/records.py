"""The frozen records that the store takes and hands out. Times are Unix seconds, wall clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from store.image_memory import ImageMemory


class Key(NamedTuple):
    """An object's name: project/kind/name, all lower case ("shop/container/web")."""

    project: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """The inverse of str(). ValueError when it has not three parts."""
        project, kind, name = text.split("/")
        return cls(project, kind, name)


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an object's state. Ready and Healthy: True is good. Reconciling, Stalled and
    ImageDamaged: True is not (abnormal-true), and they are absent when all is well. UpdateAvailable is
    news, neither.

    reason is one PascalCase word for programs, message one sentence for people.
    """

    type: Literal["Ready", "Reconciling", "Stalled", "Healthy", "UpdateAvailable", "ImageDamaged"]
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A desired object, and which version of it was last acted upon.

    owner: "git" (any source of manifests) or "api". spec: the normalised spec as JSON data.
    generation counts changes of spec; observed_generation is the last one converged to.
    deleting: no longer wanted, kept until its removal is confirmed (this is the inventory).
    """

    key: Key
    owner: str
    spec: Mapping[str, Any]
    spec_hash: str
    generation: int
    observed_generation: int
    file: str
    line: int
    revision: str
    deleting: bool = False
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """What is known of an object's actual state, as `status` shows it.

    containers: JSON data, one entry a replica ({"id", "pid", "addresses", "phase", "health", …}).
    memory: JSON data that planning needs over an agent's restart (exits, health, operator's wishes).
    """

    key: Key
    phase: str
    ready: bool
    since: float
    restarts: int
    message: str
    conditions: tuple[Condition, ...] = ()
    containers: tuple[Mapping[str, Any], ...] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Happening:
    """What an event is to programs that follow the Docker Engine API: something happened to one thing.

    type: "container", "image", "network", "volume", "builder", "daemon". action: "start", "die", "pull", …
    id: a container's id; the name of others. attributes: what was so at that moment (image, name, exitCode,
    labels), kept since the thing may be gone when it is asked for.
    """

    type: str
    action: str
    id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that was seen, decided or done. id is 0 until the store gives one.

    type: "Normal" or "Warning". reason: one PascalCase word (Created, Exited, DriftRepaired, …).
    cause: the chain that led here in words, nearest last: commit, file:line, observation.
    happenings: the same as other programs name it, in order; () where they have no word for it.
    """

    at: float
    key: Key
    type: str
    reason: str
    message: str
    revision: str = ""
    cause: tuple[str, ...] = ()
    id: int = 0
    happenings: tuple[Happening, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """One state of a source. outcome: "applying", "applied" (all Ready), "failed", "invalid"."""

    id: str
    source: str
    seen_at: float
    outcome: str
    message: str = ""
    converged_at: float | None = None
    subject: str = ""  # the commit's first line
    author: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one pass has to write, in one transaction."""

    objects: tuple[ObjectRecord, ...] = ()
    removed: tuple[Key, ...] = ()  # object and status are forgotten, events stay
    statuses: tuple[StatusRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    revisions: tuple[RevisionRecord, ...] = ()
    images: ImageMemory | None = None  # written
    images_forgotten: ImageMemory | None = None  # deleted, by their keys

    @property
    def is_history(self) -> bool:
        """Nothing but what was seen and done: no wish that somebody was promised."""
        return not (self.objects or self.removed or self.revisions or self.images or self.images_forgotten)

    @property
    def rows(self) -> int:
        """How many, but for those of images, which are few."""
        records = len(self.objects) + len(self.removed) + len(self.statuses)
        return records + len(self.events) + len(self.revisions)

    def __bool__(self) -> bool:
        changed = self.objects or self.removed or self.statuses or self.events or self.revisions
        return bool(changed or self.images or self.images_forgotten)
