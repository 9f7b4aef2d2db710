"""From what planning found to words for people: one table of phases, and conditions beside it.

Called by `plan`. Pure. Ready and Healthy are good when True; Reconciling, Stalled and ImageDamaged are there
only while something is amiss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from store.records import Condition, Key

Phase = Literal[
    "Pending", "Waiting", "Creating", "Starting", "Running", "Unhealthy", "Restarting", "Completed",
    "Failed", "Stalled", "Stopped", "Suspended", "Removing", "Ready",
]  # fmt: skip
ConditionType = Literal["Ready", "Reconciling", "Stalled", "Healthy", "ImageDamaged"]
Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Row:
    """What a phase means. Of several replicas the object shows the phase with the lowest rank."""

    rank: int
    is_ready: bool
    is_reconciling: bool
    is_stalled: bool


#                    rank  ready  reconciling  stalled
PHASES: dict[Phase, Row] = {
    "Stalled": Row(0, False, False, True),
    "Failed": Row(1, False, False, True),
    "Waiting": Row(2, False, True, False),
    "Restarting": Row(3, False, True, False),
    "Creating": Row(4, False, True, False),
    "Pending": Row(5, False, True, False),
    "Removing": Row(6, False, True, False),
    "Unhealthy": Row(7, False, False, False),
    "Starting": Row(8, False, True, False),
    "Running": Row(9, True, False, False),
    "Completed": Row(10, True, False, False),
    "Stopped": Row(11, True, False, False),
    "Suspended": Row(12, True, False, False),  # left alone, as was asked for
    "Ready": Row(13, True, False, False),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What planning says of one key. reason: one PascalCase word; message: one sentence or "".

    wake_at: look again then. waiting_for: look again when one of these changes. is_started,
    is_healthy, is_completed: what depends_on of others asks. is_healthy None: there is no check.
    """

    phase: Phase
    reason: str
    message: str = ""
    generation: int = 0
    wake_at: float | None = None
    waiting_for: frozenset[Key] = frozenset()
    is_started: bool = False
    is_healthy: bool | None = None
    is_completed: bool = False
    is_settled: bool = False  # ready, and nothing left to do
    stalled: str = ""  # a reason to be Stalled although the phase is not
    damaged: str = ""  # what is wrong with its image, which the message says, too

    @property
    def is_ready(self) -> bool:
        return PHASES[self.phase].is_ready


def conditions_of(verdict: Verdict, previous: tuple[Condition, ...], now: float) -> tuple[Condition, ...]:
    """The conditions of a verdict; `since` is kept from `previous` where the status is the same."""
    row = PHASES[verdict.phase]
    ready: Status = "True" if row.is_ready else "False"
    wanted: list[tuple[ConditionType, Status]] = [("Ready", ready)]
    if row.is_reconciling:
        wanted.append(("Reconciling", "True"))
    if row.is_stalled or verdict.stalled:
        wanted.append(("Stalled", "True"))
    if verdict.is_healthy is not None:
        wanted.append(("Healthy", _health_status(verdict)))
    if verdict.damaged:
        wanted.append(("ImageDamaged", "True"))
    since = {(condition.type, condition.status): condition.since for condition in previous}
    return tuple(
        Condition(
            type,
            status,
            _reason(type, verdict),
            verdict.damaged if type == "ImageDamaged" else verdict.message,
            since.get((type, status), now),
        )
        for type, status in wanted
    )


def _reason(type: ConditionType, verdict: Verdict) -> str:
    if type == "ImageDamaged":
        return type
    return verdict.stalled if type == "Stalled" and verdict.stalled else verdict.reason


def _health_status(verdict: Verdict) -> Status:
    if verdict.is_healthy:
        return "True"
    return "False" if verdict.phase == "Unhealthy" else "Unknown"
