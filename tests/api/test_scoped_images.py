"""Images at scoped sockets: what its limits have is the socket's to use and change, with this host's logins.
Without a list, names that manifests run stay what they are, and it is nobody to registries."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import tarfile
import threading
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path

import pytest

from tests.api.http_client import Answer, Http
from tests.e2e.own_story import own_story
from tests.e2e.story import Story, eventually
from tests.registry import Registry, make_image, started

LOGIN = ("me", "canary-of-the-host")
SOCKETS = """\
apiVersion: setpoint/v1
kind: Socket
metadata: {name: all}
spec: {allow: [write]}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {name: listed}
spec: {allow: [write], limits: {images: ["REGISTRY/lab/*", "docker.io/library/busybox", "docker.io/ci/*"]}}
---
apiVersion: setpoint/v1
kind: Socket
metadata: {name: changes}
spec: {allow: ["images:change"]}
"""
COMPOSE = """\
services:
  web: {image: busybox, command: [sleep, "1000"], stop_signal: SIGKILL}
"""
SLEEP = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
REFUSED = "image busybox:latest is not to be changed at the socket ops/all: ops/compose.yaml:2 runs it"


class Images:
    def __init__(self, story: Story, registry: Registry) -> None:
        self.story, self.registry = story, registry
        self.all = Http(story.layout.agent_socket)

    def http(self, name: str) -> Http:
        return Http(self.story.layout.run / "sockets" / f"ops.{name}.sock")

    def id_of(self, name: str) -> str:
        return str(self.all("GET", f"/images/{name}/json").json["Id"])

    def names(self, socket: str, **query: str) -> list[str]:
        rows = self.http(socket)("GET", "/images/json", query=query).json
        return sorted(name for row in rows for name in row["RepoTags"])


@pytest.fixture(scope="module")
def images(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    top = tmp_path_factory.mktemp("images")
    layout = make_image(top / "image", [{"a": os.urandom(1000)}])
    with (
        started(top / "registry", tls=True, login=LOGIN) as registry,
        own_story(top) as story,
    ):
        registry.put(f"oci:{layout}", "lab/base:1")
        settings = top / "registries.yaml"
        settings.write_text(registry.settings())
        story.environment["DOCKER_CONFIG"] = str(top / "docker")
        words = ("login", registry.host, "-u", LOGIN[0], "--password-stdin", "--registries", settings)
        story.commit({
            "ops/sockets.yaml": SOCKETS.replace("REGISTRY", registry.host), "ops/compose.yaml": COMPOSE,
        })  # fmt: skip
        story.start_agent("--registries", str(settings))
        story.setpoint(*words, stdin=f"{LOGIN[1]}\n")
        story.setpoint("image", "load", busybox_archive)
        story.setpoint("sync", "--wait")
        yield Images(story, registry)


@pytest.fixture
def own_image(images: Images) -> Iterator[str]:
    """The id of an image with content of one's own, called ci/own."""
    yield made_image(images, "ci/own")
    images.all("DELETE", "/images/ci/own", query={"force": "1"})


def made_image(images: Images, name: str) -> str:
    """Committed of a container of the host's."""
    made = images.all("POST", "/containers/create", SLEEP).json["Id"]
    query = {"container": made, "repo": name, "changes": f"LABEL x={secrets.token_hex(8)}"}
    id = images.all("POST", "/commit", {}, query=query).json["Id"]
    images.all("DELETE", f"/containers/{made}")
    return str(id)


def context_of(*lines: str) -> bytes:
    return tar_of({"Dockerfile": "\n".join(lines).encode()})


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            head = tarfile.TarInfo(name)
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))
    return packed.getvalue()


# --- names that manifests run ---------------------------------------------------------------------


def give(images: Images, way: str, socket: str, own: str, name: str) -> Answer:
    """Have the name stand for an image of one's own."""
    http = images.http(socket)
    if way == "tag":
        return http("POST", f"/images/{own}/tag", query={"repo": name, "tag": "latest"})
    if way == "commit":
        made = http("POST", "/containers/create", SLEEP).json["Id"]
        answer = http("POST", "/commit", {}, query={"container": made, "repo": name})
        http("DELETE", f"/containers/{made}")
        return answer
    if way == "import":
        return http("POST", "/images/create", tar_of({"a": b"a"}), query={"fromSrc": "-", "repo": name})
    word = secrets.token_hex(8)
    return http("POST", "/build", context_of("FROM busybox", f"ENV A={word}"), query={"t": name})


WAYS = ["tag", "commit", "import", "build"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["busybox", "docker.io/library/busybox", "index.docker.io/library/busybox"])
def test_what_a_manifest_runs_is_not_made_another(
    images: Images, own_image: str, way: str, name: str
) -> None:
    """It would run with what the manifest may have, at the next restart."""
    before = images.id_of("busybox")
    answer = give(images, way, "all", own_image, name)
    assert answer.status == 403, answer.body
    assert answer.message == f"{REFUSED} (hint: add busybox:latest to limits.images there)"
    assert images.id_of("busybox") == before


@pytest.mark.parametrize("by", ["name", "id", "digits"])
def test_nor_is_it_taken_away(images: Images, by: str) -> None:
    id = images.id_of("busybox")
    name = {"name": "busybox", "id": id, "digits": id[7:19]}[by]
    images.all("POST", "/images/busybox/tag", query={"repo": "ci/second"})
    answer = images.http("all")("DELETE", f"/images/{name}", query={"force": "1"})
    assert answer.status == 403 and REFUSED in answer.message
    assert images.id_of("busybox") == id
    assert images.http("all")("DELETE", "/images/ci/second").status == 200


def test_one_s_own_names_are_one_s_own(images: Images, own_image: str) -> None:
    for way in WAYS:
        for _ in range(2):  # and may be moved
            assert give(images, way, "all", own_image, f"mine/{way}").status in (200, 201)
    for way in WAYS:
        assert images.http("all")("DELETE", f"/images/mine/{way}", query={"force": "1"}).status == 200


def test_what_is_in_the_limits_is_to_be_changed(images: Images, own_image: str) -> None:
    before = images.id_of("busybox")
    assert give(images, "tag", "listed", own_image, "busybox").status == 201
    assert images.id_of("busybox") == own_image
    images.all("POST", f"/images/{before}/tag", query={"repo": "busybox"})


# --- names that are not in the limits -------------------------------------------------------------


def test_a_removal_by_id_takes_no_name_that_is_not_in_the_limits(images: Images, own_image: str) -> None:
    images.all("POST", f"/images/{own_image}/tag", query={"repo": "secret/prod"})
    answer = images.http("listed")("DELETE", f"/images/{own_image}", query={"force": "1"})
    assert answer.status == 403
    assert images.id_of("secret/prod") == images.id_of("ci/own") == own_image
    images.all("DELETE", "/images/secret/prod")
    assert images.http("listed")("DELETE", f"/images/{own_image}").status == 200


def test_a_list_names_only_what_is_in_the_limits(images: Images, own_image: str) -> None:
    images.all("POST", f"/images/{own_image}/tag", query={"repo": "secret/prod"})
    secret = made_image(images, "secret/other")
    try:
        assert images.names("listed") == ["busybox:latest", "ci/own:latest"]
        assert "secret/other:latest" in images.names("all")
        assert b"secret" not in images.http("listed")("GET", "/images/json", query={"digests": "1"}).body
        for word in ("before", "since"):
            filters = json.dumps({word: ["secret/other"]})
            answer = images.http("listed")("GET", "/images/json", query={"filters": filters})
            assert answer.status == 404 and "No such image: secret/other" in answer.message
        web = images.all("GET", "/containers/ops-web-1/json").json["Id"]
        for path in ("/images/json", "/images/busybox/json"):
            answer = images.http("listed")("GET", path, query={"manifests": "1"})
            assert answer.status == 200 and web not in answer.body.decode()
    finally:
        images.all("DELETE", "/images/secret/prod")
        images.all("DELETE", f"/images/{secret}", query={"force": "1"})


def test_an_archive_moves_no_name_that_is_not_in_the_limits(images: Images) -> None:
    images.all("POST", "/images/busybox/tag", query={"repo": "secret/prod"})
    before = images.id_of("secret/prod")
    evil = made_image(images, "ci/evil")
    images.all("POST", "/images/ci/evil/tag", query={"repo": "secret/prod"})
    archive = images.all("GET", "/images/secret/prod/get").body
    images.all("POST", f"/images/{before}/tag", query={"repo": "secret/prod"})
    try:
        answer = images.http("listed")("POST", "/images/load", archive)
        assert b"it is not in the limits of this socket" in answer.body, answer.body
        assert images.id_of("secret/prod") == before
        assert b"Loaded image" in images.http("all")("POST", "/images/load", archive).body
        assert images.id_of("secret/prod") == evil
    finally:
        images.all("DELETE", "/images/secret/prod")
        images.all("DELETE", "/images/ci/evil")


def test_a_pull_is_a_pull_whatever_else_is_said(images: Images) -> None:
    """What the handler does is what was asked for."""
    query = {"fromImage": f"{images.registry.host}/lab/base", "tag": "1", "fromSrc": "-"}
    answer = images.http("changes")("POST", "/images/create", query=query)
    assert answer.status == 403 and "images:pull is not allowed" in answer.message
    query = {"fromImage": "secret/prod", "tag": "1", "fromSrc": "-"}
    answer = images.http("listed")("POST", "/images/create", query=query)
    assert answer.status == 403 and "image secret/prod:1 is not allowed" in answer.message


# --- who it is to registries ----------------------------------------------------------------------


def header() -> dict[str, str]:
    said = {"username": LOGIN[0], "password": LOGIN[1]}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}


def ask(images: Images, way: str, socket: str, headers: dict[str, str] | None = None) -> Answer:
    http, name = images.http(socket), f"{images.registry.host}/lab/base"
    if way == "pull":
        return http("POST", "/images/create", query={"fromImage": name, "tag": "1"}, headers=headers)
    if way == "all tags":
        return http("POST", "/images/create", query={"fromImage": name}, headers=headers)
    if way == "look":
        return http("GET", f"/distribution/{name}:1/json", headers=headers)
    if way == "push":
        images.all("POST", "/images/busybox/tag", query={"repo": name, "tag": "pushed"})
        return http("POST", f"/images/{name}/push", query={"tag": "pushed"}, headers=headers)
    return http("POST", "/build", context_of(f"FROM {name}:1"), query={"pull": "1"})


@pytest.mark.parametrize("way", ["pull", "all tags", "look", "push", "build"])
def test_the_host_s_logins_are_for_what_is_in_the_limits(images: Images, way: str) -> None:
    name = f"{images.registry.host}/lab/base"
    try:
        answer = ask(images, way, "all")
        words = answer.body.decode().lower()
        assert "denied" in words or "let us in" in words, words
        if way != "build":
            assert "denied" not in ask(images, way, "all", header()).body.decode().lower()
        assert "denied" not in (said := ask(images, way, "listed").body.decode().lower())
        assert "let us in" not in said
    finally:
        for tag in ("1", "pushed"):
            images.all("DELETE", f"/images/{name}:{tag}", query={"force": "1"})


# --- builds of others -----------------------------------------------------------------------------


def test_builds_of_others_are_not_cancelled(images: Images) -> None:
    """Whatever they are called: clients choose the names."""
    slow = context_of("FROM busybox", f"RUN echo {secrets.token_hex(8)}; sleep 4")
    said: dict[str, bytes] = {}

    def build(http: Http, who: str) -> None:
        said[who] = b"cut off"
        with contextlib.suppress(IncompleteRead):
            said[who] = http("POST", "/build", slow, query={"buildid": "one", "nocache": "1"}).body

    threads = [
        threading.Thread(target=build, args=(images.all, "root")),
        threading.Thread(target=build, args=(images.http("listed"), "listed")),
        threading.Thread(target=build, args=(images.http("all"), "own")),
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: steps_of(images) == 3, "they run")
    assert images.http("all")("POST", "/build/cancel", query={"id": "one"}).status == 200
    for thread in threads:
        thread.join(60)
    assert b"Successfully built" in said["root"] and b"Successfully built" in said["listed"]
    assert b"Successfully built" not in said["own"]


def steps_of(images: Images) -> int:
    """How many steps of builds run: each is a container, of a name that the engine gives it."""
    found = 0
    for path in images.story.layout.containers.glob("*/container.json"):
        with contextlib.suppress(OSError):
            found += '"build-' in path.read_text()
    return found
