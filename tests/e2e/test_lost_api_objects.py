"""The database is gone: what the API made runs on, and is the API's as before."""

from __future__ import annotations

from tests.api.http_client import Http
from tests.e2e.story import Story, eventually

BODY = {
    "Image": "busybox", "Cmd": ["sleep", "1000"], "Labels": {"a": "b"}, "StopSignal": "SIGKILL",
    "HostConfig": {"Binds": ["kept:/kept"], "NetworkMode": "net", "RestartPolicy": {"Name": "always"}},
}  # fmt: skip


def test_all_of_it_is_found_again(story: Story) -> None:
    http = Http(story.layout.agent_socket)
    assert http("POST", "/networks/create", {"Name": "net", "Labels": {"n": "1"}}).status == 201
    id = http("POST", "/containers/create", BODY, query={"name": "first"}).json["Id"]
    other = http("POST", "/containers/create", {**BODY, "HostConfig": {}}, query={"name": "second"}).json[
        "Id"
    ]
    assert http("POST", f"/containers/{id}/start").status == 204
    assert http("POST", f"/containers/{id}/rename", query={"name": "renamed"}).status == 204
    before = http("GET", f"/containers/{id}/json").json
    story.setpoint("agent", "stop")
    for file in story.layout.data.glob("setpoint.db*"):
        file.unlink()
    assert not list(story.layout.data.glob("setpoint.db*"))
    story.start_agent()
    after = http("GET", f"/containers/{id}/json").json
    assert (after["Name"], after["State"]["Pid"]) == ("/renamed", before["State"]["Pid"])
    for part in ("Config", "HostConfig", "Mounts"):
        assert after[part] == before[part]
    assert http("GET", f"/containers/{other}/json").json["State"]["Status"] == "created"
    assert http("GET", "/networks/net").json["Labels"] == {"n": "1"}
    assert http("POST", f"/containers/{id}/stop").status == 204
    assert http("DELETE", f"/containers/{id}").status == 204
    assert http("DELETE", f"/containers/{other}").status == 204
    eventually(lambda: http("DELETE", "/networks/net").status == 204, "nobody is on it")
    assert http("DELETE", "/volumes/kept").status == 204
