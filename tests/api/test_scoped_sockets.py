"""Scoped sockets, as a manifest declares them, through real clients: what is allowed, what is seen, what may
be asked for, whose things are touched, how long things live, and what is written down of it."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import socket
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api.docker.routes import ROUTES
from agent.policy.permissions import ALL, NEVER, PERMISSIONS, expanded
from tests.api.http_client import Answer, Http
from tests.e2e.own_story import own_story
from tests.e2e.story import Story, eventually

SOCKETS = """\
apiVersion: setpoint/v1
kind: Socket
metadata: {{name: ci}}
spec:
  allow: [read, containers, networks, volumes, "images:pull"]
  limits:
    binds: [{given}, "{given}-ro:ro"]
    ports: [20000-20100]
    images: ["busybox", "docker.io/library/busybox"]
---
apiVersion: setpoint/v1
kind: Socket
metadata: {{name: view}}
spec: {{allow: [read], label: team=ci}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {{name: short}}
spec: {{allow: [write], time_to_live: 3s}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {{name: builds}}
spec: {{allow: [write], limits: {{images: ["docker.io/library/busybox", "docker.io/ci/*"]}}}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {{name: mine}}
spec: {{path: {place}/docker.sock, owner: "65534:65534", mode: "0600", allow: ["containers:read"]}}
"""
COMPOSE = """\
services:
  web: {image: busybox, command: [sleep, "1000"], stop_signal: SIGKILL, volumes: ["data:/data"]}
  seen: {image: busybox, command: [sleep, "1000"], stop_signal: SIGKILL, labels: {team: ci}}
volumes: {data: {}}
"""
SLEEP = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}


def one_socket(name: str, more: str) -> str:
    head = f"apiVersion: setpoint/v1\nkind: Socket\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{allow: [read]{more}}}\n"


class Fenced:
    """One agent with the sockets of SOCKETS and the project of COMPOSE."""

    def __init__(self, story: Story, given: Path, config: Path) -> None:
        self.story, self.given, self._config = story, given, config
        self.all = Http(story.layout.agent_socket)

    def path(self, name: str) -> Path:
        return self.story.layout.run / "sockets" / f"ops.{name}.sock"

    def http(self, name: str) -> Http:
        return Http(self.path(name))

    def docker(self, name: str, *words: str, code: int = 0) -> str:
        others = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
        environment = {
            **others,
            "DOCKER_HOST": f"unix://{self.path(name)}",
            "DOCKER_CONFIG": str(self._config),
        }
        done = subprocess.run(
            ["docker", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode == 0) is (code == 0), done.stdout + done.stderr
        return done.stdout + done.stderr

    def make(self, name: str, **body: Any) -> Answer:
        return self.http(name)(
            "POST", "/containers/create", {**SLEEP, **body}, query={"name": f"n{secrets.token_hex(4)}"}
        )

    def build(self, name: str, dockerfile: str) -> str:
        """All that a classic build says."""
        content, packed = dockerfile.encode(), io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            head = tarfile.TarInfo("Dockerfile")
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))
        http = self.http(name) if name else self.all
        return http("POST", "/build", packed.getvalue()).body.decode()

    def audit(self, name: str) -> list[dict[str, Any]]:
        path = self.story.layout.data / f"audit/ops.{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def fenced(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fenced]:
    top = tmp_path_factory.mktemp("fenced")
    given = top / "given"
    given.mkdir()
    with own_story(top) as story:
        place = story.layout.run / "elsewhere"
        sockets = SOCKETS.format(given=given, place=place)
        story.commit({"ops/sockets.yaml": sockets, "ops/compose.yaml": COMPOSE})
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        story.setpoint("sync", "--wait")
        yield Fenced(story, given, top / "config")


@pytest.fixture(autouse=True)
def _clean(fenced: Fenced) -> Iterator[None]:
    yield
    for row in fenced.all("GET", "/containers/json", query={"all": "1"}).json:
        if "io.setpoint.socket" in row["Labels"] or row["Names"] == ["/foreign"]:
            fenced.all("DELETE", f"/containers/{row['Id']}", query={"force": "1", "v": "1"})


# --- the table ------------------------------------------------------------------------------------


def test_every_route_has_a_permission_or_is_never_given() -> None:
    routes = {(method, re.sub(r":[^{}]*}", "}", path)) for method, path, _ in ROUTES}
    assert routes == PERMISSIONS.keys() | NEVER
    assert not PERMISSIONS.keys() & NEVER
    assert {name for name in PERMISSIONS.values() if name} <= ALL
    assert ALL - set(PERMISSIONS.values()) == set()


def test_sockets_listen_for_their_owner_and_are_ready(fenced: Fenced) -> None:
    found = fenced.story.object("ops/socket/ci")
    assert found is not None and found["ready"] and found["phase"] == "Ready"
    assert stat.S_IMODE(fenced.path("ci").stat().st_mode) == 0o660
    mine = (fenced.story.layout.run / "elsewhere/docker.sock").stat()
    assert (mine.st_uid, mine.st_gid, stat.S_IMODE(mine.st_mode)) == (65534, 65534, 0o600)


# --- what is allowed and seen ---------------------------------------------------------------------


def test_what_is_not_allowed_is_refused_and_told(fenced: Fenced) -> None:
    view = fenced.http("view")
    for method, path in (
        ("POST", "/containers/create"), ("POST", "/images/prune"), ("GET", "/system/df"), ("POST", "/build"),
        ("POST", "/swarm/init"), ("GET", "/plugins"), ("POST", "/volumes/create"), ("POST", "/session"),
        ("GET", "/setpoint/v1/status"), ("POST", "/setpoint/v1/stop"), ("POST", "/containers/prune"),
    ):  # fmt: skip
        assert view(method, path).status == 403, path
    assert "containers:create is not allowed at the socket ops/view" in fenced.docker(
        "view", "run", "--rm", "busybox", "true", code=1
    )
    told = fenced.story.setpoint("events", "ops/socket/view")
    assert "Refused" in told and "uid 0" in told


def test_no_checkpoint_is_made_or_begun_from(fenced: Fenced) -> None:
    """Whoever may name a directory could have CRIU make what its files say."""
    id = fenced.make("ci", **SLEEP).json["Id"]
    ci = fenced.http("ci")
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/one")):
        assert ci(method, f"/containers/{id}/checkpoints{path}").status == 403
    query = {"checkpoint": "one", "checkpoint-dir": "/tmp"}
    answer = ci("POST", f"/containers/{id}/start", query=query)
    assert (answer.status, "checkpoint" in answer.message) == (403, True)


def test_only_what_bears_the_label_is_seen(fenced: Fenced) -> None:
    rows = fenced.http("view")("GET", "/containers/json", query={"all": "1"}).json
    assert [row["Names"] for row in rows] == [["/ops-seen-1"]]
    old_form = json.dumps({"label": {"team": True}, "name": {"seen": True}})
    assert len(fenced.http("view")("GET", "/containers/json", query={"filters": old_form}).json) == 1
    assert fenced.http("ci")("GET", "/containers/json", query={"all": "1"}).json == []
    assert fenced.http("ci")("GET", "/networks").json == []
    assert fenced.http("ci")("GET", "/volumes").json["Volumes"] == []


@pytest.mark.parametrize("filters", ['{"label":["x"]', "[]", '"x"', '{"label": 7}', "null", "x"])
def test_filters_that_are_none_show_nothing(fenced: Fenced, filters: str) -> None:
    answer = fenced.http("ci")("GET", "/containers/json", query={"all": "1", "filters": filters})
    assert answer.status == 400 or answer.json == []


def test_filters_given_twice_do_not_get_round_the_label(fenced: Fenced) -> None:
    answer = fenced.http("ci")("GET", "/containers/json?all=1&filters={}&filters={}")
    assert answer.status == 200 and answer.json == []


def test_what_is_not_seen_is_not_there(fenced: Fenced) -> None:
    ci = fenced.http("ci")
    web = fenced.all("GET", "/containers/ops-web-1/json").json["Id"]
    for name in ("ops-web-1", web, web[:12], web[:4]):
        for method, path in (
            ("GET", "json"), ("GET", "logs?stdout=1"), ("POST", "kill"), ("POST", "stop"), ("POST", "wait"),
            ("GET", "archive?path=/"), ("POST", "attach?stream=1"), ("GET", "top"), ("GET", "export"),
        ):  # fmt: skip
            assert ci(method, f"/containers/{name}/{path}").status == 404, (name, path)
        assert ci("POST", f"/containers/{name}/exec", {"Cmd": ["true"]}).status == 404
        assert ci("DELETE", f"/containers/{name}?force=1").status == 404
    exec_id = fenced.all("POST", "/containers/ops-web-1/exec", {"Cmd": ["true"]}).json["Id"]
    assert ci("POST", f"/exec/{exec_id}/start", {"Detach": True}).status == 404
    assert ci("GET", f"/exec/{exec_id}/json").status == 404
    assert ci("GET", "/networks/ops_default").status == 404
    assert ci("DELETE", "/networks/ops_default").status == 404
    assert ci("GET", "/volumes/ops_data").status == 404
    assert ci("DELETE", "/volumes/ops_data").status == 404


def test_a_prune_takes_only_its_own(fenced: Fenced) -> None:
    foreign = fenced.all("POST", "/containers/create", SLEEP, query={"name": "foreign"}).json["Id"]
    own = fenced.make("ci").json["Id"]
    assert fenced.http("ci")("POST", "/containers/prune").json["ContainersDeleted"] == [own]
    assert fenced.all("GET", f"/containers/{foreign}/json").status == 200


def test_events_are_of_its_own(fenced: Fenced) -> None:
    since = int(time.time()) - 1
    own = fenced.make("ci").json["Id"]
    foreign = fenced.all("POST", "/containers/create", SLEEP, query={"name": "foreign"}).json["Id"]
    query = {"since": str(since), "until": str(int(time.time()) + 1)}
    seen = fenced.http("ci")("GET", "/events", query=query).body.decode()
    assert own in seen and foreign not in seen


# --- what may be asked for ------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "privileged": {"HostConfig": {"Privileged": True}},
    "host network": {"HostConfig": {"NetworkMode": "host"}},
    "host pids": {"HostConfig": {"PidMode": "host"}},
    "host ipc": {"HostConfig": {"IpcMode": "host"}},
    "host uts": {"HostConfig": {"UTSMode": "host"}},
    "the root": {"HostConfig": {"Binds": ["/:/host"]}},
    "the agent's socket": {"HostConfig": {"Binds": ["/run:/host"]}},
    "beside what is given": {"HostConfig": {"Binds": ["{given}-other:/x"]}},
    "above what is given": {"HostConfig": {"Binds": ["{given}/../:/x"]}},
    "a mount": {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}},
    "a capability": {"HostConfig": {"CapAdd": ["SYS_ADMIN"]}},
    "all capabilities": {"HostConfig": {"CapAdd": ["ALL"]}},
    "a device": {"HostConfig": {"Devices": [{"PathOnHost": "/dev/mem", "PathInContainer": "/dev/mem"}]}},
    "no filter": {"HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}},
    "what is mounted below": {
        "HostConfig": {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "{given}-ro",
                    "Target": "/x",
                    "ReadOnly": True,
                    "BindOptions": {"ReadOnlyNonRecursive": True},
                },
            ]
        }
    },
    "an address of the default network": {
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:00:00:09"}}},
    },
    "a port": {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "22"}]}}},
    "to be ended last": {"HostConfig": {"OomScoreAdj": -1}},
    "a control group": {"HostConfig": {"CgroupParent": "/docker"}},
    "the host's control groups": {"HostConfig": {"CgroupnsMode": "host"}},
    "another runtime": {"HostConfig": {"Runtime": "/bin/sh"}},
    "no hidden paths": {"HostConfig": {"MaskedPaths": [], "ReadonlyPaths": []}},
    "a device rule": {"HostConfig": {"DeviceCgroupRules": ["b 8:0 rwm"]}},
}


@pytest.mark.parametrize("name", ASKED)
def test_what_the_limits_do_not_allow_is_refused(fenced: Fenced, name: str) -> None:
    body = json.loads(json.dumps(ASKED[name]).replace("{given}", str(fenced.given)))
    answer = fenced.make("ci", **body)
    assert answer.status in (400, 403, 501), answer.body
    assert answer.status != 403 or re.search("is not allowed (by|at) the socket ops/ci", answer.message)
    assert fenced.http("ci")("GET", "/containers/json", query={"all": "1"}).json == []


@pytest.mark.parametrize("link", ["{outside}", "../outside", "/proc/1/root{outside}"])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_link_planted_in_what_was_given_leads_nowhere(fenced: Fenced, link: str, is_late: bool) -> None:
    """What it names is looked for as if what was given were all that there is."""
    ci, place = fenced.http("ci"), fenced.given / f"d{secrets.token_hex(4)}"
    outside = fenced.given.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("secret")
    target = link.format(outside=outside)
    place.mkdir() if is_late else place.symlink_to(target)
    made = fenced.make("ci", HostConfig={"Binds": [f"{place}:/x"]})
    if is_late:
        place.rmdir()
        place.symlink_to(target)
    if made.status == 201 and ci("POST", f"/containers/{made.json['Id']}/start").status == 204:
        assert "secret" not in fenced.docker("ci", "exec", made.json["Id"], "ls", "-R", "/x")
        fenced.docker("ci", "exec", made.json["Id"], "touch", "/x/planted")
    assert [path.name for path in outside.iterdir()] == ["secret"]


def bind_options(device: Path | str, o: str = "bind") -> dict[str, str]:
    return {"type": "none", "o": o, "device": str(device)}


@pytest.mark.parametrize(
    "options",
    [bind_options("/etc", "bind,ro"), bind_options("/"), {"type": "ext4", "device": "/dev/vda"}],
)
def test_options_of_a_volume_are_held_as_mounts_are(fenced: Fenced, options: dict[str, str]) -> None:
    ci, name = fenced.http("ci"), f"v{secrets.token_hex(4)}"
    made = ci("POST", "/volumes/create", {"Name": name, "DriverOpts": options})
    assert made.status == 403 and "is not allowed by the socket ops/ci" in made.message
    mount = {
        "Type": "volume", "Source": name, "Target": "/x",
        "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}},
    }  # fmt: skip
    assert fenced.make("ci", HostConfig={"Mounts": [mount]}).status == 403
    assert fenced.all("GET", f"/volumes/{name}").status == 404


@pytest.mark.parametrize("link", ["{outside}", "../{outside.name}"])
def test_a_volume_of_what_was_given_is_not_led_out_by_a_link(fenced: Fenced, link: str) -> None:
    ci, name = fenced.http("ci"), f"v{secrets.token_hex(4)}"
    # A name of its own: what others planted by that of another is there, inside of what was given.
    place, outside = fenced.given / name, fenced.given.parent / f"outside-{name}"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    place.mkdir()
    (place / "own").write_text("own")
    body = {"Name": name, "DriverOpts": bind_options(place)}
    assert ci("POST", "/volumes/create", body).status == 201
    words = ("run", "--rm", "-v", f"{name}:/x", "busybox", "ls", "/x")
    assert fenced.docker("ci", *words) == "own\n"
    (place / "own").unlink()
    place.rmdir()
    place.symlink_to(link.format(outside=outside))
    assert "secret" not in fenced.docker("ci", *words, code=1)
    assert ci("DELETE", f"/volumes/{name}").status == 204
    assert [path.name for path in outside.iterdir()] == ["secret"]


OTHERS: dict[str, dict[str, Any]] = {
    "network": {"HostConfig": {"NetworkMode": "ops_default"}},
    "second network": {"NetworkingConfig": {"EndpointsConfig": {"ops_default": {}}}},
    "volume": {"HostConfig": {"Binds": ["ops_data:/x"]}},
    "mounted volume": {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "ops_data", "Target": "/x"}]}},
    "volumes of": {"HostConfig": {"VolumesFrom": ["ops-web-1"]}},
    "network of": {"HostConfig": {"NetworkMode": "container:ops-web-1"}},
    "pids of": {"HostConfig": {"PidMode": "container:ops-web-1"}},
    "ipc of": {"HostConfig": {"IpcMode": "container:ops-web-1"}},
    "a link to": {"HostConfig": {"Links": ["ops-web-1:web"]}},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_others_have_is_not_there(fenced: Fenced, name: str) -> None:
    answer = fenced.make("ci", **OTHERS[name])
    assert answer.status in (400, 404), answer.body
    assert fenced.http("ci")("GET", "/containers/json", query={"all": "1"}).json == []


def test_what_is_allowed_works(fenced: Fenced) -> None:
    ci = fenced.http("ci")
    network = ci("POST", "/networks/create", {"Name": f"n{secrets.token_hex(4)}"}).json["Id"]
    own = fenced.make(
        "ci", HostConfig={"Binds": [f"{fenced.given}:/given"], "NetworkMode": network,
                          "PortBindings": {"80/tcp": [{"HostPort": "20080"}]}},
    ).json["Id"]  # fmt: skip
    assert ci("POST", f"/containers/{own}/start").status == 204
    joined = fenced.make("ci", HostConfig={"NetworkMode": f"container:{own}", "VolumesFrom": [own]})
    assert joined.status == 201, joined.body
    assert fenced.docker("ci", "exec", own, "echo", "yes") == "yes\n"
    assert ci("POST", f"/containers/{own}/exec", {"Cmd": ["true"], "Privileged": True}).status == 403
    assert ci("POST", "/networks/ops_default/connect", {"Container": own}).status == 404
    assert ci("POST", f"/networks/{network}/connect", {"Container": "ops-web-1"}).status == 404
    for id in (joined.json["Id"], own):
        ci("DELETE", f"/containers/{id}?force=1")
    assert ci("DELETE", f"/networks/{network}").status == 204


def test_the_label_is_ours_to_write(fenced: Fenced) -> None:
    wanted = {"io.setpoint.socket": "ops/view", "io.setpoint.expires-at": "1", "mine": "x"}
    own = fenced.make("ci", Labels=wanted).json["Id"]
    labels = fenced.all("GET", f"/containers/{own}/json").json["Config"]["Labels"]
    assert labels == {"io.setpoint.socket": "ops/ci", "mine": "x"}
    volume = fenced.http("ci")("POST", "/volumes/create", {}).json
    assert volume["Labels"]["io.setpoint.socket"] == "ops/ci"
    assert fenced.http("ci")("DELETE", f"/volumes/{volume['Name']}").status == 204
    assert fenced.http("ci")("POST", "/volumes/create", {"Name": "ops_data"}).status == 409


def test_images_are_those_of_the_limits(fenced: Fenced) -> None:
    ci = fenced.http("ci")
    assert ci("POST", "/images/create", query={"fromImage": "evil.example/x", "tag": "1"}).status == 403
    assert ci("POST", "/images/create", query={"fromSrc": "-"}).status == 403  # an import is no pull
    assert ci("DELETE", "/images/busybox").status == 403
    assert ci("GET", "/images/busybox/json").status == 200


@pytest.fixture
def others_image(fenced: Fenced) -> Iterator[str]:
    """The id of an image that is not in the limits, with a label that says it is of the socket ci."""
    made = fenced.all("POST", "/containers/create", SLEEP, query={"name": "foreign"}).json["Id"]
    change = "LABEL io.setpoint.socket=ops/ci"
    query = {"container": made, "repo": "secret/prod", "tag": "1", "changes": change}
    yield fenced.all("POST", "/commit", {}, query=query).json["Id"]
    fenced.all("DELETE", f"/containers/{made}")
    fenced.all("DELETE", "/images/secret/prod:1", query={"force": "1"})


def test_an_image_out_of_the_limits_is_not_run_by_any_name(fenced: Fenced, others_image: str) -> None:
    for name in ("secret/prod:1", others_image, others_image[7:], others_image[7:19]):
        assert fenced.make("ci", Image=name).status == 403, name
    own = fenced.all("GET", "/images/busybox/json").json["Id"]
    assert fenced.make("ci", Image=own).status == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/{id}/json"), ("GET", "/images/secret/prod:1/history"), ("GET", "/images/{id}/get"),
        ("GET", "/images/get?names=busybox&names={id}"), ("POST", "/images/{id}/tag?repo=ci/x"),
        ("POST", "/images/busybox/tag?repo=secret/prod&tag=1"), ("POST", "/images/secret/prod/push?tag=1"),
        ("POST", "/images/secret/prod/push"), ("DELETE", "/images/{id}"), ("POST", "/build?t=secret/prod"),
        ("POST", "/build?t=ci/x&t=secret/prod:1"), ("GET", "/distribution/secret/prod:1/json"),
        ("POST", "/images/create?fromImage=secret/prod"),
        ("POST", "/images/create?fromSrc=-&repo=secret/prod"),
        ("GET", "/images/search?term=x"),
    ],
)  # fmt: skip
def test_nothing_is_done_with_it_either(fenced: Fenced, others_image: str, method: str, path: str) -> None:
    answer = fenced.http("builds")(method, path.format(id=others_image[7:]))
    assert answer.status == 403 and "is not allowed at the socket ops/builds" in answer.message


def test_nor_is_it_built_upon(fenced: Fenced, others_image: str) -> None:
    for line in (
        "FROM secret/prod:1",
        f"FROM {others_image}",
        "FROM busybox\nCOPY --from=secret/prod:1 /etc /x",
    ):
        said = fenced.build("builds", line)
        assert "not allowed at the socket ops/builds" in said and "Successfully" not in said, line
    assert "Successfully built" in fenced.build("builds", "FROM busybox\nRUN true")


@pytest.fixture
def _no_build_cache(fenced: Fenced) -> Iterator[None]:
    yield
    fenced.all("POST", "/build/prune")


@pytest.mark.usefixtures("_no_build_cache")
def test_what_its_builds_leave_behind_is_not_used_by_others(fenced: Fenced) -> None:
    """Neither a step's result nor a directory of a cache: who makes them may put there what he likes."""
    word = secrets.token_hex(8)
    mount = f"RUN --mount=type=cache,id={word},target=/c "
    lines = f"FROM busybox\n{mount}touch /c/planted; ls /c > /found\n"
    for _ in range(2):
        assert "Successfully built" in (said := fenced.build("builds", lines))
    assert "Using cache" in said
    said = fenced.build("", lines)
    assert "Successfully built" in said and "Using cache" not in said
    other = f"FROM busybox\n{mount}test ! -e /c/planted || exit 7\n"
    assert "non-zero code: 7" in fenced.build("", other)  # of its own cache
    assert "Successfully built" in fenced.build("short", other)
    answer = fenced.http("builds")("POST", "/build", query={"cachefrom": ["docker.io/ci/x"]})
    assert answer.status == 403


@pytest.mark.parametrize("name", ["ssh", "this host"])
def test_root_of_a_container_is_not_root_of_the_host(fenced: Fenced, name: str) -> None:
    """The socket is mounted into a container, whose root has the host's number: no keys of the host's root,
    and no server of this machine."""
    remote = {"ssh": "git@localhost:x.git", "this host": "https://127.0.0.1:1/x.git"}[name]
    answer = fenced.http("builds")("POST", "/build", query={"remote": remote})
    words = {"ssh": b"only https is fetched", "this host": b"does not reach"}[name]
    assert words in answer.body, answer.body


def test_labels_of_an_image_are_no_owner(fenced: Fenced, others_image: str) -> None:
    made = fenced.all("POST", "/containers/create", SLEEP | {"Image": others_image}, query={"name": "lured"})
    try:
        assert fenced.http("ci")("GET", "/containers/json", query={"all": "1"}).json == []
        assert fenced.http("ci")("POST", "/containers/prune").json["ContainersDeleted"] == []
        assert fenced.all("GET", f"/containers/{made.json['Id']}/json").status == 200
    finally:
        fenced.all("DELETE", f"/containers/{made.json['Id']}")


def test_a_list_tells_nothing_of_others_by_their_place(fenced: Fenced) -> None:
    for word in ("before", "since"):
        filters = json.dumps({word: ["ops-web-1"]})
        answer = fenced.http("ci")("GET", "/containers/json", query={"filters": filters})
        assert answer.status == 404 and "No such container" in answer.message


def test_a_volume_that_nobody_wants_any_more_is_still_not_theirs(fenced: Fenced) -> None:
    """One without a name of its own, of a container that somebody else made."""
    made = fenced.all(
        "POST", "/containers/create", {**SLEEP, "Volumes": {"/data": {}}}, query={"name": "foreign"}
    )
    view = fenced.all("GET", f"/containers/{made.json['Id']}/json").json
    volume = view["Mounts"][0]["Name"]
    for host in (
        {"Binds": [f"{volume}:/x"]},
        {"Mounts": [{"Type": "volume", "Source": volume, "Target": "/x"}]},
    ):
        answer = fenced.make("ci", HostConfig=host)
        assert answer.status in (404, 409), answer.body


def test_addresses_of_others_are_not_taken(fenced: Fenced) -> None:
    ci, ipam = fenced.http("ci"), {"Config": [{"Subnet": "198.51.100.0/24"}]}
    answer = ci("POST", "/networks/create", {"Name": f"n{secrets.token_hex(4)}", "IPAM": ipam})
    assert answer.status == 403 and "a subnet of one's own is not allowed" in answer.message


@pytest.mark.parametrize(
    "said", [{"IPAMConfig": {"IPv4Address": "{address}"}}, {"MacAddress": "02:42:ac:00:00:09"}]
)
def test_nor_on_a_network_of_others_that_one_may_be_on(fenced: Fenced, said: dict[str, Any]) -> None:
    """What answers by another's address takes its place."""
    text = SOCKETS.format(given=fenced.given, place=fenced.story.layout.run / "elsewhere")
    guest = 'limits: {external: ["ops_*"]}'
    more = f"---\n{one_socket('guest', '').replace('[read]', f'[write], {guest}')}"
    fenced.story.apply({"ops/sockets.yaml": text + more})
    try:
        networks = fenced.all("GET", "/containers/ops-web-1/json").json["NetworkSettings"]["Networks"]
        taken = networks["ops_default"]["IPAddress"]
        free = taken.rpartition(".")[0] + ".99"
        own = json.loads(json.dumps(said).replace("{address}", free))
        answer = fenced.make(
            "guest", HostConfig={"NetworkMode": "ops_default"},
            NetworkingConfig={"EndpointsConfig": {"ops_default": own}},
        )  # fmt: skip
        assert answer.status == 403, answer.body
        assert "an address of one's own on the network" in answer.message
        assert fenced.make("guest", HostConfig={"NetworkMode": "ops_default"}).status == 201
        assert fenced.make("guest", HostConfig={"Binds": ["ops_data:/x"]}).status == 201
        assert fenced.make("view", HostConfig={"Binds": ["ops_data:/x"]}).status == 403
    finally:
        fenced.story.apply({"ops/sockets.yaml": text})


def test_links_of_the_host_are_not_named(fenced: Fenced) -> None:
    options = {"com.docker.network.bridge.name": "wg0"}
    body = {"Name": f"n{secrets.token_hex(4)}", "Options": options}
    answer = fenced.http("ci")("POST", "/networks/create", body)
    assert answer.status == 403 and "a bridge's name is not allowed" in answer.message


def test_a_profile_of_who_may_have_none_is_not_kept(fenced: Fenced) -> None:
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "x": secrets.token_hex(8)})
    answer = fenced.make("ci", HostConfig={"SecurityOpt": [f"seccomp={profile}"]})
    assert answer.status == 403
    assert not list((fenced.story.layout.data / "seccomp").glob("*.json"))


def test_what_a_manifest_owns_stays_its_own(fenced: Fenced) -> None:
    """Seen by its label, and still changed by nobody; nor overridden from here."""
    assert fenced.http("view")("POST", "/containers/ops-seen-1/stop").status == 403


LATER = """\
services: {web: {image: busybox, command: [sleep, "1000"], stop_signal: SIGKILL, volumes: ["data:/data"]}}
volumes: {data: {}}
"""


@pytest.mark.parametrize(
    ("kind", "named"), [("volume", {"Name": "later_data"}), ("network", {"Name": "later_default"})]
)
def test_what_lies_in_wait_for_a_manifest_is_not_used_by_it(
    fenced: Fenced, kind: str, named: dict[str, str]
) -> None:
    """Who made it could read what is written there, or talk to it as a neighbour."""
    ci = fenced.http("ci")
    assert ci("POST", f"/{kind}s/create", named).status == 201
    try:
        fenced.story.commit({"later/compose.yaml": LATER})
        fenced.story.setpoint("sync")

        def says() -> str:
            found = fenced.story.object("later/container/web")
            return str(found["message"]) if found else ""

        eventually(lambda: "it is not ours" in says(), "it waits")
        rows = fenced.all("GET", "/containers/json").json
        assert not any("later" in row["Names"][0] for row in rows)
    finally:
        removed = ci("DELETE", f"/{kind}s/{named['Name']}")
        fenced.story.commit({"later/compose.yaml": None})
        fenced.story.setpoint("sync")
    assert removed.status == 204, removed.body


# --- how long things live -------------------------------------------------------------------------


STAYS: dict[str, dict[str, Any]] = {
    "a stop with a lot of time": {"Cmd": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
                                  "StopSignal": "SIGTERM", "StopTimeout": 100000},
    "a signal that ends nothing": {"StopSignal": "SIGCONT", "StopTimeout": 100000},
    "in the middle of a stop": {"StopSignal": "SIGCONT"},
    "started again and again": {"Cmd": ["false"], "HostConfig": {"RestartPolicy": {"Name": "always"}}},
    "paused": {},
}  # fmt: skip


@pytest.mark.parametrize("name", STAYS)
def test_nothing_stays_longer(fenced: Fenced, name: str) -> None:
    short = fenced.http("short")
    own = fenced.make("short", **STAYS[name]).json["Id"]
    assert short("POST", f"/containers/{own}/start").status == 204
    if name == "paused":
        assert short("POST", f"/containers/{own}/pause").status == 204
    elif name == "in the middle of a stop":
        with pytest.raises(TimeoutError):
            short("POST", f"/containers/{own}/stop", query={"t": "100000"}, seconds=1)
    eventually(lambda: fenced.all("GET", f"/containers/{own}/json").status == 404, "it is gone", 15)


def test_what_is_made_there_goes_when_its_time_is_over(fenced: Fenced) -> None:
    short = fenced.http("short")
    network = short("POST", "/networks/create", {"Name": f"n{secrets.token_hex(4)}"}).json["Id"]
    volume = short("POST", "/volumes/create", {}).json["Name"]
    own = fenced.make("short", HostConfig={"NetworkMode": network, "Binds": [f"{volume}:/x"]}).json["Id"]
    assert short("POST", f"/containers/{own}/start").status == 204
    eventually(lambda: fenced.all("GET", f"/containers/{own}/json").status == 404, "the container is gone")
    eventually(lambda: fenced.all("GET", f"/networks/{network}").status == 404, "the network is gone")
    eventually(lambda: fenced.all("GET", f"/volumes/{volume}").status == 404, "the volume is gone")
    assert "Expired" in fenced.story.setpoint("events")


def test_an_agent_that_was_killed_knows_the_time_too(fenced: Fenced) -> None:
    own = fenced.make("short").json["Id"]
    fenced.story.kill(fenced.story.agent_pid())
    fenced.story.start_agent()
    eventually(lambda: fenced.all("GET", f"/containers/{own}/json").status == 404, "the container is gone")
    eventually(lambda: fenced.http("ci")("GET", "/_ping").status == 200, "the socket listens again")


# --- what is written down -------------------------------------------------------------------------


def test_each_request_is_a_line_of_the_audit(fenced: Fenced) -> None:
    fenced.make("ci", Env=["SECRET=canary-4711"])
    fenced.make("ci", HostConfig={"Privileged": True})
    made, refused = [line for line in fenced.audit("ci") if line["path"] == "/containers/create"][-2:]
    assert (made["status"], made["uid"], made["permission"]) == (201, 0, "containers:create")
    assert made["pid"] == os.getpid() and made["query"] == ["name"]
    assert refused["status"] == 403 and "privileged is not allowed" in refused["refused"]
    path = fenced.story.layout.data / "audit/ops.ci.jsonl"
    assert "canary-4711" not in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o600


# --- sockets come and go --------------------------------------------------------------------------


def test_who_is_connected_when_a_socket_changes_is_no_more(fenced: Fenced) -> None:
    text = SOCKETS.format(given=fenced.given, place=fenced.story.layout.run / "elsewhere")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(fenced.path("view")))
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        fenced.story.apply(
            {"ops/sockets.yaml": text.replace("allow: [read], label: team=ci", 'allow: ["volumes:read"]')}
        )
        assert connection.recv(4096) == b""
    assert fenced.http("view")("GET", "/containers/json").status == 403
    fenced.story.apply({"ops/sockets.yaml": text})
    assert fenced.http("view")("GET", "/containers/json").status == 200


def test_one_that_is_wanted_no_more_is_closed(fenced: Fenced) -> None:
    fenced.story.apply({"ops/more.yaml": one_socket("x", "")})
    assert fenced.http("x")("GET", "/_ping").status == 200
    fenced.story.apply({"ops/more.yaml": None})
    eventually(lambda: not fenced.path("x").exists(), "its file is gone")


def test_one_that_somebody_removed_is_made_again(fenced: Fenced) -> None:
    fenced.path("view").unlink()
    eventually(fenced.path("view").exists, "its file is there")
    assert fenced.http("view")("GET", "/_ping").status == 200


@pytest.mark.parametrize("kind", ["file", "listening", "shared"])
def test_nothing_of_others_is_put_aside(fenced: Fenced, kind: str, tmp_path: Path) -> None:
    place = Path("/run") / f"{fenced.story.layout.instance}x"
    place.mkdir(mode=0o755)
    other = socket.socket(socket.AF_UNIX)
    try:
        if kind == "file":
            (place / "s").write_text("precious")
        elif kind == "listening":
            other.bind(str(place / "s"))
            other.listen()
        else:
            place.chmod(0o777)
        manifest = one_socket("bad", f", path: {place}/s")
        fenced.story.commit({"ops/bad.yaml": manifest})
        fenced.story.setpoint("sync")

        def says() -> str:
            found = fenced.story.object("ops/socket/bad")
            return str(found["message"]) if found and not found["ready"] else ""

        words = {
            "file": "it is no socket",
            "listening": "another program listens",
            "shared": "others than root may write",
        }
        eventually(lambda: words[kind] in says(), words[kind])
        assert kind != "file" or (place / "s").read_text() == "precious"
    finally:
        fenced.story.apply({"ops/bad.yaml": None})
        other.close()
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def test_words_stand_for_permissions() -> None:
    assert expanded(["write"]) == ALL
    assert expanded(["containers:*", "containers"]) == {
        name for name in ALL if name.startswith("containers:")
    }
    assert not any(name.endswith((":create", ":remove", ":exec")) for name in expanded(["read"]))
    with pytest.raises(ValueError, match="containers:fly"):
        expanded(["containers:fly"])
