"""Images that are here, by real clients: listed, shown, named, removed, made of containers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import docker as docker_py
import pytest

from tests.api.host import Host, remove_containers
from tests.api.http_client import Http
from tests.api.image_files import ids, inspected, listed, make_image, remove_new, tags
from tests.e2e.story import Story


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test its images are gone, so that no other sees them."""
    host: Host = request.getfixturevalue("either" if "either" in request.fixturenames else "host")
    before = tags(host)
    yield
    remove_containers(host)
    remove_new(host, before)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_comes_is_seen_and_goes(either: Host, name: str) -> None:
    busybox = inspected(either, "busybox")["Id"]
    either.docker("tag", "busybox", f"{name}/web:1")
    either.docker("tag", busybox[7:19], f"{name}/web:2")
    assert {f"{name}/web:1", f"{name}/web:2", "busybox:latest"} <= set(inspected(either, busybox)["RepoTags"])
    assert either.docker("images", "-q", f"{name}/web").stdout.split() == [busybox[7:19]] * 2
    shown = either.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{name}/web:1").stdout
    assert shown.split() == [f"{name}/web:1", busybox[7:19]]
    gone = either.http("DELETE", f"/images/{name}/web:1")
    assert (gone.status, gone.json) == (200, [{"Untagged": f"{name}/web:1"}])
    assert f"Untagged: {name}/web:2\n" in either.docker("rmi", f"{name}/web:2").stdout
    assert inspected(either, "busybox")["Id"] == busybox


def test_a_name_moves(either: Host, name: str) -> None:
    one, two = make_image(either, f"{name}:1"), make_image(either, f"{name}:2")
    assert either.http("POST", f"/images/{name}:2/tag", query={"repo": name, "tag": "1"}).status == 201
    assert inspected(either, f"{name}:1")["Id"] == two
    assert [row["Id"] for row in listed(either, dangling=["true"])] == [one]
    shown = either.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "-f", "dangling=true").stdout
    assert shown == "<none>:<none>\n"


def test_every_way_to_name_one(either: Host) -> None:
    id = inspected(either, "busybox")["Id"]
    words = ["busybox", "busybox:latest", "docker.io/library/busybox", "docker.io/library/busybox:latest",
             "index.docker.io/library/busybox", "library/busybox",
             id, id[7:], id[7:19], id[7:10], id[:20]]  # fmt: skip
    for word in words:
        assert inspected(either, word)["Id"] == id, word


@pytest.mark.parametrize(
    ("word", "status", "message"),
    [
        ("nothing", 404, "No such image: nothing:latest"),
        ("busybox:nothing", 404, "No such image: busybox:nothing"),
        ("0123456789ab", 404, "No such image: 0123456789ab:latest"),
        ("sha256:" + "0" * 64, 404, "No such image: sha256:" + "0" * 64),
    ],
)
def test_names_of_nothing(either: Host, word: str, status: int, message: str) -> None:
    for method, path in (("GET", "/json"), ("GET", "/history"), ("POST", "/tag?repo=x"), ("DELETE", "")):
        answer = either.http(method, f"/images/{word}{path}")
        either.agrees(f"{method} an image {word}", answer.status, status)
        assert message in answer.message


@pytest.mark.parametrize("word", ["Foo", "lab/Foo:1"])
def test_what_is_no_name(either: Host, word: str) -> None:
    answer = either.http("GET", f"/images/{word}/json")
    assert answer.status == 400
    assert re.match(
        r"invalid reference format: repository name \(.*Foo.*\) must be lowercase", answer.message
    )


@pytest.mark.parametrize("word", ["a%2F..%2Fb", "..%2f..%2fetc", "%00", "-x", "a%20b", "a" * 3000])
def test_hostile_names(http: Http, word: str) -> None:
    for method, path in (("GET", "/json"), ("GET", "/history"), ("POST", "/tag?repo=x"), ("DELETE", "")):
        assert http(method, f"/images/{word}{path}").status == 400


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"repo": "Foo"}, "repository name (library/Foo) must be lowercase"),
        (
            {"repo": "sha256", "tag": "a"},
            "refusing to create an ambiguous tag using digest algorithm as name",
        ),
        ({"repo": "x", "tag": ".."}, "invalid tag format"),
    ],
)
def test_names_that_nobody_can_give(either: Host, query: dict[str, str], message: str) -> None:
    answer = either.http("POST", "/images/busybox/tag", query=query)
    assert answer.status == 400
    assert message in answer.message


# --- lists ----------------------------------------------------------------------------------------


def test_filters(either: Host, name: str) -> None:
    one = make_image(either, f"{name}/a:1", f"LABEL who={name} n=1")
    two = make_image(either, f"{name}/b:1", f"LABEL who={name} n=2")
    nameless = make_image(either, "", f"LABEL who={name}", files={"x": b"nameless"})
    assert tags(either, label=[f"who={name}"]) == {f"{name}/a:1", f"{name}/b:1"}
    assert tags(either, label=[f"who={name}", "n=2"]) == {f"{name}/b:1"}
    assert tags(either, reference=[f"{name}/*"]) == {f"{name}/a:1", f"{name}/b:1"}
    assert tags(either, reference=[f"{name}/a", f"{name}/b:*"]) == {f"{name}/a:1", f"{name}/b:1"}
    assert tags(either, reference=[f"{name[:5]}*"]) == set()  # a star ends at a slash
    assert [row["Id"] for row in listed(either, dangling=["true"], label=[f"who={name}"])] == [nameless]
    named = {row["Id"] for row in listed(either, dangling=["false"], label=[f"who={name}"])}
    assert named == {one, two}
    assert "busybox:latest" in tags(either, before=[f"{name}/a:1"])
    assert f"{name}/a:1" not in tags(either, before=[f"{name}/a:1"])
    assert tags(either, since=["busybox"], label=[f"who={name}"]) == {f"{name}/a:1", f"{name}/b:1"}
    assert "busybox:latest" not in tags(either, since=["busybox"])
    assert tags(either, until=["1h"], label=[f"who={name}"]) == set()
    assert f"{name}/a:1" in tags(either, until=["2100-01-01T00:00:00"])


@pytest.mark.parametrize(
    ("filters", "status", "message"),
    [
        ({"name": ["x"]}, 400, "invalid filter 'name'"),
        ({"dangling": ["maybe"]}, 400, "invalid filter 'dangling=[maybe]'"),
        ({"before": ["nothing"]}, 404, "No such image: nothing:latest"),
        ({"since": ["nothing"]}, 404, "No such image: nothing:latest"),
        ({"reference": ["["]}, 400, "syntax error in pattern"),
    ],
)
def test_filters_of_nothing(either: Host, filters: dict[str, list[str]], status: int, message: str) -> None:
    answer = either.http("GET", "/images/json", query={"filters": filters})
    either.agrees(f"images by {json.dumps(filters)}", answer.status, status)
    assert message in answer.message


def test_sizes_that_are_shared(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "busybox", "true")
    made = either.docker("commit", name, f"{name}:1").stdout.strip()
    rows = {row["Id"]: row for row in either.http("GET", "/images/json", query={"shared-size": True}).json}
    busybox = rows[inspected(either, "busybox")["Id"]]
    assert rows[made]["SharedSize"] == busybox["SharedSize"] == busybox["Size"] > 10**6
    assert {row["SharedSize"] for row in listed(either)} == {-1}


def test_what_versions_see(http: Http, docker: object) -> None:
    assert "VirtualSize" in http("GET", "/v1.43/images/json").json[0]
    assert "VirtualSize" not in http("GET", "/v1.44/images/json").json[0]
    listed = http("GET", "/v1.52/images/json?manifests=1").json
    [manifest] = next(row for row in listed if "busybox:latest" in row["RepoTags"])["Manifests"]
    assert manifest["ID"] == manifest["Descriptor"]["digest"]
    assert manifest["Size"]["Content"] > 0
    assert http("GET", "/v1.52/images/busybox/json").json["Descriptor"]["digest"] == manifest["ID"]
    [seen] = http("GET", "/v1.52/images/busybox/json?manifests=1").json["Manifests"]
    assert seen["Descriptor"] == manifest["Descriptor"]
    both = http("GET", "/v1.52/images/busybox/json", query={"manifests": 1, "platform": {"os": "linux"}})
    assert both.status == 400


def test_another_platform_than_its_own(http: Http) -> None:
    wrong = {"os": "linux", "architecture": "s390x"}
    for method, path, word in (
        ("GET", "json", "platform"), ("GET", "history", "platform"), ("GET", "get", "platform"),
    ):  # fmt: skip
        answer = http(method, f"/images/busybox/{path}", query={word: wrong})
        assert (answer.status, "does not provide the specified platform" in answer.message) == (404, True)
    gone = http("DELETE", "/images/busybox", query={"platforms": wrong})
    assert gone.status == 404
    assert http("GET", "/images/busybox/json").status == 200


# --- shown ----------------------------------------------------------------------------------------


def test_an_inspection(either: Host, name: str) -> None:
    changes = ('CMD ["sh","-c","true"]', 'ENTRYPOINT ["/e"]', "ENV A=1 B=2", "EXPOSE 80 81/udp", "USER me",
               "WORKDIR /work", "VOLUME /data", "LABEL a=b", "STOPSIGNAL SIGINT",
               "HEALTHCHECK --interval=3s --retries=2 CMD true", "ONBUILD ENV C=3")  # fmt: skip
    make_image(either, f"{name}:1", *changes)
    view = inspected(either, f"{name}:1")
    config = view["Config"]
    assert config["Cmd"] == ["sh", "-c", "true"]
    assert config["Entrypoint"] == ["/e"]
    assert set(config["Env"]) >= {"A=1", "B=2"}
    assert config["ExposedPorts"] == {"80/tcp": {}, "81/udp": {}}
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("me", "/work", "SIGINT")
    assert config["Volumes"] == {"/data": {}}
    assert config["Labels"] == {"a": "b"}
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 3 * 10**9, "Retries": 2}
    assert config["OnBuild"] == ["ENV C=3"]
    assert (view["Os"], view["Architecture"], view["RootFS"]["Type"]) == ("linux", "amd64", "layers")
    assert len(view["RootFS"]["Layers"]) == 1
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[0-9:.]+Z", view["Created"])
    assert view["GraphDriver"]["Name"] == "overlay2"


def test_a_history(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "busybox", "true")
    made = either.docker("commit", "-m", "on top", name, f"{name}:1").stdout.strip()
    top, *below = either.http("GET", f"/images/{name}:1/history").json
    assert (top["Id"], top["Tags"], top["Comment"]) == (made, [f"{name}:1"], "on top")
    assert {row["Id"] for row in below} <= {"<missing>", inspected(either, "busybox")["Id"]}
    assert below[-1]["Size"] == inspected(either, "busybox")["Size"]
    assert either.docker("history", "-q", "--no-trunc", f"{name}:1").stdout.split()[0] == made


# --- removed --------------------------------------------------------------------------------------


def test_an_image_goes_with_its_last_name(either: Host, name: str) -> None:
    id = make_image(either, f"{name}:1")
    either.docker("tag", f"{name}:1", f"{name}/other:1")
    refused = either.http("DELETE", f"/images/{id}")
    assert (refused.status, refused.message) == (
        409, f"conflict: unable to delete {id[7:19]} (must be forced) - image is referenced in multiple "
        "repositories",
    )  # fmt: skip
    either.docker("rmi", f"{name}/other:1")
    rows = either.http("DELETE", f"/images/{id[7:19]}").json
    assert {"Untagged": f"{name}:1"} in rows
    assert {"Deleted": id} in rows
    assert len([row for row in rows if "Deleted" in row]) == 2
    assert id not in ids(either)


def test_all_names_by_force(either: Host, name: str) -> None:
    id = make_image(either, f"{name}:1")
    either.docker("tag", f"{name}:1", f"{name}:2")
    rows = either.http("DELETE", f"/images/{id}", query={"force": True}).json
    assert {"Untagged": f"{name}:1"} in rows and {"Untagged": f"{name}:2"} in rows
    assert id not in ids(either)


def test_one_that_a_running_container_has(either: Host, name: str) -> None:
    either.docker("create", "--name", f"{name}-made", "busybox", "true")
    id = either.docker("commit", f"{name}-made", f"{name}:1").stdout.strip()
    either.docker("rm", f"{name}-made")
    container = either.docker("run", "-d", "--name", name, f"{name}:1", "sleep", "1000").stdout.strip()
    by_name = either.http("DELETE", f"/images/{name}:1")
    assert (by_name.status, by_name.message) == (
        409, f'conflict: unable to remove repository reference "{name}:1" (must force) - container '
        f"{container[:12]} is using its referenced image {id[7:19]}",
    )  # fmt: skip
    for force in (False, True):
        by_id = either.http("DELETE", f"/images/{id}", query={"force": force})
        assert (by_id.status, by_id.message) == (
            409, f"conflict: unable to delete {id[7:19]} (cannot be forced) - image is being used by running "
            f"container {container[:12]}",
        )  # fmt: skip
    rows = either.http("DELETE", f"/images/{name}:1", query={"force": True}).json
    assert rows[0] == {"Untagged": f"{name}:1"}
    assert not [row for row in rows if "Deleted" in row]
    assert id in ids(either)
    assert either.docker("exec", name, "true").returncode == 0


def test_one_that_a_stopped_container_has(either: Host, name: str) -> None:
    id = make_image(either, f"{name}:1")
    container = either.docker("create", "--name", name, f"{name}:1", "true").stdout.strip()
    by_id = either.http("DELETE", f"/images/{id}")
    assert (by_id.status, by_id.message) == (
        409, f"conflict: unable to delete {id[7:19]} (must be forced) - image is being used by stopped "
        f"container {container[:12]}",
    )  # fmt: skip
    assert either.http("DELETE", f"/images/{name}:1", query={"force": True}).status == 200
    either.agrees("a forced removal of what a stopped container has keeps it", id in ids(either), True)


def test_prune(either: Host, name: str) -> None:
    who = f"LABEL who={name}"
    one, used = make_image(either, f"{name}:1", who), make_image(either, f"{name}:2", who)
    nameless = make_image(either, "", who, files={"x": b"y"})
    other = make_image(either, f"{name}:3", "LABEL who=other")
    either.docker("create", f"{name}:2", "true")
    asked = ("image", "prune", "-f", "--filter", f"label=who={name}")
    either.docker(*asked, "--filter", "until=1h")
    assert {one, used, nameless, other} <= ids(either)
    said = either.docker(*asked).stdout
    assert f"deleted: {nameless}" in said
    assert {one, used, other} <= ids(either)
    either.docker(*asked, "-a", "--filter", "label!=who")
    assert one in ids(either)
    said = either.docker(*asked, "-a").stdout
    assert f"untagged: {name}:1\n" in said and f"deleted: {one}" in said
    assert "Total reclaimed space: " in said
    assert {used, other} == ids(either) & {one, used, nameless, other}
    refused = either.http("POST", "/images/prune", query={"filters": {"since": ["x"]}})
    assert (refused.status, "invalid filter 'since'" in refused.message) == (400, True)


# --- commit ---------------------------------------------------------------------------------------


def test_an_image_of_a_container(either: Host, name: str) -> None:
    either.docker(
        "run", "--name", name, "-e", "FOO=bar", "--label", "l=1", "-w", "/tmp", "busybox",
        "sh", "-c", "echo hi > /x",
    )  # fmt: skip
    id = either.docker(
        "commit", "-m", "why", "-a", "Ann", "-c", "EXPOSE 80", "-c", 'CMD ["cat", "/x"]', name, f"{name}:1"
    ).stdout.strip()
    view = inspected(either, f"{name}:1")
    assert (view["Id"], view["Comment"], view["Author"]) == (id, "why", "Ann")
    config = view["Config"]
    assert "FOO=bar" in config["Env"]
    assert (config["Cmd"], config["WorkingDir"]) == (["cat", "/x"], "/tmp")
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert config["Labels"]["l"] == "1"
    assert either.docker("run", "--rm", f"{name}:1").stdout == "hi\n"
    nameless = either.docker("commit", "--pause=false", name).stdout.strip()
    assert inspected(either, nameless)["RepoTags"] == []


def test_a_commit_with_a_config(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "-e", "FOO=bar", "busybox", "true")
    made = either.http(
        "POST", "/commit", {"Env": ["A=1"], "User": "me", "Labels": {"x": "y"}},
        query={"container": name, "repo": name, "tag": "1"},
    )  # fmt: skip
    assert (made.status, made.json["Id"]) == (201, inspected(either, f"{name}:1")["Id"])
    config = inspected(either, f"{name}:1")["Config"]
    assert {"A=1", "FOO=bar"} <= set(config["Env"])
    assert (config["User"], config["Labels"], config["Cmd"]) == ("me", {"x": "y"}, ["true"])


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"container": "nothing"}, 404, "No such container: nothing"),
        ({"container": "", "repo": "x"}, 400, "invalid name or ID supplied"),
        ({"container": "NAME", "repo": "Foo"}, 400, "must be lowercase"),
        ({"container": "NAME", "changes": "RUN x"}, 400, "RUN"),
    ],
)
def test_commits_of_nothing(
    either: Host, name: str, query: dict[str, str], status: int, message: str
) -> None:
    either.docker("create", "--name", name, "busybox", "true")
    query = {key: value.replace("NAME", name) for key, value in query.items()}
    answer = either.http("POST", "/commit", query=query)
    words = " ".join(f"{key}={value}" for key, value in query.items()).replace(name, "NAME")
    either.agrees(f"commit {words}", answer.status, status)
    if answer.status == status:
        assert message.lower() in answer.message.lower()


def test_what_a_manifest_gave_a_container_is_no_part_of_its_image(
    agent_story: Story, docker: Host, host: Host, name: str
) -> None:
    service = "image: busybox, command: sleep 1000, stop_signal: SIGKILL, environment: {TOKEN: canary}"
    manifest = f"services: {{app: {{{service}}}}}\n"
    agent_story.apply({f"{name}/compose.yaml": manifest})
    try:
        [id] = host.docker("ps", "-q", "--no-trunc", "--filter", f"name={name}").stdout.split()
        host.docker("commit", id, f"{name}:1")
        config = inspected(host, f"{name}:1")["Config"]
        assert not [entry for entry in config["Env"] if "canary" in entry]
        assert config["Cmd"] == ["sh"]
    finally:
        agent_story.apply({f"{name}/compose.yaml": None})


# --- docker-py ------------------------------------------------------------------------------------


def test_docker_py(client: docker_py.DockerClient, name: str) -> None:
    image = client.images.get("busybox")
    assert image.tag(name, "1")
    assert f"{name}:1" in {tag for each in client.images.list(name=name) for tag in each.tags}
    assert client.images.get(f"{name}:1").short_id == image.short_id
    assert image.history()[0]["Id"] == image.id
    assert image.attrs["Config"]["Cmd"] == ["sh"]
    client.images.remove(f"{name}:1")
    with pytest.raises(docker_py.errors.ImageNotFound, match="No such image"):
        client.images.get(f"{name}:1")
    container = client.containers.create("busybox", "true", name=name)
    made = container.commit(name, "2", message="m", author="a", changes=["ENV A=1"])
    assert "A=1" in made.attrs["Config"]["Env"]
    container.remove()
    assert client.images.prune({"dangling": True, "label": [f"who={name}"]})["SpaceReclaimed"] == 0


# --- events ---------------------------------------------------------------------------------------


def test_events(either: Host, name: str) -> None:
    began = f"{time.time():.6f}"
    id = make_image(either, f"{name}:1", f"LABEL who={name}")
    either.docker("tag", f"{name}:1", f"{name}:2")
    either.http("GET", f"/images/{name}:2/get")
    either.docker("rmi", f"{name}:2")
    either.docker("rmi", f"{name}:1")
    query = {"since": began, "until": f"{time.time():.6f}", "filters": {"type": ["image"]}}
    lines = either.http("GET", "/events", query=query).body.splitlines()
    events = [json.loads(line) for line in lines if line.strip()]
    seen = [
        (each["Action"], each["Actor"]["Attributes"]["name"]) for each in events if each["Actor"]["ID"] == id
    ]
    expected = [
        ("tag", f"{name}:1"),
        ("tag", f"{name}:2"),
        ("save", id),
        ("untag", id),
        ("untag", id),
        ("delete", id),
    ]
    assert [each for each in seen if each[0] != "import"] == expected
    assert ("import", id) in seen
    labels = [each["Actor"]["Attributes"].get("who") for each in events if each["Action"] == "tag"]
    assert labels[-1] == name
