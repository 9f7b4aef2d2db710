"""What the Docker CLI made becomes a manifest's: exactly, proven, and without a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests import engines
from tests.e2e.story import Story, eventually

pytestmark = pytest.mark.skipif(not engines.HAS_DOCKER, reason="no docker CLI here: ops/test --with-peers")
Docker = Callable[..., str]


@pytest.fixture
def docker(story: Story) -> Docker:
    """docker("run", …): what it prints."""

    def call(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            ["docker", "-H", f"unix://{story.layout.agent_socket}", *words],
            env={**os.environ, "DOCKER_CONFIG": str(story.tree.parent)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr + done.stdout
        return (done.stdout + (done.stderr if code else "")).strip()

    return call


RUN = (
    "run", "-d", "--name", "jolly", "--restart", "unless-stopped", "-e", "PRICE=5$", "-e", "ON=yes",
    "-v", "/etc/hostname:/host:ro", "-v", "/kept", "--memory", "64m", "--cap-drop", "ALL",
    "--cap-add", "CAP_CHOWN",
    "--label", "tier=front", "busybox", "sleep", "1000",
)  # fmt: skip


def pid_of(story: Story, name: str) -> int:
    (item,) = (o for o in story.status()["objects"] if o.get("name") == name or o["key"].endswith(f"/{name}"))
    return int(item["containers"][0]["pid"])


def test_it_is_printed_as_it_was_asked_for(story: Story, docker: Docker) -> None:
    docker(*RUN)
    text = story.setpoint("adopt", "jolly")
    assert text == (
        "services:\n"
        "  jolly:\n"
        "    image: busybox\n"
        "    container_name: jolly\n"
        '    command: ["sleep", "1000"]\n'
        "    environment:\n"
        "      PRICE: 5$$\n"
        '      "ON": "yes"\n'
        "    network_mode: bridge\n"
        "    volumes:\n"
        "      - jolly-kept:/kept\n"
        "      - /etc/hostname:/host:ro\n"
        "    restart: unless-stopped\n"
        "    mem_limit: 64m\n"
        "    pids_limit: -1\n"
        "    cap_add: [CHOWN]\n"
        "    cap_drop: [ALL]\n"
        "    labels:\n"
        "      tier: front\n"
        "\n"
        "volumes:\n"
        "  jolly-kept:\n" + text[text.index("    name: ") :]
    )
    assert "the anonymous volume at /kept is called jolly-kept" in story.said
    assert "jolly" in story.setpoint("status").partition("unmanaged: ")[2]


def test_a_commit_takes_it_over_and_it_runs_on(story: Story, docker: Docker) -> None:
    id = docker(*RUN)
    docker("exec", "jolly", "sh", "-c", "echo here > /kept/data")
    pid = pid_of(story, "jolly")
    file = story.tree / "shop/jolly.compose.yaml"
    story.setpoint("adopt", "jolly", "--to", file)
    assert pid_of(story, "jolly") == pid
    assert story.git("status", "--porcelain") == "?? shop/"
    story.commit({}, "Adopt")
    story.setpoint("sync", "--wait")
    found = eventually(lambda: story.object("shop/container/jolly"), "the manifest's object")
    eventually(
        lambda: not any(o["unmanaged"] and "container" in o["key"] for o in story.status()["objects"]), ""
    )
    assert story.pid("shop/container/jolly") == pid
    assert found is not None and found["file"] == "shop/jolly.compose.yaml"
    assert story.setpoint("plan").strip() == "nothing to do"
    assert docker("inspect", "-f", "{{.Id}} {{.State.Running}}", "jolly") == f"{id} true"
    refused = docker("rm", "-f", "jolly", code=1)
    assert "shop/jolly.compose.yaml" in refused
    text = file.read_text().replace("tier: front", "tier: back")
    story.apply({"shop/jolly.compose.yaml": text}, "Another tier")
    assert story.pid("shop/container/jolly") != pid
    assert docker("exec", "jolly", "cat", "/kept/data") == "here"
    story.apply({"shop/jolly.compose.yaml": None}, "Gone")
    assert docker("ps", "-aq") == ""


def test_all_at_once_with_a_commit(story: Story, docker: Docker) -> None:
    docker(*RUN)
    docker("create", "--name", "other", "busybox", "true")
    pid = pid_of(story, "jolly")
    story.git("config", "user.name", "Ann")
    story.git("config", "user.email", "ann@example.org")
    said = story.setpoint("adopt", "--all", "--to", story.tree, "--commit")
    assert said.count("owns it now") == 2
    assert story.pid("adopted/container/jolly") == pid
    other = story.object("adopted/container/other")
    assert other is not None and other["phase"] == "Stopped"
    assert story.git("log", "-1", "--format=%s").startswith("Adopt adopted/container/")
    assert story.git("status", "--porcelain") == ""
    assert "unmanaged: " not in story.setpoint("status")


def test_what_would_change_is_not_adopted(story: Story, docker: Docker) -> None:
    docker(*RUN)
    taken = "services: {jolly: {image: busybox, command: sleep 1000}}"
    story.apply({"shop/compose.yaml": taken}, "The name is taken")
    file = story.tree / "shop/jolly.compose.yaml"
    story.setpoint("adopt", "jolly", "--to", file)  # called otherwise: the service's name is taken
    assert "  jolly:" not in file.read_text().partition("volumes:")[0]
    file.unlink()
    story.setpoint("adopt", "shop/jolly", code=1)
    assert "shop/compose.yaml:1 owns it already" in story.said
    story.setpoint("adopt", "jolly", "--to", "/tmp/elsewhere.compose.yaml", code=1)
    assert "which is watched" in story.said


def test_the_agent_dies_between_the_wish_and_the_commit(story: Story, docker: Docker) -> None:
    docker(*RUN)
    pid = pid_of(story, "jolly")
    story.setpoint("adopt", "jolly", "--to", story.tree / "shop/jolly.compose.yaml")
    story.kill(story.agent_pid())
    story.commit({}, "Adopt")
    story.start_agent()
    eventually(lambda: story.object("shop/container/jolly"), "the manifest's object")
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert story.pid("shop/container/jolly") == pid
    assert docker("ps", "-q", "--no-trunc").count("\n") == 0


def test_networks_and_those_who_share_them(story: Story, docker: Docker) -> None:
    six = ("--ipv6", "--subnet", "fd00:213:7::/64")
    docker("network", "create", "--subnet", "10.213.7.0/24", *six, "lab")
    docker("volume", "create", "kept")
    docker(
        "run", "-d", "--name", "jolly", "--network", "lab", "--ip", "10.213.7.9", "--network-alias", "j",
        "--ip6", "fd00:213:7::9",
        "-v", "kept:/kept", "-p", "127.0.0.1::80", "busybox", "sleep", "1000",
    )  # fmt: skip
    docker("run", "-d", "--name", "beside", "--network", "container:jolly", "busybox", "sleep", "1000")
    pids = pid_of(story, "jolly"), pid_of(story, "beside")
    story.git("config", "user.name", "Ann")
    story.git("config", "user.email", "ann@example.org")
    story.setpoint("adopt", "jolly", "--to", story.tree / "shop/jolly.compose.yaml", "--commit")
    story.setpoint("adopt", "beside", "--to", story.tree / "shop/beside.compose.yaml", "--commit")
    assert (story.pid("shop/container/jolly"), story.pid("shop/container/beside")) == pids
    assert story.address("shop/container/jolly") == "10.213.7.9"
    assert story.setpoint("plan").strip() == "nothing to do"
    assert docker("exec", "beside", "cat", "/proc/net/fib_trie").count("10.213.7.9") > 0
    assert "fd00:213:7::9/64" in docker("exec", "beside", "ip", "-6", "address")
    text = (story.tree / "shop/jolly.compose.yaml").read_text()
    story.apply({"shop/jolly.compose.yaml": text + "  # another\n".replace("  #", "#")}, "A comment")
    assert story.pid("shop/container/jolly") == pids[0]
    story.apply({"shop/jolly.compose.yaml": text.replace("sleep", "/bin/sleep", 1)}, "Another version")
    assert story.pid("shop/container/jolly") != pids[0]
    assert story.address("shop/container/jolly") == "10.213.7.9"
