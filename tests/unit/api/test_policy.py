"""An agent with a policy: what it refuses stays as it was, and is said; what it does not goes on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import Invalid

from .agents import Agent, ApiEngine, Place
from .conftest import COMPOSE
from .test_native import until
from .test_sources import git

POLICY = "apiVersion: setpoint/v1\nkind: Policy\n"
PRIVILEGED = COMPOSE.replace("  db:\n", "  db:\n    privileged: true\n")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a policy is root's")


@pytest.fixture
def policy(place: Place) -> Path:
    path = place.top / "policy.yaml"
    path.write_text(POLICY)
    return path


def start(place: Place, policy: Path | None, engine: ApiEngine | None = None) -> Agent:
    return Agent(replace(place.settings, policy=policy), engine or ApiEngine()).start()


def test_what_is_refused_stays_as_it_was_and_is_said(place: Place, policy: Path) -> None:
    place.write("shop/compose.yaml", COMPOSE)
    place.write("other/compose.yaml", COMPOSE)
    agent = start(place, policy)
    try:
        client, engine = agent.client, agent.engine
        assert client.wait(timeout_seconds=20)["met"]
        before = engine.running()
        place.write("shop/compose.yaml", PRIVILEGED.replace("scale: 2", "scale: 3"))
        place.write("other/compose.yaml", COMPOSE.replace("scale: 2", "scale: 1"))
        answer = client.sync(wait=False)
        until(lambda: client.status()["source"]["errors"])
        error = client.status()["source"]["errors"][0]
        assert (error["file"], error["line"], error["column"]) == ("shop/compose.yaml", 8, 5), answer
        assert f'service "db": privileged is not allowed by {policy} (rule privileged)' in error["message"]
        until(lambda: len(engine.running()) == 5)  # the other project goes on
        shop = {one for one in before if "shop" in str(one)}
        assert shop <= set(engine.running())
        found = {one["key"]: one for one in client.status()["objects"]}["shop/container/db"]
        assert found["phase"] == "Running" and "is refused" in found["message"], found
        assert "rule privileged" in client.why("shop/db")["result"]["message"]
        until(lambda: client.status()["ready"] is False)
        files = {"shop/compose.yaml": __import__("base64").b64encode(PRIVILEGED.encode()).decode()}
        assert "rule privileged" in client.plan(files)["errors"][0]["message"]
        policy.write_text(POLICY + "allow: {privileged: true}\n")
        until(lambda: not client.status()["source"]["errors"])
        until(lambda: len(engine.running()) == 6)
    finally:
        agent.stop()


def test_a_policy_that_cannot_be_read_applies_nothing_and_stops_nothing(place: Place, policy: Path) -> None:
    place.write("shop/compose.yaml", COMPOSE)
    agent = start(place, policy)
    try:
        client, engine = agent.client, agent.engine
        assert client.wait(timeout_seconds=20)["met"]
        before = set(engine.running())
        policy.write_text("kind: [")
        until(lambda: client.status()["source"]["errors"])
        (place.manifests / "shop/compose.yaml").unlink()
        place.write("new/compose.yaml", COMPOSE)
        client.sync(wait=False)
        until(lambda: client.status()["source"]["errors"])
        assert f"policy: {policy}:" in client.status()["source"]["errors"][0]["message"]
        assert set(engine.running()) == before
        policy.write_text(POLICY)
        until(lambda: not client.status()["source"]["errors"])
        until(lambda: set(engine.running()) and not set(engine.running()) & before)
    finally:
        agent.stop()


@pytest.mark.parametrize("kind", ["work tree", "remote"])
def test_without_a_policy_a_remote_repository_is_not_root(place: Place, kind: str) -> None:
    place.write("shop/compose.yaml", PRIVILEGED)
    git(place.manifests, "init", "-q", "-b", "main")
    git(place.manifests, "add", ".")
    git(place.manifests, "commit", "-q", "-m", "All of it")
    settings = place.settings
    if kind == "remote":
        settings = replace(settings, watch=None, git_url=f"file://{place.manifests}", git_poll_seconds=3600.0)
    agent = Agent(settings, ApiEngine()).start()
    try:
        client = agent.client
        until(lambda: client.status()["source"]["revision"])
        errors = client.status()["source"]["errors"]
        if kind == "remote":
            assert "is not allowed by the policy for remote repositories" in errors[0]["message"]
            assert not agent.engine.running()
        else:
            assert errors == []
            assert client.wait(timeout_seconds=20)["met"]
    finally:
        agent.stop()


def test_an_image_by_hand_goes_through_the_same_gate(place: Place, policy: Path, tmp_path: Path) -> None:
    policy.write_text(policy.read_text() + "allow: {images: [lab.example/*]}\n")
    archive = tmp_path / "rootfs.tar"
    archive.write_bytes(b"x" * 1024)
    agent = start(place, policy)
    try:
        for lines in (
            agent.client.pull_image("evil.example/app:1"),
            agent.client.import_image(archive, "evil.example/app:1"),
        ):
            with pytest.raises(Invalid, match=r"evil\.example/app:1 is not allowed by .*rule images"):
                list(lines)
    finally:
        agent.stop()
