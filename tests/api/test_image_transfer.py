"""Images on their way, by real clients: from and to registries, as archives, between daemons."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest

from tests.api.host import Host, remove_containers
from tests.api.http_client import Answer, Http
from tests.api.image_files import TAR, ids, inspected, lines_of, listed, make_image, remove_new, tags
from tests.api.terminal import on_terminal
from tests.bad_registry import Answer as BadAnswer
from tests.bad_registry import BadImage, BadRegistry, Handler
from tests.bad_registry import started as bad_started
from tests.e2e.story import Story, eventually
from tests.registry import Registry, started
from tests.registry import make_image as make_layout
from tests.token_server import TokenServer, served

LOGIN = ("me", "canary-f7-s3cret")
HEAD = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"


@pytest.fixture(scope="module")
def registries(
    agent_story: Story, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, Registry]]:
    """One for everybody, and one with TLS and a login, each with lab/app:1 and :2; the agent trusts both."""
    folder = tmp_path_factory.mktemp("registries")
    layers = [{"bin/a": b"a" * 1000}, {"bin/b": os.urandom(200_000)}]
    layout = make_layout(folder / "image", layers)
    with started(folder / "open") as one, started(folder / "locked", tls=True, login=LOGIN) as two:
        settings = agent_story.tree.parent / "registries.yaml"
        settings.write_text(one.settings() + two.settings().partition("registries:\n")[2])
        for registry in (one, two):
            for tag in ("1", "2"):
                registry.put(f"oci:{layout}", f"lab/app:{tag}")
        yield one, two
        settings.unlink()


@pytest.fixture
def registry(registries: tuple[Registry, Registry]) -> Registry:
    return registries[0]


@pytest.fixture
def locked(registries: tuple[Registry, Registry]) -> Registry:
    return registries[1]


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    host: Host = request.getfixturevalue("either" if "either" in request.fixturenames else "host")
    before = tags(host)
    yield
    remove_containers(host)
    remove_new(host, before)


def auth(username: str = "", password: str = "", **more: str) -> dict[str, str]:
    fields = {"username": username, "password": password, **more}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()}


def pull(host: Host, name: str, headers: dict[str, str] | None = None, **query: str) -> Answer:
    return host.http("POST", "/images/create", query={"fromImage": name, **query}, headers=headers)


def words_of(answer: Answer) -> list[str]:
    return [line.get("status", line.get("error", "")) for line in lines_of(answer)]


# --- pull -----------------------------------------------------------------------------------------


def test_a_pull(either: Host, registry: Registry) -> None:
    name = f"{registry.host}/lab/app:1"
    said = either.docker("pull", name).stdout
    assert said.startswith("1: Pulling from lab/app\n")
    assert said.count(": Pulling fs layer\n") == said.count(": Pull complete\n") == 2
    assert f"Status: Downloaded newer image for {name}\n{name}\n" in said
    [digest] = inspected(either, name)["RepoDigests"]
    assert f"Digest: {digest.partition('@')[2]}\n" in said
    assert f"Status: Image is up to date for {name}" in either.docker("pull", name).stdout
    assert inspected(either, digest)["RepoTags"] == [name]
    assert either.docker("images", "--digests", "--format", "{{.Digest}}", name[:-2]).stdout.strip() in digest


def test_a_run_pulls_what_is_missing_and_gives_a_shell(host: Host, registry: Registry, name: str) -> None:
    """The image comes, the container has a network and the terminal, and stays when its shell has ended."""
    image = f"{registry.host}/run/box:1"
    host.docker("tag", "busybox", image)
    host.docker("push", image)
    host.docker("rmi", image)
    with on_terminal(host.environment, "docker", "run", "-it", "--name", name, image, "sh") as shell:
        shell.expect(f"Unable to find image '{image}' locally".encode())
        shell.expect(f"Status: Downloaded newer image for {image}".encode())
        shell.expect(b"/ # ")
        shell.type(b"echo kept > /file; ping -c1 -q $(ip route | awk '/^default/ {print $3}')\n")
        shell.expect(b"1 packets received")
        shell.type(b"exit 3\n")
        assert shell.wait() == 3
    shown = host.http("GET", f"/containers/{name}/json").json
    assert (shown["State"]["Status"], shown["Config"]["Image"]) == ("exited", image)
    host.docker("start", name)
    assert host.docker("exec", name, "cat", "/file").stdout == "kept\n"
    assert host.http("GET", f"/containers/{name}/json").json["NetworkSettings"]["Networks"]["bridge"][
        "IPAddress"
    ]


def test_compose_pushes_and_pulls(host: Host, registry: Registry, tmp_path: Path, name: str) -> None:
    image, folder = f"{registry.host}/composed/{name}:1", tmp_path / name
    folder.mkdir()
    services = {
        "one": {"image": image, "build": ".", "command": "x"},
        "two": {"image": f"{registry.host}/composed/nothing:1"},
    }
    (folder / "compose.yaml").write_text(json.dumps({"services": services}))
    id = make_image(host, image)
    host.compose(folder, "push", "one")
    host.docker("rmi", image)
    host.compose(folder, "pull", "one")
    assert inspected(host, image)["Id"] == id
    host.docker("rmi", image)
    host.compose(folder, "create", "--no-build", "--pull", "missing", "one")
    assert host.compose(folder, "images", "-q").stdout.strip() in id
    missing = host.compose(folder, "pull", "two", check=False)
    assert missing.returncode and "not found" in missing.stderr


def test_the_lines_of_a_pull(either: Host, registry: Registry) -> None:
    name = f"{registry.host}/lab/app"
    answer = pull(either, name, tag="1")
    lines = lines_of(answer)
    assert answer.headers["content-type"] == "application/json"
    assert lines[0] == {"status": "Pulling from lab/app", "id": "1"}
    layers = {line["id"] for line in lines if line["status"] == "Pulling fs layer"}
    assert len(layers) == 2 and all(len(id) == 12 for id in layers)
    assert {line["id"] for line in lines if line["status"] == "Pull complete"} == layers
    for line in lines:
        if line["status"] in ("Downloading", "Extracting"):
            assert line["progressDetail"]["total"] > 0 and line["progress"].startswith("[")
    assert [line["status"] for line in lines][-1] == f"Status: Downloaded newer image for {name}:1"


def test_a_pull_by_its_digest(either: Host, registry: Registry) -> None:
    either.docker("pull", f"{registry.host}/lab/app:1")
    [pinned] = inspected(either, f"{registry.host}/lab/app:1")["RepoDigests"]
    either.docker("rmi", f"{registry.host}/lab/app:1")
    said = either.docker("pull", pinned).stdout
    assert f"Status: Downloaded newer image for {pinned}" in said
    assert (inspected(either, pinned)["RepoTags"], inspected(either, pinned)["RepoDigests"]) == ([], [pinned])
    [row] = [row for row in listed(either) if pinned in row["RepoDigests"]]
    assert row["RepoTags"] == []
    either.docker("rmi", pinned)


def test_all_tags(either: Host, registry: Registry) -> None:
    said = either.docker("pull", "-a", f"{registry.host}/lab/app").stdout
    assert {"1: Pulling from lab/app", "2: Pulling from lab/app"} <= set(said.splitlines())
    assert f"Status: Downloaded newer image for {registry.host}/lab/app\n" in said
    assert {f"{registry.host}/lab/app:1", f"{registry.host}/lab/app:2"} <= tags(either)


def test_what_the_registry_has_not(either: Host, registry: Registry) -> None:
    answer = pull(either, f"{registry.host}/lab/app", tag="9")
    assert answer.status == 404
    assert answer.message.startswith(f"manifest for {registry.host}/lab/app:9 not found: manifest unknown")
    assert pull(either, f"{registry.host}/lab/nothing", tag="1").status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"fromImage": "Foo"}, 400),
        ({"fromImage": "a b"}, 400),
        ({"fromImage": "busybox", "tag": ".."}, 400),
        ({"fromImage": "busybox", "tag": "1", "platform": "windows/amd64/x/y"}, 400),
        ({"fromImage": "scratch"}, 403),
    ],
)
def test_pulls_of_nothing(either: Host, query: dict[str, str], status: int) -> None:
    answer = either.http("POST", "/images/create", query=query)
    either.agrees(f"pull {' '.join(query.values())}", answer.status, status)


def test_another_platform(host: Host, registry: Registry) -> None:
    answer = pull(host, f"{registry.host}/lab/app", tag="1", platform="linux/s390x")
    assert (answer.status, "linux/amd64, not for linux/s390x" in answer.message) == (501, True)


# --- logins ---------------------------------------------------------------------------------------


def test_a_login(either: Host, locked: Registry) -> None:
    name = f"{locked.host}/lab/app:1"
    refused = either.docker("pull", name, check=False)
    assert refused.returncode == 1
    either.docker("login", "-u", LOGIN[0], "--password-stdin", locked.host, stdin=LOGIN[1])
    try:
        either.docker("pull", name)
        either.docker("tag", name, f"{locked.host}/lab/again:1")
        either.docker("push", f"{locked.host}/lab/again:1")
    finally:
        either.docker("logout", locked.host)
    assert either.docker("push", f"{locked.host}/lab/again:1", check=False).returncode == 1


def test_a_login_that_is_wrong(either: Host, locked: Registry) -> None:
    body = {"username": "me", "password": "wrong", "serveraddress": locked.host}
    answer = either.http("POST", "/auth", body)
    either.agrees("a wrong login", answer.status, 401)
    good = either.http("POST", "/auth", {**body, "password": LOGIN[1]})
    assert (good.status, good.json) == (200, {"Status": "Login Succeeded", "IdentityToken": ""})


def test_a_header_counts_once(host: Host, locked: Registry) -> None:
    name = f"{locked.host}/lab/app"
    denied = pull(host, name, tag="1")
    assert (denied.status, denied.message.startswith(f"pull access denied for {name}")) == (404, True)
    assert "docker login" in denied.message
    assert pull(host, name, auth("me", "wrong"), tag="1").status == 404
    assert words_of(pull(host, name, auth(*LOGIN), tag="1"))[-1].startswith("Status: Downloaded")
    assert pull(host, name, tag="1").status == 404
    assert pull(host, name, auth(*LOGIN, serveraddress=f"https://{locked.host}/v2/"), tag="1").status == 200
    foreign = pull(host, name, auth(*LOGIN, serveraddress="https://index.docker.io/v1/"), tag="1")
    assert (foreign.status, "is for 'docker.io'" in foreign.message) == (400, True)
    garbled = pull(host, name, {"X-Registry-Auth": base64.b64encode(LOGIN[1].encode()).decode()}, tag="1")
    assert (garbled.status, LOGIN[1] in garbled.message) == (400, False)
    assert host.http("GET", f"/distribution/{name}:1/json").status == 404
    assert host.http("GET", f"/distribution/{name}:1/json", headers=auth(*LOGIN)).status == 200


def test_f7_a_password_is_seen_nowhere(agent_story: Story, host: Host, locked: Registry, name: str) -> None:
    """In no argument while it is used; afterwards in no file, event or answer of ours."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                for part in ("cmdline", "environ"):
                    try:
                        data = Path("/proc", pid, part).read_bytes()
                    except OSError:
                        continue
                    if LOGIN[1].encode() in data or auth(*LOGIN)["X-Registry-Auth"].encode() in data:
                        seen.add(f"{pid} {part}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        app = f"{locked.host}/lab/app"
        assert pull(host, app, auth(*LOGIN), tag="1").status == 200
        assert (
            host.http("POST", f"/images/{app}:1/tag", query={"repo": f"{locked.host}/{name}"}).status == 201
        )
        pushed = host.http("POST", f"/images/{locked.host}/{name}/push?tag=latest", headers=auth(*LOGIN))
        assert "aux" in lines_of(pushed)[-1]
        wrong = host.http(
            "POST", f"/images/{locked.host}/{name}/push?tag=latest", headers=auth(LOGIN[1], "x")
        )
        assert "denied" in lines_of(wrong)[-1]["error"]
        said = {"username": "me", "password": LOGIN[1], "serveraddress": locked.host}
        assert host.http("POST", "/auth", said).status == 200
    finally:
        over.set()
        watcher.join()
    assert seen == set()
    shown = json.dumps(inspected(host, f"{locked.host}/{name}"))
    assert LOGIN[1] not in shown + pushed.body.decode() + wrong.body.decode()
    assert LOGIN[1] not in agent_story.setpoint("events", "-o", "json")
    for path in agent_story.layout.data.rglob("*"):
        if path.is_file() and "layers" not in path.parts and "blobs" not in path.parts:
            assert LOGIN[1].encode() not in path.read_bytes(), path


@pytest.fixture
def tokens(agent_story: Story, registries: object, tmp_path: Path) -> Iterator[tuple[TokenServer, Registry]]:
    """A registry whose tokens another server gives."""
    settings = agent_story.tree.parent / "registries.yaml"
    before = settings.read_text()
    layout = make_layout(tmp_path / "image", [{"x": b"1"}])
    with served(tmp_path / "tokens", login=LOGIN, identity="ident-canary") as server:
        with started(tmp_path / "plain") as plain:
            plain.put(f"oci:{layout}", "lab/app:1")
        with started(tmp_path / "plain", auth=server.auth) as registry:
            settings.write_text(before + registry.settings().partition("registries:\n")[2])
            yield server, registry
    settings.write_text(before)


def test_tokens(host: Host, tokens: tuple[TokenServer, Registry]) -> None:
    server, registry = tokens
    name = f"{registry.host}/lab/app"
    assert pull(host, name, auth(*LOGIN), tag="1").status == 200
    assert pull(host, name, auth(identitytoken="ident-canary"), tag="1").status == 200
    assert pull(host, name, auth(identitytoken="wrong"), tag="1").status == 404
    asked = len(server.asked)
    token = server.token("repository:lab/app:pull")
    assert pull(host, name, auth(registrytoken=token), tag="1").status == 200
    assert len(server.asked) == asked  # it was shown as it is
    assert pull(host, name, auth(registrytoken="wrong"), tag="1").status == 404


# --- push -----------------------------------------------------------------------------------------


def test_a_push_comes_back(either: Host, registry: Registry, name: str) -> None:
    made = make_image(either, f"{registry.host}/{name}:1")
    answer = either.http("POST", f"/images/{registry.host}/{name}/push", query={"tag": "1"}, headers=auth())
    lines = lines_of(answer)
    assert lines[0]["status"] == f"The push refers to repository [{registry.host}/{name}]"
    assert {line["status"] for line in lines if "id" in line} >= {"Preparing", "Pushed"}
    aux = lines[-1]["aux"]
    assert (aux["Tag"], aux["Digest"][:7], aux["Size"] > 0) == ("1", "sha256:", True)
    assert lines[-2]["status"] == f"1: digest: {aux['Digest']} size: {aux['Size']}"
    assert f"{registry.host}/{name}@{aux['Digest']}" in inspected(either, made)["RepoDigests"]
    again = either.docker("push", f"{registry.host}/{name}:1").stdout
    assert "Layer already exists" in again and aux["Digest"] in again
    either.docker("rmi", f"{registry.host}/{name}:1")
    either.docker("pull", f"{registry.host}/{name}:1")
    assert inspected(either, f"{registry.host}/{name}:1")["Id"] == made


def test_all_tags_are_pushed(either: Host, registry: Registry, name: str) -> None:
    make_image(either, f"{registry.host}/{name}:1")
    either.docker("tag", f"{registry.host}/{name}:1", f"{registry.host}/{name}:2")
    said = either.docker("push", "-a", f"{registry.host}/{name}").stdout
    assert "\n1: digest: sha256:" in said and "\n2: digest: sha256:" in said
    found = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", f"docker://{registry.host}/{name}"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert sorted(json.loads(found.stdout)["Tags"]) == ["1", "2"]


def test_a_push_of_nothing(either: Host, registry: Registry, name: str) -> None:
    wanted = f"{registry.host}/{name}"
    lines = lines_of(either.http("POST", f"/images/{wanted}/push", query={"tag": "1"}, headers=auth()))
    assert lines[0]["status"] == f"The push refers to repository [{wanted}]"
    message = f"An image does not exist locally with the tag: {wanted}"
    assert (lines[-1]["error"], lines[-1]["errorDetail"]["message"]) == (message, message)


# --- a client that goes away ----------------------------------------------------------------------


@pytest.fixture
def stuck(agent_story: Story, registries: object) -> Iterator[BadImage]:
    """An image whose layer stops in its middle."""
    gate, settings = threading.Event(), agent_story.tree.parent / "registries.yaml"
    before = settings.read_text()
    with bad_started() as registry:
        yield _stuck_image(registry, gate, settings, before)
        gate.set()
    settings.write_text(before)


def _stuck_image(registry: BadRegistry, gate: threading.Event, settings: Path, before: str) -> BadImage:
    image = registry.put_image(content=b"x" * 500_000)

    def slowly(handler: Handler) -> None:
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(image.layer)))
        handler.end_headers()
        handler.wfile.write(image.layer[:200_000])
        gate.wait(120)

    registry.answer(image.layer_path, BadAnswer(raw=slowly))
    settings.write_text(f'{before}  "{registry.host}": {{insecure: true}}\n')
    return image


def workers(story: Story) -> list[int]:
    """Processes that fetch or send for this instance."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"runtime.images.worker" in words and story.layout.instance.encode() in words:
            found.append(int(entry))
    return found


def open_files(story: Story) -> int:
    return len(os.listdir(f"/proc/{story.agent_pid()}/fd"))


def test_a_pull_ends_with_its_client(agent_story: Story, host: Host, stuck: BadImage) -> None:
    story, http = agent_story, Http(host.direct)
    ingest = story.layout.images / "ingest"
    others = set(ingest.glob("*"))
    asked = f"POST /images/create?fromImage={stuck.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with http.connect() as other:
        other.sendall(asked)
        eventually(lambda: b'"Pulling from' in other.recv(10_000), "the pull is under way")
        before, working = open_files(story), set(workers(story))
        with http.connect() as one:
            one.sendall(asked)
            eventually(lambda: open_files(story) > before, "the second is there")
        eventually(lambda: open_files(story) <= before, "the second is gone")
        assert set(workers(story)) == working != set()  # one download for both; who is left waits for it
    eventually(lambda: not workers(story), "the pull is given up")
    eventually(lambda: set(ingest.glob("*")) <= others, "what it had is gone")


def test_f7_a_pull_under_way_is_nobody_elses(agent_story: Story, host: Host, stuck: BadImage) -> None:
    """Whoever has another login, or none, asks the registry for himself."""
    http = Http(host.direct)
    head = f"POST /images/create?fromImage={stuck.name} HTTP/1.1\r\nHost: x\r\n"
    with http.connect() as one, http.connect() as other:
        one.sendall(f"{head}X-Registry-Auth: {auth(*LOGIN)['X-Registry-Auth']}\r\n\r\n".encode())
        eventually(lambda: b'"Pulling from' in one.recv(10_000), "the pull is under way")
        working = set(workers(agent_story))
        other.sendall(f"{head}\r\n".encode())
        eventually(lambda: set(workers(agent_story)) > working, "another asks for himself")
    eventually(lambda: not workers(agent_story), "both are given up")


# --- archives -------------------------------------------------------------------------------------


def test_a_client_that_reads_the_status_alone(either: Host, name: str) -> None:
    """As docker-py's generator that nobody asks for its first item: the image is there by then."""
    id = make_image(either, f"{name}:1")
    archive = either.http("GET", f"/images/{name}:1/get").body
    either.http("DELETE", f"/images/{id}", query={"force": True})
    with contextlib.closing(either.client()) as client:
        client.api.load_image(archive)
        assert id in ids(either)


def test_saved_and_loaded(either: Host, name: str) -> None:
    one = make_image(either, f"{name}/a:1")
    two = make_image(either, f"{name}/b:1")
    either.docker("tag", f"{name}/a:1", f"{name}/a:2")
    archive = either.http("GET", f"/images/get?names={name}/a&names={name}/b:1")
    assert (archive.status, archive.headers["content-type"]) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(archive.body)) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        saved = {tag for row in json.load(manifest) for tag in row["RepoTags"]}
    assert saved == {f"{name}/a:1", f"{name}/a:2", f"{name}/b:1"}
    for id in (one, two):
        either.http("DELETE", f"/images/{id}", query={"force": True})
    assert not {one, two} & ids(either)
    answer = either.http("POST", "/images/load?quiet=0", archive.body, headers=TAR)
    said = [line["stream"] for line in lines_of(answer) if "stream" in line]
    assert sorted(said) == [f"Loaded image: {each}\n" for each in sorted(saved)]
    assert (inspected(either, f"{name}/a:2")["Id"], inspected(either, f"{name}/b:1")["Id"]) == (one, two)
    quiet = lines_of(either.http("POST", "/images/load?quiet=1", archive.body, headers=TAR))
    assert all("stream" in line for line in quiet)


def test_the_cli_saves_and_loads(either: Host, name: str, tmp_path: Path) -> None:
    id = make_image(either, f"{name}:1")
    either.docker("save", "-o", tmp_path / "one.tar", f"{name}:1")
    either.docker("save", "-o", tmp_path / "nameless.tar", id)
    either.docker("rmi", f"{name}:1")
    assert either.docker("load", "-i", tmp_path / "nameless.tar").stdout == f"Loaded image ID: {id}\n"
    assert either.docker("load", "-q", "-i", tmp_path / "one.tar").stdout == f"Loaded image: {name}:1\n"
    assert inspected(either, f"{name}:1")["Id"] == id


def test_a_loaded_name_moves(either: Host, name: str) -> None:
    old = make_image(either, f"{name}:1", files={"x": b"old"})
    archive = either.http("GET", f"/images/{name}:1/get").body
    new = make_image(either, f"{name}:1", files={"x": b"new"})
    said = [line["stream"] for line in lines_of(either.http("POST", "/images/load", archive, headers=TAR))]
    assert said == [
        f"The image {name}:1 already exists, renaming the old one with ID {new} to empty string\n",
        f"Loaded image: {name}:1\n",
    ]
    assert inspected(either, f"{name}:1")["Id"] == old
    assert inspected(either, new)["RepoTags"] == []


def test_c4_a_name_that_a_manifest_runs_does_not_move(agent_story: Story, host: Host, name: str) -> None:
    """Whoever made an archive chose its names: it must not change what a manifest's container is made of."""
    make_image(host, f"{name}:1", files={"x": b"evil"})
    archive = host.http("GET", f"/images/{name}:1/get").body
    host.docker("tag", "busybox", f"{name}:1")
    good = inspected(host, f"{name}:1")["Id"]
    manifest = f"services: {{app: {{image: '{name}:1', command: sleep 1000, stop_signal: SIGKILL}}}}\n"
    agent_story.apply({f"{name}/compose.yaml": manifest})
    try:
        [line] = lines_of(host.http("POST", "/images/load", archive, headers=TAR))
        assert f"{name}/compose.yaml:1 runs it" in line["error"]
        assert inspected(host, f"{name}:1")["Id"] == good
    finally:
        agent_story.apply({f"{name}/compose.yaml": None})
    assert "error" not in lines_of(host.http("POST", "/images/load", archive, headers=TAR))[-1]
    assert inspected(host, f"{name}:1")["Id"] != good


@pytest.mark.parametrize("body", [b"", b"xx", b"\0" * 10240])
def test_what_is_no_archive(either: Host, body: bytes) -> None:
    answer = either.http("POST", "/images/load", body, headers=TAR)
    either.agrees(f"load {body[:2]!r}", (answer.status, "error" in lines_of(answer)[-1]), (200, True))
    assert b"/proc/" not in answer.body


def test_nothing_to_save(either: Host) -> None:
    for path in (
        "/images/nothing/get",
        "/images/get?names=nothing",
        "/images/get?names=busybox&names=nothing",
    ):
        answer = either.http("GET", path)
        assert (answer.status, answer.message.startswith("No such image: nothing")) == (404, True)


def test_an_import(either: Host, name: str, tmp_path: Path) -> None:
    either.docker("create", "--name", name, "busybox", "true")
    either.docker("export", "-o", tmp_path / "root.tar", name)
    id = either.docker(
        "import", "-m", "by hand", "-c", 'CMD ["sh"]', "-c", "ENV A=1", tmp_path / "root.tar", f"{name}:1"
    ).stdout.strip()
    view = inspected(either, f"{name}:1")
    assert (view["Id"], view["Comment"], view["Config"]["Cmd"]) == (id, "by hand", ["sh"])
    assert either.docker("run", "--rm", f"{name}:1", "sh", "-c", "echo $A").stdout == "1\n"


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("fromSrc=-&repo=Foo", b"", 400),
        ("fromSrc=-&repo=x&changes=RUN%20x", b"", 400),
        ("fromSrc=-&repo=x&platform=windows/x/y/z", b"", 400),
        ("fromSrc=http://127.0.0.1:1/x.tar&repo=x", b"", 501),
    ],
)
def test_imports_of_nothing(either: Host, query: str, body: bytes, status: int) -> None:
    answer = either.http("POST", f"/images/create?{query}", body, headers=TAR)
    either.agrees(f"import {query}", answer.status, status)


def test_a_client_that_breaks_off_leaves_nothing(agent_story: Story, http: Http) -> None:
    before = open_files(agent_story)
    for path in ("/images/load", "/images/create?fromSrc=-"):
        for _ in range(10):
            with http.connect() as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
                connection.sendall(f"{head}Content-Length: 9999\r\n\r\nx".encode())
    for _ in range(10):
        connection, answer = http.stream("GET", "/images/busybox/get")
        assert answer.read(512)
        connection.close()
        answer.close()
    eventually(lambda: open_files(agent_story) <= before, "their descriptors are closed")


def test_a_client_that_is_gone_before_the_answer(agent_story: Story, host: Host) -> None:
    """All of its archive came, and nobody waits for what becomes of it."""
    http, before = Http(host.direct), open_files(agent_story)
    for path in ("/images/load", "/images/create?fromSrc=-&changes=CMD%20x"):
        for _ in range(10):
            with http.connect() as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
                connection.sendall(f"{head}Content-Length: 2\r\n\r\nxx".encode())
    eventually(lambda: open_files(agent_story) <= before, "their descriptors are closed")


# --- other clients --------------------------------------------------------------------------------


def test_skopeo_both_ways(either: Host, name: str, tmp_path: Path) -> None:
    daemon = f"unix://{either.socket}"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-daemon-host", daemon, "docker-daemon:busybox:latest",
         f"oci:{tmp_path}/out:1"],
        check=True,
    )  # fmt: skip
    subprocess.run(
        ["skopeo", "copy", "-q", "--dest-daemon-host", daemon, f"oci:{tmp_path}/out:1",
         f"docker-daemon:{name}:1"],
        check=True,
    )  # fmt: skip
    ours, theirs = inspected(either, "busybox"), inspected(either, f"{name}:1")
    assert theirs["RootFS"] == ours["RootFS"]
    assert either.docker("run", "--rm", f"{name}:1", "echo", "hi").stdout == "hi\n"


def test_docker_py(client: docker_py.DockerClient, registry: Registry, locked: Registry, name: str) -> None:
    image = client.images.pull(f"{registry.host}/lab/app", tag="1")
    assert image.tags == [f"{registry.host}/lab/app:1"]
    [both] = client.images.pull(f"{registry.host}/lab/app", all_tags=True)
    assert sorted(both.tags) == [f"{registry.host}/lab/app:1", f"{registry.host}/lab/app:2"]
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    assert client.images.pull(f"{locked.host}/lab/app", tag="2", auth_config=login).id == image.id
    with pytest.raises(docker_py.errors.NotFound):
        client.images.pull(f"{registry.host}/lab/app", tag="none")
    image.tag(f"{registry.host}/{name}", "1")
    lines: list[dict[str, Any]] = list(
        client.images.push(f"{registry.host}/{name}", tag="1", stream=True, decode=True)
    )
    found = client.images.get_registry_data(f"{registry.host}/{name}:1")
    assert found.id == lines[-1]["aux"]["Digest"]
    assert found.has_platform("linux/amd64")
    [loaded] = client.images.load(b"".join(client.images.get("busybox").save(named=True)))
    assert loaded.tags == ["busybox:latest"]
    with pytest.raises(docker_py.errors.ImageLoadError):
        client.images.load(b"nothing")
    assert client.login("me", LOGIN[1], registry=locked.host)["Status"] == "Login Succeeded"
    with pytest.raises(docker_py.errors.APIError, match="401"):
        client.login("me", "wrong", registry=locked.host, reauth=True)


# --- what registries tell -------------------------------------------------------------------------


def test_what_a_name_means_there(either: Host, registry: Registry) -> None:
    found = either.http("GET", f"/distribution/{registry.host}/lab/app:1/json")
    descriptor = found.json["Descriptor"]
    assert (found.status, descriptor["mediaType"]) == (200, "application/vnd.oci.image.manifest.v1+json")
    either.docker("pull", f"{registry.host}/lab/app:1")
    [pinned] = inspected(either, f"{registry.host}/lab/app:1")["RepoDigests"]
    assert pinned.endswith(descriptor["digest"])
    platforms = [{"architecture": "amd64", "os": "linux"}]
    either.agrees("the platforms of a single image in its registry", found.json["Platforms"], platforms)
    missing = either.http("GET", f"/distribution/{registry.host}/lab/app:9/json")
    assert (missing.status, "manifest unknown" in missing.message) == (404, True)


def test_search(host: Host, registry: Registry) -> None:
    rows = host.http("GET", "/images/search", query={"term": f"{registry.host}/lab"}).json
    assert rows == [
        {"name": f"{registry.host}/lab/app", "description": "", "is_official": False, "is_automated": False,
         "star_count": 0},
    ]  # fmt: skip
    assert f"{registry.host}/lab/app" in host.docker("search", f"{registry.host}/lab").stdout
    stars = host.http(
        "GET", "/images/search", query={"term": f"{registry.host}/lab", "filters": {"stars": ["1"]}}
    )
    assert stars.json == []


@pytest.mark.parametrize(
    "query",
    [{"term": "x", "limit": "500"}, {"term": "x", "filters": '{"a":["b"]}'}],
)
def test_searches_of_nothing(either: Host, query: dict[str, str]) -> None:
    assert either.http("GET", "/images/search", query=query).status == 400
