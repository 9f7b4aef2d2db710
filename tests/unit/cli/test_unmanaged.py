"""What the Docker API made is shown apart, by the name that people gave it, and is found by that name."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.views import object_view, resolve
from agent.cli import connect
from agent.cli.get import describe
from agent.cli.output import shown_key
from agent.cli.status import render
from runtime.errors import Invalid, NotFound
from store.records import Key, ObjectRecord
from tests.unit.cli.conftest import FakeAgent, Run

API = Key("@api", "container", "0123456789ab")
WEB = Key("shop", "container", "web")


def record(key: Key, name: str, owner: str = "api") -> ObjectRecord:
    spec = {"image": "a", "container_name": name} if name else {"image": "a"}
    file = "" if owner == "api" else "shop/compose.yaml"
    return ObjectRecord(key, owner, spec, "h", 1, 1, file, 1, "")


OBJECTS = {API: record(API, "jolly_otter"), WEB: record(WEB, "", "git")}


def view(key: Key) -> dict[str, Any]:
    return object_view(key, OBJECTS[key], None) | {"ready": True, "phase": "Running"}


def test_it_has_a_section_of_its_own_with_the_way_out() -> None:
    status = {"ready": True, "agent": "running", "revision": "", "objects": [view(API), view(WEB)]}
    lines = render(status).splitlines()
    assert lines[0] == "ready  1 of 1 objects, 1 unmanaged"
    assert lines[3].startswith("shop/container/web ")
    assert "setpoint adopt NAME" in lines[5]
    assert lines[7].startswith("container jolly_otter ")
    assert "0123456789ab" not in render(status)


def test_what_cannot_be_adopted_has_no_hint_to_do_so() -> None:
    key = Key("@api", "volume", "data")
    volume = object_view(key, record(key, "data"), None) | {"ready": True, "phase": "Ready"}
    text = render({"ready": True, "agent": "running", "revision": "", "objects": [volume]})
    assert "unmanaged: made through the Docker API" in text and "volume data" in text
    assert "setpoint adopt" not in text


def test_a_manifests_object_is_managed() -> None:
    assert not view(WEB)["unmanaged"]
    assert view(WEB)["name"] == "web"


@pytest.mark.parametrize("word", ["jolly_otter", "@api/jolly_otter", "0123456789ab", str(API)])
def test_it_is_found_by_its_name_and_by_its_key(word: str) -> None:
    assert resolve(word, OBJECTS, OBJECTS) == API
    assert connect.match_objects([word], [view(API), view(WEB)]) == [str(API)]


def test_a_name_that_a_manifests_object_has_too_is_asked_about() -> None:
    objects = OBJECTS | {API: record(API, "web")}
    with pytest.raises(Invalid, match="2 objects have this name"):
        resolve("web", objects, objects)
    assert resolve("@api/web", objects, objects) == API
    assert resolve("shop/web", objects, objects) == WEB


def test_another_projects_name_is_not_the_apis() -> None:
    with pytest.raises(NotFound):
        resolve("shop/jolly_otter", OBJECTS, OBJECTS)


def test_verbs_take_its_name(agent: FakeAgent, run: Run) -> None:
    agent.routes["GET /status"] = {"objects": [view(API), view(WEB)]}
    agent.routes["POST /suspend/%40api/container/0123456789ab"] = {"key": str(API)}
    assert run("suspend", "jolly_otter")[:2] == (0, "suspended @api/container/jolly_otter\n")


def test_what_several_have_is_told_by_names_that_are_one_objects() -> None:
    objects = OBJECTS | {API: record(API, "web")}
    with pytest.raises(Invalid) as refused:
        resolve("web", objects, objects)
    assert refused.value.hint == "give the project: @api/web or shop/web"


@pytest.mark.parametrize("word", ["shop-web-1", "shop/wbe", "weeb"])
def test_dockers_name_of_a_manifests_container_leads_to_it(word: str) -> None:
    with pytest.raises(NotFound) as refused:
        resolve(word, OBJECTS, OBJECTS)
    assert refused.value.hint == "did you mean shop/web?"


def test_its_key_is_shown_with_its_name() -> None:
    assert [shown_key(view(API)), shown_key(view(WEB))] == ["@api/container/jolly_otter", str(WEB)]


def test_what_its_client_left_empty_is_not_described() -> None:
    asked = {
        "image": "busybox",
        "request": {"Tty": False, "Env": None, "HostConfig": {"Binds": [], "Init": True}},
    }
    text = "\n".join(describe(view(API) | {"spec": {"image": "a", "tty": False, "asked": asked}}))
    assert "HostConfig:" in text and "Init: true" in text and "tty: false" in text
    assert "Binds" not in text and "Env" not in text and "Tty" not in text
