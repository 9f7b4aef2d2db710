"""What a manifest says of a build, seen in the container that it makes; and a secret seen nowhere."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images.images import host_platform
from tests.e2e.story import Story, eventually

WEB = "shop/container/web"
CANARY, OTHER = "canary-of-a-file-71b2", "canary-of-a-variable-93d0"
COMPOSE = """\
services:
  web:
    command: [sleep, "1005"]
    stop_signal: SIGKILL
    build:
      context: ./web
      additional_contexts: {shared: ../common, base: docker-image://busybox}
      platforms: [PLATFORM]
      shm_size: 3m
      extra_hosts: ["db=10.9.8.7"]
      ulimits: {nofile: 77}
      secrets: [token, {source: api, target: key}]
      ssh: [default]
secrets:
  token: {file: TOKEN}
  api: {environment: API_KEY}
"""
DOCKERFILE = """\
FROM base
COPY index /srv/
COPY --from=shared common /srv/
RUN grep -w db /etc/hosts > /srv/hosts && ulimit -n > /srv/files && df -k /dev/shm > /srv/shm
RUN --mount=type=secret,id=token --mount=type=secret,id=key,env=KEY \\
  cat /run/secrets/token && echo "$KEY" && (cat /run/secrets/token; echo -n "$KEY") | md5sum > /srv/sum
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo yes > /srv/ssh
"""


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "secrets" / "token"
    path.parent.mkdir()
    path.write_text(CANARY)
    return path


@pytest.fixture
def given_story(quiet_story: Story, busybox_archive: Path, tmp_path: Path) -> Iterator[Story]:
    """Its agent has a variable for manifests, and an ssh agent of its own."""
    variables = tmp_path / "variables"
    variables.write_text(f"API_KEY={OTHER}\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ssh"))
        listener.listen()
        quiet_story.environment["SSH_AUTH_SOCK"] = str(tmp_path / "ssh")
        quiet_story.start_agent("--env-file", str(variables))
        quiet_story.setpoint("image", "load", str(busybox_archive))
        yield quiet_story


def files(token: Path, compose: str = COMPOSE) -> dict[str, str | None]:
    host = host_platform()
    text = compose.replace("PLATFORM", f"{host.os}/{host.architecture}").replace("TOKEN", str(token))
    return {
        "shop/compose.yaml": text,
        "shop/web/Dockerfile": DOCKERFILE,
        "shop/web/index": "index",
        "common/common": "common",
    }


def read(story: Story, name: str) -> str:
    return story.setpoint("exec", WEB, "cat", f"/srv/{name}").strip()


def builds(story: Story) -> int:
    return len(json.loads(story.setpoint("image", "builds", "-o", "json")))


def test_every_field_is_seen_in_the_container(given_story: Story, token: Path) -> None:
    story = given_story
    story.apply(files(token))
    assert read(story, "index") == "index" and read(story, "common") == "common"
    assert read(story, "hosts").split() == ["10.9.8.7", "db"] and read(story, "files") == "77"
    assert read(story, "shm").splitlines()[1].split()[1] == "3072" and read(story, "ssh") == "yes"
    # A file of a directory beside the context is part of what is built.
    pid = story.pid(WEB)
    story.apply({"common/common": "changed"})
    assert read(story, "common") == "changed" and story.pid(WEB) != pid


def test_a_secret_is_nowhere_and_another_one_builds_nothing(
    given_story: Story, token: Path, tmp_path: Path
) -> None:
    story = given_story
    story.apply(files(token))
    summed = read(story, "sum")
    assert len(summed) > 32
    pid, count = story.pid(WEB), builds(story)
    build = json.loads(story.setpoint("image", "builds", "-o", "json"))[0]["id"]
    verbs = [("events",), ("status", "-o", "json"), ("get", WEB, "-o", "yaml"), ("image", "builds", build)]
    told = [story.setpoint(*words) for words in verbs]
    assert "***" in told[-1]  # the step printed them
    places = [path for path in story.layout.data.rglob("*") if path.is_file() and not path.is_symlink()]
    texts = [path.read_bytes() for path in places] + [text.encode() for text in told]
    assert len(texts) > 20 and any(b"API_KEY" in text for text in texts)
    assert not [text[:100] for text in texts if CANARY.encode() in text or OTHER.encode() in text]
    # Another content, and another place: nothing is built.
    token.write_text("another")
    moved = token.with_name("moved")
    os.rename(token, moved)
    story.apply({**files(moved), "shop/notes.txt": "so that there is a commit"})
    assert story.pid(WEB) == pid and builds(story) == count and read(story, "sum") == summed


def test_what_is_not_there_is_said_and_found_when_it_comes(given_story: Story, token: Path) -> None:
    story = given_story
    missing = token.with_name("missing")
    story.commit(files(missing))
    story.setpoint("sync")
    eventually(lambda: "BuildFailed" in story.setpoint("events", WEB), "the build failed")
    found = story.object(WEB)
    assert found is not None and f"{missing}: No such file" in found["message"]
    missing.write_text(CANARY)
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    story.commit(
        files(missing, COMPOSE.replace("API_KEY", "NO_SUCH").replace("target: key", "target: other"))
    )
    story.setpoint("sync")
    eventually(lambda: "no variable NO_SUCH" in story.setpoint("events", WEB), "the variable is named")


def test_another_machine_s_platform_is_refused_in_one_sentence(given_story: Story, token: Path) -> None:
    other = "s390x" if host_platform().architecture != "s390x" else "amd64"
    story = given_story
    text = COMPOSE.replace("PLATFORM", f"linux/{other}")
    story.commit(files(token, text))
    story.setpoint("sync")
    eventually(lambda: "BuildFailed" in story.setpoint("events", WEB), "the build is refused")
    found = story.object(WEB)
    assert found is not None and f"for linux/{other}: this machine runs linux/" in found["message"]


def test_a_policy_says_what_of_the_host_a_build_is_given(
    quiet_story: Story, busybox_archive: Path, tmp_path: Path, token: Path
) -> None:
    """D5: a file that it does not allow, and a link in a directory that it does."""
    story = quiet_story
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (open_to_all / "link").symlink_to(token)
    (open_to_all / "plain").write_text("plain")
    policy = tmp_path / "policy.yaml"
    policy.write_text(f'apiVersion: setpoint/v1\nkind: Policy\nallow: {{binds: ["{open_to_all}:ro"]}}\n')
    policy.chmod(0o600)
    story.start_agent("--policy", str(policy))
    story.setpoint("image", "load", str(busybox_archive))
    dockerfile = "FROM busybox\nRUN --mount=type=secret,id=t wc -c < /run/secrets/t > /length\n"

    def wanted(path: Path) -> dict[str, str | None]:
        build = f"{{context: ./web, secrets: [{{source: t, file: {path}}}]}}"
        service = f"{{command: [sleep, '1006'], stop_signal: SIGKILL, build: {build}}}"
        return {
            "shop/compose.yaml": f"services: {{web: {service}}}\n",
            "shop/web/Dockerfile": dockerfile,
        }

    story.commit(wanted(token))
    story.setpoint("sync", code=1)
    assert "as a build's secret is not allowed by" in story.said
    assert builds(story) == 0
    story.commit(wanted(open_to_all / "link"))
    story.setpoint("sync")
    eventually(lambda: "BuildFailed" in story.setpoint("events", WEB), "the link leads nowhere")
    story.commit(wanted(open_to_all / "plain"))
    story.setpoint("sync")
    story.setpoint("wait", "--for", "ready", "--timeout", "60s")
    assert story.setpoint("exec", WEB, "cat", "/length").strip() == "5"
