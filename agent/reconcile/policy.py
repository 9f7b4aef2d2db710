"""When to restart, when to give up, when to ask again: pure functions of history and now.

    probe ok ────────────────────────────────┐
    starting ── retries failures, after ──> unhealthy ── probe ok ──> healthy
        └─────── probe ok ──> healthy ── retries failures ──> unhealthy
                 the start period

Called by `plan` (restarts) and `probes` (health). Knows no clock and no engine; times are Unix
seconds handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agent.manifest.spec import Healthcheck, Restart

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 60.0
STEADY_SECONDS = 10.0  # a run this long makes the next restart a first one again (Docker's rule)
STEADY_AFTER_KILL_SECONDS = 1.0  # something outside ended it: not a sign that it cannot run
KILLS_PER_ATTEMPT = 5  # how many kills from outside weigh as much as one failure
KEPT_EXITS = 64  # a replica's history; longer than max_attempts * KILLS_PER_ATTEMPT by default
SENT_SIGNALS = frozenset({129, 130, 131, 137, 143})  # 128 + HUP INT QUIT KILL TERM: sent, not suffered

ExitCause = Literal["self", "us", "unhealthy", "drift"]
HealthStatus = Literal["starting", "healthy", "unhealthy"]
FailureKind = Literal["invalid", "temporary", "conflict", "missing", "unsupported", "unkillable", "bug"]

FIRST_RETRY_SECONDS: dict[FailureKind, float] = {
    "temporary": 0.1,
    "unkillable": 5.0,
    "conflict": 0.25,
    "missing": 0.25,
    "unsupported": 60.0,
    "bug": 1.0,
}


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one run of one replica. code None: the kernel could not tell. by: who ended it. ran: how
    many seconds it ran, where the kernel told; started_at is the wall clock's word, and names the run."""

    index: int
    container: str
    started_at: float | None
    at: float
    code: int | None
    oom_killed: bool = False
    by: ExitCause = "self"
    ran: float | None = None

    @property
    def ran_seconds(self) -> float:
        if self.ran is not None:
            return self.ran
        return max(0.0, self.at - self.started_at) if self.started_at is not None else 0.0

    @property
    def is_kill(self) -> bool:
        """A signal that somebody sent, and not the kernel for want of memory."""
        return self.by == "self" and not self.oom_killed and (self.code is None or self.code in SENT_SIGNALS)

    @property
    def is_steady(self) -> bool:
        return self.ran_seconds >= (STEADY_AFTER_KILL_SECONDS if self.is_kill else STEADY_SECONDS)

    def __str__(self) -> str:
        if self.by == "unhealthy":
            return "was unhealthy"
        if self.by == "drift":
            return "could not be repaired in place"
        if self.oom_killed:
            return "was killed for want of memory"
        return "ended, and its exit code is lost" if self.code is None else f"exited with code {self.code}"


# --- restarts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RestartAt:
    """Start it again at `at` (which may be past)."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class StayDown:
    """Leave it: `completed` when it ended well."""

    completed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Too many failures: Stalled until the spec changes or somebody asks for a restart."""

    reason: str


Decision = RestartAt | StayDown | GiveUp


def backoff_seconds(failures: int, first: float = FIRST_DELAY_SECONDS) -> float:
    """How long to wait after so many failures in a row: 0 for none, then doubling from `first`.

    >>> [backoff_seconds(n) for n in (0, 1, 2, 3, 50)]
    [0.0, 0.1, 0.2, 0.4, 60.0]
    """
    if failures <= 0:
        return 0.0
    return min(LONGEST_DELAY_SECONDS, first * 2.0 ** min(failures - 1, 32))


def decide_restart(restart: Restart, exits: Sequence[Exit], *, is_said: bool, now: float) -> Decision:
    """What to do about a replica that is down and wanted running.

    exits: of this replica and spec, oldest first; empty when nobody saw why it is down.
    is_said: the manifest names a restart policy. Without one a container that ends by itself has
    ended, but one that was killed from outside has drifted and is put back.
    """
    if not exits:
        return RestartAt(now, "is not running")
    last = exits[-1]
    if last.by == "us":
        return RestartAt(last.at, "was stopped")
    if not _wants_restart(restart, last, is_said):
        return StayDown(completed=last.code == 0, reason=str(last))
    if reason := _too_many(restart, exits):
        return GiveUp(reason)
    return RestartAt(last.at + backoff_seconds(failures_in_a_row(exits) - 1), str(last))


def _wants_restart(restart: Restart, last: Exit, is_said: bool) -> bool:
    if last.by in ("unhealthy", "drift"):
        return True
    if restart.policy in ("always", "unless-stopped"):
        return True
    if restart.policy == "on-failure":
        return last.code != 0
    return last.is_kill and not is_said


def failures_in_a_row(exits: Sequence[Exit]) -> int:
    """How many of the newest exits came without a steady run in between; the newest counts."""
    count = 0
    for exit in reversed(exits):
        if exit.by == "us":
            break
        count += 1
        if exit.is_steady:
            break
    return count


def _too_many(restart: Restart, exits: Sequence[Exit]) -> str:
    """The window ends at the newest exit, so that time alone does not end Stalled."""
    since = exits[-1].at - restart.window_seconds
    recent = [exit for exit in exits if exit.at >= since and exit.by != "us"]
    kills = sum(exit.is_kill for exit in recent)
    failures = len(recent) - kills
    if failures + kills // KILLS_PER_ATTEMPT < restart.max_attempts:
        return ""
    return f"failed {len(recent)} times within {restart.window_seconds:g} s, the last time it {exits[-1]}"


def may_restart_unhealthy(restart: Restart, exits: Sequence[Exit], now: float) -> str:
    """ "" when a restart for bad health is within the limit, else why not."""
    this = Exit(0, "", None, now, None, by="unhealthy")
    return _too_many(restart, (*exits, this))


def keep_exits(exits: Sequence[Exit], new: Exit) -> tuple[Exit, ...]:
    """`exits` with `new`, bounded for each replica."""
    same = [exit for exit in exits if exit.index == new.index][-(KEPT_EXITS - 1) :]
    return (*(exit for exit in exits if exit.index != new.index), *same, new)


# --- actions that failed ------------------------------------------------------------------------


def retry_at(kind: FailureKind, count: int, now: float, asked_seconds: float = 0.0) -> float | None:
    """When to try a failed action again, after `count` failures in a row; None is never."""
    if kind == "invalid":
        return None
    return now + max(asked_seconds, backoff_seconds(count, FIRST_RETRY_SECONDS[kind]))


# --- health -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes of one run of one container have shown. failures: counted ones in a row.
    started_at: as the wall clock had it, which names the run; began_at: by the clock that never jumps."""

    container: str
    started_at: float | None
    status: HealthStatus = "starting"
    failures: int = 0
    last_at: float | None = None
    since: float = 0.0
    output: str = ""
    began_at: float | None = None

    def begin(self, now: float) -> float:
        """When the run began, as far as it is known; never later than now."""
        found = self.started_at if self.began_at is None else self.began_at
        return now if found is None else min(found, now)


EARLY_PROBES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)  # after the start


def first_counted_at(check: Healthcheck, started_at: float) -> float:
    """From when on a failed probe counts against the container."""
    return started_at + max(check.start_period, check.interval)


def next_probe_at(check: Healthcheck, health: Health, now: float) -> float:
    """When to ask next. Before its first regular probe a container is also asked early and ever more
    seldom: such probes can only find it healthy sooner, they never count against it."""
    started = health.begin(now)
    last = started if health.last_at is None else health.last_at
    if health.status != "starting":
        return last + check.interval
    starting_interval = _starting_interval(check)
    first = started + starting_interval
    if last < first:
        early = (started + after for after in EARLY_PROBES_SECONDS if started + after > last)
        return min(next(early, first), first)
    if last < started + check.start_period:
        return last + starting_interval
    counted = first_counted_at(check, started)
    return min(last + check.interval, counted) if last < counted else last + check.interval


def _starting_interval(check: Healthcheck) -> float:
    if check.start_period > 0 and check.start_interval > 0:
        return min(check.start_interval, check.interval)
    return check.interval


def after_probe(check: Healthcheck, health: Health, *, is_ok: bool, output: str, now: float) -> Health:
    """The health after one more probe."""
    text = output[-4096:]
    if is_ok:
        since = health.since if health.status == "healthy" else now
        return replace(health, status="healthy", failures=0, last_at=now, since=since, output=text)
    started = health.begin(now)
    counts = health.status != "starting" or now >= first_counted_at(check, started)
    failures = health.failures + counts
    if failures < max(1, check.retries) or health.status == "unhealthy":
        return replace(health, failures=failures, last_at=now, output=text)
    return replace(health, status="unhealthy", failures=failures, last_at=now, since=now, output=text)
