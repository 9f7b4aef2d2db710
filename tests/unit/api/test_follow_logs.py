"""Whose log is followed over the end of a run: what is to start again, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.api.streams import _starts_again
from runtime.model import ContainerState
from store.records import Key, StatusRecord

WEB = Key("shop", "container", "web")


def context(phase: str | None) -> Any:
    statuses = {WEB: StatusRecord(WEB, phase, False, 0.0, 0, "")} if phase else {}
    return SimpleNamespace(loop=SimpleNamespace(statuses=lambda: statuses))


def stopped(labels: dict[str, str]) -> ContainerState:
    return ContainerState("1" * 64, "shop-web-1", labels, "stopped")


@pytest.mark.parametrize("phase", ["Running", "Restarting", "Starting", "Unhealthy"])
def test_what_starts_again_is_followed(phase: str) -> None:
    assert _starts_again(context(phase), stopped({"setpoint.key": str(WEB)}))


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Stalled", "Stopped", "Removing", None])
def test_what_has_come_to_its_end_is_not(phase: str | None) -> None:
    assert not _starts_again(context(phase), stopped({"setpoint.key": str(WEB)}))


def test_nor_is_what_nobody_wants() -> None:
    assert not _starts_again(context("Running"), stopped({}))
