"""A key's verdict and what is there, as the record that `status` shows. Pure."""

from __future__ import annotations

from typing import Any

from agent.reconcile.conditions import Verdict, conditions_of
from agent.reconcile.exits import health_of
from agent.reconcile.memory import Memory, to_json
from agent.reconcile.world import Actual, Desired, Replica
from store.records import Condition, Key, StatusRecord

FROZEN = "its manifest cannot be read: it is kept as it was"
DENIED = "its manifest is refused, and it is kept as it was: "


def status_of(
    key: Key,
    desired: Desired | None,
    verdict: Verdict,
    actual: Actual,
    memory: Memory,
    before: StatusRecord | None,
    now: float,
    news: tuple[Condition, ...] | None = None,
) -> StatusRecord:
    """The status now; equal to `before` when nothing that shows has changed. news: conditions that others
    than planning find; None: those of before."""
    message = verdict.message
    if desired is not None and desired.is_frozen:
        why = f"{DENIED}{desired.denied}" if desired.denied else FROZEN
        message = f"{message}; {why}" if message else why
    return StatusRecord(
        key=key,
        phase=verdict.phase,
        ready=verdict.is_ready,
        since=before.since if before is not None and before.phase == verdict.phase else now,
        restarts=memory.restarts,
        message=message,
        conditions=(
            *conditions_of(verdict, before.conditions if before else (), now),
            *_news(desired, before, news),
        ),
        containers=containers_of(actual, memory),
        memory=to_json(memory),
    )


def containers_of(actual: Actual, memory: Memory) -> tuple[dict[str, Any], ...]:
    """What there is for a key, as its status lists it."""
    return tuple(_container(replica, memory) for replica in actual.replicas)


def _news(
    desired: Desired | None, before: StatusRecord | None, news: tuple[Condition, ...] | None
) -> tuple[Condition, ...]:
    """Until somebody looked, what was found before is so, if it is still asked for."""
    if news is not None:
        return news
    if before is None or desired is None or getattr(desired.spec, "update", None) is None:
        return ()
    return tuple(each for each in before.conditions if each.type == "UpdateAvailable")


def _container(replica: Replica, memory: Memory) -> dict[str, Any]:
    state, health = replica.state, health_of(memory, replica)
    return {
        "id": state.id,
        "name": state.name,
        "index": replica.index,
        "phase": state.phase,
        "pid": state.pid,
        "addresses": dict(state.addresses),
        "addresses6": dict(state.addresses6),
        "image": state.image,
        "health": health.status if health is not None and replica.is_live else "",
        "created_at": state.created_at,
        "started_at": state.started_at,
        "finished_at": state.finished_at,
        "exit_code": state.exit_code,
        "oom_killed": state.oom_killed,
        "ports": [
            {
                "container_port": port.container_port,
                "host_port": port.host_port,
                "protocol": port.protocol,
                "host_ip": port.host_ip,
            }
            for port in state.ports
        ],
    }
