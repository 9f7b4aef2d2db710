"""What the loop does, in the words of Docker's events."""

from __future__ import annotations

from agent.reconcile import actions as do
from agent.reconcile.actions import Cause
from agent.reconcile.happenings import of_action, of_exit, subject_of
from agent.reconcile.policy import Exit
from runtime.model import ContainerState, EndpointConfig
from store.records import Happening, Key

WEB, API = Key("shop", "container", "web"), Key("@api", "container", "abababababab")
ID = "ab" * 32
STATE = ContainerState(
    id=ID, name="shop-web-1", labels={"setpoint.key": "shop/container/web", "tier": "front"}, phase="running",
    endpoints=(EndpointConfig("shop_default"),),
)  # fmt: skip
SUBJECT = subject_of(API, STATE, "nginx:1")
CAUSE = Cause("it is wanted")


def told(action: do.Action, after: ContainerState | None = None) -> list[tuple[str, str]]:
    return [(each.type, each.action) for each in of_action(action, SUBJECT, after, "nginx:1")]


def test_labels_of_the_engine_are_left_out_and_composes_are_there() -> None:
    assert SUBJECT.attributes == {"tier": "front", "image": "nginx:1", "name": "shop-web-1"}
    of_manifest = subject_of(WEB, STATE, "nginx:1").attributes
    assert of_manifest["com.docker.compose.project"] == "shop"
    assert of_manifest["com.docker.compose.service"] == "web"


def test_a_start_joins_networks_first() -> None:
    assert told(do.StartContainer(API, CAUSE, id=ID)) == [("network", "connect"), ("container", "start")]


def test_a_stop_is_a_kill_an_end_and_a_stop() -> None:
    after = ContainerState(ID, "shop-web-1", {}, "stopped", exit_code=143, ran_seconds=2.9)
    stop = do.StopContainer(API, CAUSE, id=ID, signal="SIGINT")
    kill, _leave, die, last = of_action(stop, SUBJECT, after, "nginx:1")
    assert (kill.action, kill.attributes["signal"]) == ("kill", "2")
    assert (die.attributes["exitCode"], die.attributes["execDuration"]) == ("143", "2")
    assert last.action == "stop"


def test_a_stop_that_takes_too_long_is_two_kills() -> None:
    after = ContainerState(ID, "shop-web-1", {}, "stopped", exit_code=137, ran_seconds=2.9)
    found = of_action(do.StopContainer(API, CAUSE, id=ID), SUBJECT, after, "nginx:1")
    assert [each.attributes["signal"] for each in found if each.action == "kill"] == ["15", "9"]


def test_a_kill_is_no_stop() -> None:
    killed = told(do.StopContainer(API, CAUSE, id=ID, signal="KILL", is_kill=True))
    assert killed == [("container", "kill"), ("network", "disconnect"), ("container", "die")]


def test_a_stop_by_the_signal_that_kills_is_a_stop() -> None:
    stopped = told(do.StopContainer(API, CAUSE, id=ID, signal="SIGKILL"))
    assert stopped[-1] == ("container", "stop")


def test_a_rename_has_both_names() -> None:
    [renamed] = of_action(do.RenameContainer(API, CAUSE, id=ID, name="new"), SUBJECT, STATE, "nginx:1")
    assert (renamed.attributes["name"], renamed.attributes["oldName"]) == ("new", "/shop-web-1")


def test_an_end_for_want_of_memory_is_told_as_such() -> None:
    exit = Exit(1, ID, 1.0, 5.0, 137, oom_killed=True)
    assert [each.action for each in of_exit(exit, SUBJECT)] == ["oom", "disconnect", "die"]


def test_a_kill_that_was_quicker_than_the_loop_is_told() -> None:
    told = [each.action for each in of_exit(Exit(1, ID, 1.0, 5.0, 137), SUBJECT, is_kill=True)]
    assert told == ["kill", "disconnect", "die"]


def test_what_nobody_knows_any_more_is_not_made_up() -> None:
    assert of_action(do.DeleteContainer(API, CAUSE, id=ID), None, None, "") == ()
    destroyed = of_action(do.DeleteVolume(API, CAUSE, name="data"), None, None, "")
    assert destroyed == (Happening("volume", "destroy", "data", {"driver": "local"}),)
