"""What a manifest owns is not changed by a call, and the refusal says what to do in place of it."""

from __future__ import annotations

import pytest

from agent.api.docker.finding import check_owner
from runtime.errors import Conflict
from store.records import Key, ObjectRecord


def record(kind: str = "container", owner: str = "git") -> ObjectRecord:
    return ObjectRecord(Key("shop", kind, "web"), owner, {}, "h", 1, 1, "shop/compose.yaml", 7, "")


@pytest.mark.parametrize(
    ("op", "hint"),
    [
        (
            "stop",
            "change it there; for a while: setpoint override shop/web --for 1h stop, "
            "or the header X-Setpoint-Override: 1h",
        ),
        ("update", "change it there; for a while: the header X-Setpoint-Override: 1h"),
        ("rename", "change it there"),
        ("remove volume", "change it there"),
    ],
)
def test_the_way_is_one_that_there_is(op: str, hint: str) -> None:
    with pytest.raises(Conflict) as refused:
        check_owner(op, "shop-web-1", record())
    assert (refused.value.reason, refused.value.hint) == ("shop/compose.yaml:7 owns it", hint)


def test_what_the_api_made_may_be_changed() -> None:
    check_owner("stop", "web", record(owner="api"))
    check_owner("stop", "web", None)
