"""What can be done to the world: one small frozen value an action, each with its key and its cause.

`plan` makes them, `apply` carries them out and looks at nothing else, `str()` is the one line that
`setpoint plan`, the log, the events and the tests show. Lengths are seconds and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from agent.manifest.spec import SocketSpec
from agent.reconcile.conditions import Verdict
from agent.reconcile.policy import ExitCause
from runtime.build_recipe import BuildRecipe
from runtime.model import ContainerConfig, Drift, EndpointConfig, NetworkConfig, Resources, VolumeConfig
from store.records import Key


@dataclass(frozen=True, slots=True)
class Cause:
    """Why: what was seen, and the manifest line and revision that want it otherwise."""

    seen: str
    file: str = ""
    line: int = 0
    revision: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file else ""
        origin = " ".join(part for part in (place, f"@{self.revision[:12]}" if self.revision else "") if part)
        return f"{self.seen} ({origin})" if origin else self.seen

    def chain(self) -> tuple[str, ...]:
        """Nearest last: revision, file:line, observation; as events keep it."""
        revision = f"revision {self.revision}" if self.revision else ""
        place = f"{self.file}:{self.line}" if self.file else ""
        return tuple(part for part in (revision, place, self.seen) if part)


@dataclass(frozen=True, slots=True)
class Action:
    """verb: for the printed line; done: the event's reason, one PascalCase word.
    index: the replica, 0 for the object as a whole. Actions of different indexes may run side by
    side, those of one index run in order."""

    verb: ClassVar[str]
    done: ClassVar[str]
    key: Key
    cause: Cause
    index: int = field(default=0, kw_only=True)

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def subject(self) -> str:
        return f"{self.key}#{self.index}" if self.index else str(self.key)

    @property
    def detail(self) -> str:
        return ""

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.verb} {self.subject}{detail}: {self.cause}"


@dataclass(frozen=True, slots=True)
class CreateNetwork(Action):
    verb: ClassVar[str] = "create"
    done: ClassVar[str] = "NetworkCreated"
    config: NetworkConfig


@dataclass(frozen=True, slots=True)
class DeleteNetwork(Action):
    verb: ClassVar[str] = "delete"
    done: ClassVar[str] = "NetworkDeleted"
    name: str


@dataclass(frozen=True, slots=True)
class CreateVolume(Action):
    verb: ClassVar[str] = "create"
    done: ClassVar[str] = "VolumeCreated"
    config: VolumeConfig


@dataclass(frozen=True, slots=True)
class DeleteVolume(Action):
    """Only for a volume whose manifest says keep: false or ensure: absent, or a container's own.
    unless_used: it stays, and that is no failure, where another container has it."""

    verb: ClassVar[str] = "delete"
    done: ClassVar[str] = "VolumeDeleted"
    name: str
    unless_used: bool = False

    @property
    def subject(self) -> str:
        return f"volume {self.name} of {self.key}" if self.unless_used else str(self.key)


@dataclass(frozen=True, slots=True)
class OpenSocket(Action):
    verb: ClassVar[str] = "open"
    done: ClassVar[str] = "SocketOpened"
    spec: SocketSpec
    spec_hash: str


@dataclass(frozen=True, slots=True)
class CloseSocket(Action):
    verb: ClassVar[str] = "close"
    done: ClassVar[str] = "SocketClosed"


@dataclass(frozen=True, slots=True)
class PullImage(Action):
    """Begins only: a pull may take long, and what runs is looked after meanwhile."""

    verb: ClassVar[str] = "pull"
    done: ClassVar[str] = "Pulling"
    reference: str
    platform: str = ""
    only_newer: bool = False

    @property
    def detail(self) -> str:
        return " ".join(
            filter(None, (self.reference, self.platform, "if it is newer" if self.only_newer else ""))
        )


@dataclass(frozen=True, slots=True)
class AskSignatures(Action):
    """Begins only, as a pull. digests: of the image that the reference means here."""

    verb: ClassVar[str] = "ask for signatures of"
    done: ClassVar[str] = "SignaturesAsked"
    reference: str
    digests: frozenset[str]

    @property
    def detail(self) -> str:
        return self.reference


@dataclass(frozen=True, slots=True)
class BuildImage(Action):
    """Begins only, as a pull."""

    verb: ClassVar[str] = "build"
    done: ClassVar[str] = "Building"
    reference: str
    recipe: BuildRecipe

    @property
    def detail(self) -> str:
        return f"of {self.recipe.context or '.'}"


@dataclass(frozen=True, slots=True)
class CreateContainer(Action):
    verb: ClassVar[str] = "create"
    done: ClassVar[str] = "Created"
    config: ContainerConfig

    @property
    def detail(self) -> str:
        return short(self.config.id)


@dataclass(frozen=True, slots=True)
class StartContainer(Action):
    """is_restart: it ran before. networks: the real names its own sandbox is on.
    dependency_runs: what it is started with, to notice when a dependency was replaced."""

    verb: ClassVar[str] = "start"
    done: ClassVar[str] = "Started"
    id: str
    is_restart: bool = False
    sandbox: str = ""
    networks: tuple[str, ...] = ()
    dependency_runs: Mapping[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class StopContainer(Action):
    """by: what its exit counts as, see policy.Exit. started_at: of the run that is stopped. is_kill: no stop
    was asked for, and none is told."""

    verb: ClassVar[str] = "stop"
    done: ClassVar[str] = "Stopped"
    id: str
    grace_seconds: float = 10.0
    signal: str = ""
    by: ExitCause = "us"
    started_at: float | None = None
    is_kill: bool = False

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class DeleteContainer(Action):
    verb: ClassVar[str] = "delete"
    done: ClassVar[str] = "Deleted"
    id: str

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class DeleteSandbox(Action):
    verb: ClassVar[str] = "delete sandbox of"
    done: ClassVar[str] = "SandboxDeleted"
    sandbox: str


@dataclass(frozen=True, slots=True)
class UpdateResources(Action):
    """Limits are changed in place; nothing is restarted."""

    verb: ClassVar[str] = "update"
    done: ClassVar[str] = "Updated"
    id: str
    resources: Resources

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class RenameContainer(Action):
    """In place, as the two below: nothing is restarted."""

    verb: ClassVar[str] = "rename"
    done: ClassVar[str] = "Renamed"
    id: str
    name: str

    @property
    def detail(self) -> str:
        return f"{short(self.id)} to {self.name}"


@dataclass(frozen=True, slots=True)
class AdoptContainer(Action):
    """Its labels are rewritten: it is this key's now, and no more that of former."""

    verb: ClassVar[str] = "adopt"
    done: ClassVar[str] = "Adopted"
    id: str
    former: Key
    labels: Mapping[str, str]

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class ResumeContainer(Action):
    """It was paused while somebody had it in their own hands."""

    verb: ClassVar[str] = "resume"
    done: ClassVar[str] = "Resumed"
    id: str

    @property
    def detail(self) -> str:
        return short(self.id)


@dataclass(frozen=True, slots=True)
class ConnectNetwork(Action):
    """position: among its networks, the most preferred way out first."""

    verb: ClassVar[str] = "connect"
    done: ClassVar[str] = "NetworkConnected"
    id: str
    endpoint: EndpointConfig
    position: int = 0

    @property
    def detail(self) -> str:
        return f"{short(self.id)} to {self.endpoint.network}"


@dataclass(frozen=True, slots=True)
class DisconnectNetwork(Action):
    verb: ClassVar[str] = "disconnect"
    done: ClassVar[str] = "NetworkDisconnected"
    id: str
    network: str

    @property
    def detail(self) -> str:
        return f"{short(self.id)} from {self.network}"


@dataclass(frozen=True, slots=True)
class RepairDrift(Action):
    verb: ClassVar[str] = "repair"
    done: ClassVar[str] = "DriftRepaired"
    drift: Drift

    @property
    def detail(self) -> str:
        noticed = self.drift.noticed
        return f"{self.drift.kind}, noticed by {noticed}" if noticed else self.drift.kind


@dataclass(frozen=True, slots=True)
class ForgetObject(Action):
    """The inventory's entry goes: its removal was seen."""

    verb: ClassVar[str] = "forget"
    done: ClassVar[str] = "Forgotten"


def short(id: str) -> str:
    """The first 12 digits of an id, as people see it."""
    return id[:12]


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """One key: its short ordered list of actions, and how it stands."""

    key: Key
    actions: tuple[Action, ...]
    verdict: Verdict

    def __str__(self) -> str:
        return "".join(f"{action}\n" for action in self.actions)


@dataclass(frozen=True, slots=True)
class Plan:
    """All keys, in the order in which they were planned. Prints one line an action."""

    keys: tuple[KeyPlan, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        return tuple(action for plan in self.keys for action in plan.actions)

    def __bool__(self) -> bool:
        return any(plan.actions for plan in self.keys)

    def __str__(self) -> str:
        return "".join(str(plan) for plan in self.keys)
