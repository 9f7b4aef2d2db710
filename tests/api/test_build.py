"""Builds by the clients that people have: the docker CLI classic and through BuildKit, compose, docker-py."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from docker.errors import BuildError

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story, eventually

Docker = Callable[..., subprocess.CompletedProcess[str]]
PLAIN = ("--progress", "plain")


@pytest.fixture(params=["classic", "buildkit"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def build(host: Host, way: str) -> Docker:
    """build("-t", name, folder): `docker build` in that way; what it says is on stdout and stderr."""

    def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {"DOCKER_BUILDKIT": "0" if way == "classic" else "1", **options.pop("env", {})}
        plain = PLAIN if way == "buildkit" and "-q" not in words else ()
        return host.docker("build", *plain, *words, env=env, **options)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    return place


def write(folder: Path, dockerfile: str, **files: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        (folder / name).write_text(text)


def inspected(docker: Docker, image: str) -> dict[str, Any]:
    return dict(json.loads(docker("image", "inspect", image).stdout)[0])


def tree_of(docker: Docker, image: str, tmp_path: Path) -> dict[str, tarfile.TarInfo]:
    """The files of an image, by path."""
    archive = tmp_path / "image.tar"
    docker("save", "-o", archive, image)
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(archive) as outer:
        manifest = json.loads(_content(outer, "manifest.json"))
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(_content(outer, layer))) as inner:
                found |= {member.name.strip("./"): member for member in inner}
    return found


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


# --- what works, both ways --------------------------------------------------------------------------


def test_an_image_is_what_was_asked_for(
    build: Docker, docker: Docker, folder: Path, name: str, tmp_path: Path
) -> None:
    write(
        folder,
        "FROM busybox AS base\nARG X=1\nENV Y=$X\nRUN echo made-$Y > /made\n"
        "FROM base AS test\nCOPY --from=base /made /copied\nFROM base\nRUN false\n",
    )
    done = build(
        "-t", f"lab/{name}:1", "-t", f"lab/{name}:2", "--build-arg", "X=5", "--label", "a=b",
        "--target", "test", "--iidfile", tmp_path / "id", folder,
    )  # fmt: skip
    image = inspected(docker, f"lab/{name}:2")
    assert image["Id"] == (tmp_path / "id").read_text()
    assert {f"lab/{name}:1", f"lab/{name}:2"} <= set(image["RepoTags"])
    assert image["Config"]["Labels"] == {"a": "b"}
    assert "Y=5" in image["Config"]["Env"]
    assert tree_of(docker, f"lab/{name}:1", tmp_path)["copied"].size == len("made-5\n")
    assert "RUN echo made-$Y > /made" in done.stdout + done.stderr


def test_the_second_time_nothing_is_run(build: Docker, way: str, folder: Path, name: str) -> None:
    write(folder, f"FROM busybox\nRUN echo {name}\nCOPY a /\n", a="x")
    first = build("-t", name, folder)
    second = build("-t", name, folder)
    third = build("-t", name, "--no-cache", folder)
    word = "Using cache" if way == "classic" else "CACHED"
    assert [word in done.stdout + done.stderr for done in (first, second, third)] == [False, True, False]


def test_quiet_says_the_id_alone(build: Docker, docker: Docker, folder: Path, name: str) -> None:
    write(folder, "FROM busybox\nRUN echo noise\n")
    done = build("-q", "-t", name, folder)
    assert done.stdout.strip() == inspected(docker, name)["Id"]


def test_the_files_of_a_context(
    build: Docker, docker: Docker, folder: Path, name: str, tmp_path: Path
) -> None:
    write(folder, "FROM busybox\nCOPY . /c/\n", hidden="x", kept="yes")
    (folder / ".dockerignore").write_text("hidden\n*.log\n!keep.log\nDockerfile\n")
    (folder / "a.log").write_text("x")
    (folder / "keep.log").write_text("x")
    deep = folder / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    (deep / "näme").write_text("abc")
    (deep / "näme").chmod(0o4750)
    (folder / "out").symlink_to("/etc/passwd")
    os.link(folder / "kept", folder / "same")
    (folder / "empty").mkdir(mode=0o711)
    big = os.urandom(3_000_000)
    (folder / "big").write_bytes(big)
    build("-t", name, folder)
    tree = tree_of(docker, name, tmp_path)
    assert {"c/hidden", "c/a.log", "c/Dockerfile"} & tree.keys() == set()
    assert tree["c/big"].size == len(big)
    assert tree["c/out"].linkname == "/etc/passwd"
    named = tree[f"c/{'d' * 120}/{'e' * 120}/näme"]
    assert (named.size, named.mode, named.uid, named.gid) == (3, 0o4750, 0, 0)
    assert tree["c/empty"].mode == 0o711
    assert {"c/keep.log", "c/kept", "c/same"} <= tree.keys()


def test_an_ignore_file_of_the_dockerfiles_own(
    build: Docker, way: str, docker: Docker, folder: Path, name: str, tmp_path: Path
) -> None:
    if way == "classic":
        pytest.skip("the command line itself reads .dockerignore alone")
    write(folder, "", a="x", b="x")
    (folder / "Other").write_text("FROM busybox\nCOPY . /c/\n")
    (folder / "Other.dockerignore").write_text("a\n")
    (folder / ".dockerignore").write_text("b\n")
    build("-t", name, "-f", folder / "Other", folder)
    tree = tree_of(docker, name, tmp_path)
    assert "c/b" in tree and "c/a" not in tree


def test_a_dockerfile_and_a_context_from_stdin(
    build: Docker, host: Host, docker: Docker, folder: Path, way: str, name: str, tmp_path: Path
) -> None:
    build("-t", name, "-", stdin="FROM busybox\nENV A=stdin\n")
    assert "A=stdin" in inspected(docker, name)["Config"]["Env"]
    write(folder, "FROM busybox\nCOPY a /a\n", a="xyz")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        packed.add(folder, ".")
    env = {**host.environment, "DOCKER_BUILDKIT": "0" if way == "classic" else "1"}
    done = subprocess.run(
        ["docker", "build", "-t", name, "-"], input=archive.getvalue(), env=env, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tree_of(docker, name, tmp_path)["a"].size == 3


# --- what fails -------------------------------------------------------------------------------------


def test_a_mistake_is_told_with_its_line(build: Docker, folder: Path) -> None:
    write(folder, "FROM busybox\nRNU true\n")
    done = build(folder, check=False)
    assert done.returncode == 1
    assert "Dockerfile:2:1: there is no instruction 'RNU'" in done.stderr


def test_a_command_that_fails(build: Docker, way: str, folder: Path) -> None:
    write(folder, "FROM busybox\n\nRUN echo said; exit 3\n")
    done = build(folder, check=False)
    assert "said\n" in done.stdout + done.stderr
    if way == "classic":
        assert done.returncode == 3
        assert "Dockerfile:3: The command 'echo said; exit 3' returned a non-zero code: 3" in done.stderr
    else:
        assert done.returncode == 1
        assert "Dockerfile:3: RUN: the command ended with exit code 3" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--network", "container:x"), "steps cannot join that network"),
        (("--platform", "linux/s390x"), "this machine runs"),
        (("-t", "UPPER"), "lowercase"),
        (("--cgroup-parent", "/x"), "control group of their own"),
    ],
)
def test_options_that_are_refused(
    build: Docker, folder: Path, words: tuple[str, ...], said: str, way: str
) -> None:
    if (way, words[0]) == ("buildkit", "--network"):
        said = "not supported by buildkit"
    write(folder, "FROM busybox\nRUN true\n")
    done = build(*words, folder, check=False)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", "type=local,dest=out"), "docker save or docker cp afterwards"),
        (("--build-context", "x=https://example.invalid/a.git"), "docker-image://NAME"),
        (("--no-cache-filter", "x"), "--no-cache for all of it"),
        (("--allow", "security.insecure"), "steps have no more rights"),
        (("--cache-from", "type=gha"), ""),
    ],
)
def test_what_buildkit_has_and_we_do_not(
    docker: Docker, folder: Path, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    write(folder, "FROM busybox\nRUN true\n")
    done = docker("buildx", "build", *PLAIN, *words, folder, check=not said, cwd=tmp_path)
    assert said in done.stderr
    assert "bug" not in done.stderr


def test_files_from_beside_the_context(host: Host, docker: Docker, folder: Path, name: str) -> None:
    """By the command line and by compose: directories, with what they ignore, and an image."""
    write(folder, "FROM base\nCOPY --from=more . /more/\nRUN --mount=from=more,target=/m cat /m/a >/b\n")
    more = folder.parent / "more"
    (more / "sub").mkdir(parents=True)
    for path, text in (("a", "one"), ("sub/b", "two"), ("left", "out"), (".dockerignore", "left\n")):
        (more / path).write_text(text)
    base = "base=docker-image://busybox"
    docker(
        "buildx",
        "build",
        *PLAIN,
        "--build-context",
        base,
        "--build-context",
        f"more={more}",
        "-t",
        name,
        folder,
    )
    seen = docker("run", "--rm", name, "sh", "-c", "cd /more; find . -type f | sort; cat a sub/b /b").stdout
    assert seen == "./.dockerignore\n./a\n./sub/b\nonetwoone"
    contexts = f"additional_contexts: {{more: {more}, base: 'docker-image://busybox'}}"
    (folder / "compose.yaml").write_text(
        f"services: {{a: {{build: {{context: ., {contexts}}}, command: cat /b}}}}"
    )
    (more / "a").write_text("three")
    assert "three" in host.compose(folder, "up", "--build").stdout
    host.compose(folder, "down", "--rmi", "local")


def test_a_secret_is_seen_by_its_step_alone(
    docker: Docker, folder: Path, name: str, tmp_path: Path, agent_story: Story
) -> None:
    write(
        folder,
        "FROM busybox\n"
        "RUN --mount=type=secret,id=key cat /run/secrets/key && wc -c < /run/secrets/key > /size\n"
        "RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n",
    )
    secret = f"canary-{name}"
    (tmp_path / "key").write_text(secret)
    done = docker("build", *PLAIN, "--secret", f"id=key,src={tmp_path / 'key'}", "-t", name, folder)
    assert tree_of(docker, name, tmp_path)["size"].size == len(f"{len(secret)}\n")
    assert secret not in done.stdout + done.stderr
    assert secret not in json.dumps(inspected(docker, name))
    kept = subprocess.run(
        ["grep", "-rlF", secret, agent_story.layout.data], capture_output=True, text=True, check=False
    )
    assert kept.stdout == ""


def test_an_ssh_agent_is_lent_to_a_step(docker: Docker, folder: Path, name: str, short_folder: Path) -> None:
    """What answers on the client's socket is heard by the step."""
    path = short_folder / name
    heard: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    heard.append(connection.recv(100))
                    connection.sendall(b"\0\0\0\5\x0c\0\0\0\0")  # no identities

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        write(
            folder,
            "FROM busybox\n"
            "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo socket\n"
            'RUN --mount=type=ssh,id=other test -z "$SSH_AUTH_SOCK" && echo none\n',
        )
        done = docker("build", *PLAIN, "--ssh", f"default={path}", folder)
    assert " socket\n" in done.stderr and " none\n" in done.stderr


# --- other clients ----------------------------------------------------------------------------------


def test_compose_builds(host: Host, docker: Docker, folder: Path, way: str, name: str) -> None:
    write(folder, "FROM busybox\nARG WHO\nENV WHO=$WHO\n")
    service = {"build": {"context": ".", "args": {"WHO": "ann"}, "labels": {"a": "b"}}}
    services = {
        "one": {**service, "image": f"lab/{name}:one"}, "two": {**service, "image": f"lab/{name}:two"}
    }  # fmt: skip
    (folder / "compose.yaml").write_text(json.dumps({"name": name, "services": services}))
    host.compose(folder, "build", env={"DOCKER_BUILDKIT": "0" if way == "classic" else "1"})
    for tag in ("one", "two"):
        config = inspected(docker, f"lab/{name}:{tag}")["Config"]
        assert "WHO=ann" in config["Env"]
        assert config["Labels"]["a"] == "b"


def test_compose_brings_up_what_it_builds(host: Host, folder: Path, name: str) -> None:
    """And again when a file of it changed."""
    service = {"build": ".", "command": ["cat", "/said"]}
    (folder / "compose.yaml").write_text(json.dumps({"name": name, "services": {"one": service}}))
    for text in ("first", "second"):
        write(folder, "FROM busybox\nCOPY said /said\n", said=f"{text}\n")
        done = host.compose(folder, "up", "--build", "--abort-on-container-exit")
        assert f"| {text}" in done.stdout
    host.compose(folder, "down", "--rmi", "local")
    assert f"{name}-one" not in host.docker("images").stdout


def test_docker_py_builds(client: Any, folder: Path, name: str) -> None:
    write(folder, "FROM busybox\nARG A\nRUN echo $A\nCOPY a /\n", a="x")
    image, lines = client.images.build(
        path=str(folder), tag=f"{name}:1", buildargs={"A": "told"}, labels={"a": "b"}, rm=True,
        container_limits={"memory": 64 << 20}, shmsize=1 << 20, extra_hosts={"h": "10.0.0.1"},
    )  # fmt: skip
    assert f"{name}:1" in image.tags
    assert image.labels == {"a": "b"}
    said = [str(line.get("stream", "")) for line in lines]
    assert "told\n" in said
    assert any(line.startswith("Successfully tagged") for line in said)
    image, _ = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nENV B=1\n"))
    assert "B=1" in image.attrs["Config"]["Env"]


def test_docker_py_hears_of_failures(client: Any, folder: Path) -> None:
    write(folder, "FROM busybox\nRUN exit 4\n")
    with pytest.raises(BuildError) as failed:
        client.images.build(path=str(folder))
    assert "returned a non-zero code: 4" in str(failed.value)
    for _ in failed.value.build_log:  # to its end, where docker-py lets go of the connection
        pass


def test_a_file_alone_by_its_url(http: Http, docker: Docker, name: str) -> None:
    """A Dockerfile, and a tar, that the agent fetches: from this machine by the host's network alone."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        for path, data in (("Dockerfile", b"FROM busybox\nCOPY a /a\n"), ("a", b"abc")):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    with _serving({"/a.tar.gz": archive.getvalue(), "/file": b"FROM busybox\nENV A=url\n"}) as address:
        answer = http("POST", "/build", query={"remote": f"{address}/file"})
        assert (answer.status, "is this machine" in answer.message) == (400, True)
        for path in ("/a.tar.gz", "/file"):
            query = {"remote": address + path, "networkmode": "host", "t": f"{name}:{path[1]}"}
            answer = http("POST", "/build", query=query)
            assert answer.status == 200, answer.message
    assert "A=url" in inspected(docker, f"{name}:f")["Config"]["Env"]
    assert inspected(docker, f"{name}:a")["RootFS"]["Layers"][1:]


@contextlib.contextmanager
def _serving(files: dict[str, bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(files[self.path])

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# --- ends before the end ----------------------------------------------------------------------------


def _states(story: Story) -> list[str]:
    return [str(row["state"]) for row in json.loads(story.setpoint("image", "builds", "-o", "json"))]


def _is_running(word: str) -> bool:
    found = subprocess.run(["pgrep", "-f", f"^sleep {word}$"], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_away_ends_its_build(
    host: Host, folder: Path, way: str, agent_story: Story, sent: signal.Signals
) -> None:
    seconds = str(100_000 + os.getpid() % 100_000)
    write(folder, f"FROM busybox\nRUN sleep {seconds}\n")
    env = {**host.environment, "DOCKER_BUILDKIT": "0" if way == "classic" else "1"}
    with subprocess.Popen(
        ["docker", "build", folder], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as client:  # fmt: skip
        try:
            eventually(lambda: _is_running(seconds), "the step runs")
        finally:
            os.killpg(client.pid, sent)
    eventually(lambda: not _is_running(seconds), "the step was ended")
    eventually(lambda: "running" not in _states(agent_story), "the build is over")


def test_a_build_is_cancelled_by_its_name(host: Host, http: Http, agent_story: Story) -> None:
    seconds = str(200_000 + os.getpid() % 100_000)
    text = f"FROM busybox\nRUN sleep {seconds}\n".encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as packed:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text))
    body = archive.getvalue()
    head = (
        f"POST /v1.45/build?buildid=mine HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.direct))
        client.sendall(head.encode() + body)
        eventually(lambda: _is_running(seconds), "the step runs")
        assert http("POST", "/build/cancel", query={"id": "other"}).status == 200
        assert _is_running(seconds)
        assert http("POST", "/build/cancel", query={"id": "mine"}).status == 200
        eventually(lambda: not _is_running(seconds), "the step was ended")
    assert http("POST", "/build/cancel").message == "build ID not provided"


# --- what is kept -----------------------------------------------------------------------------------


def test_the_cache_is_listed_and_pruned(
    build: Docker, docker: Docker, http: Http, folder: Path, name: str
) -> None:
    write(folder, f"FROM busybox\nRUN echo {name} > /x && dd if=/dev/urandom of=/y bs=1M count=1\n")
    build("-t", name, folder)
    assert "true" in docker("buildx", "du").stdout
    answer = http("POST", "/build/prune", query={"filters": '{"until": ["1h"]}'})
    assert answer.json == {"CachesDeleted": [], "SpaceReclaimed": 0}
    docker("rmi", name)
    assert "reclaimed space: 0B" in docker("system", "prune", "-f", "--filter", "label=x").stdout
    assert "true" in docker("buildx", "du").stdout  # no step has a label
    gone = http("POST", "/build/prune", query={"all": "1"}).json
    assert gone["CachesDeleted"] and gone["SpaceReclaimed"] > 1 << 20
    assert http("POST", "/build/prune").json["CachesDeleted"] == []
    for query in (
        {"al": "1"},
        {"max-used-space": "5"},
        {"keep-storage": "x"},
        {"filters": '{"type": ["a"]}'},
    ):
        assert http("POST", "/build/prune", query=query).status == 400
    again = build("-t", name, folder)
    assert "Using cache" not in again.stdout and "CACHED" not in again.stderr
    assert "Total:" in docker("buildx", "prune", "-f").stdout


# --- hostile clients --------------------------------------------------------------------------------


def test_what_is_no_build_is_refused_in_words(http: Http) -> None:
    for query, status, said in (
        ({"squash": "1"}, 400, "experimental"), ({"version": "2"}, 501, "DOCKER_BUILDKIT=0"),
        ({"outputs": '[{"Type": "tar"}]'}, 501, "docker save"), ({"nocahe": "1"}, 400, "no such option"),
        ({"remote": "client-session"}, 400, "neither a repository"), ({"shmsize": "x"}, 400, "whole number"),
    ):  # fmt: skip
        answer = http("POST", "/build", query=query)
        assert (answer.status, said in answer.message) == (status, True), answer.message
    answer = http("POST", "/build", headers={"X-Registry-Config": base64.b64encode(b"[]").decode()})
    assert answer.status == 400


@pytest.mark.parametrize("path", ["/grpc", "/session"])
@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, os.urandom(100_000)])
def test_noise_on_an_upgraded_connection(host: Host, http: Http, path: str, data: bytes) -> None:
    """The connection is closed, and nobody else notices."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.direct))
        client.settimeout(20)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
            f"X-Docker-Expose-Session-Uuid: noise\r\nContent-Length: 0\r\n\r\n"
        )
        client.sendall(head.encode())
        assert client.recv(12) == b"HTTP/1.1 101"
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while client.recv(65536):
                pass
    assert http("GET", "/_ping").status == 200


def test_connections_that_break_off_leave_nothing(host: Host, agent_story: Story) -> None:
    """500 of them; a descriptor or a session that stayed would be seen."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(host.direct))
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    place = Path(f"/proc/{int.from_bytes(credentials[:4], 'little')}/fd")
    before = len(list(place.iterdir()))
    for number in range(500):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(host.direct))
            path = "/grpc" if number % 2 else "/session"
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
                f"X-Docker-Expose-Session-Uuid: s{number}\r\nContent-Length: 0\r\n\r\n"
            )
            client.sendall(head.encode())
            assert client.recv(12) == b"HTTP/1.1 101"
    eventually(lambda: len(list(place.iterdir())) <= before + 3, "their descriptors are closed")


def test_without_an_upgrade_there_is_nothing_to_say(http: Http) -> None:
    assert http("POST", "/grpc").message == "protocol  not supported"
    assert http("POST", "/session").status == 400
