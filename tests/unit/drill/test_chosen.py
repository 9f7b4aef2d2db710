"""Which kinds a drill breaks."""

from __future__ import annotations

import pytest

from agent.drill.kinds import KINDS, Kind
from agent.drill.run import chosen
from agent.reconcile.repairs import AT_ONCE
from runtime.errors import Invalid


@pytest.fixture(autouse=True)
def _nothing_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kind, "lacks", "")


def names(*, at_host: bool) -> list[str]:
    return [kind.name for kind in chosen((), at_host=at_host)]


@pytest.mark.parametrize("at_host", [False, True])
def test_of_one_finding_no_more_are_broken_than_are_told(at_host: bool) -> None:
    """The firewall is one, whatever of it is broken; the kinds of it stand first, and the ruleset last."""
    firewall = {kind.name for kind in KINDS[: [kind.name for kind in KINDS].index("ruleset") + 1]}
    assert {"table", "guard", "ruleset"} <= firewall
    assert len(firewall & set(names(at_host=at_host))) <= AT_ONCE


def test_what_a_drill_of_the_host_breaks_as_well_is_not_broken_twice() -> None:
    here, host = names(at_host=False), names(at_host=True)
    assert "table" in here and "ruleset" not in here
    assert "table" not in host and {"ruleset", "forwarding"} <= set(host)
    assert set(here) - set(host) == {"table"}


def test_what_is_named_is_broken() -> None:
    assert [kind.name for kind in chosen(["table", "ruleset"], at_host=True)] == ["table", "ruleset"]
    with pytest.raises(Invalid, match="--host"):
        chosen(["ruleset"], at_host=False)
    with pytest.raises(Invalid, match="no such kind"):
        chosen(["nothing"], at_host=True)
