"""The agent follows what it is told to follow: a work tree's commits, a remote repository, or nothing."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import Invalid

from .agents import Agent, ApiEngine, Place
from .conftest import COMPOSE
from .test_native import until


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(
        ["git", "-C", str(directory), *identity, *words], check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


@pytest.fixture
def repository(place: Place) -> Path:
    place.write("shop/compose.yaml", COMPOSE)
    git(place.manifests, "init", "-q", "-b", "main")
    git(place.manifests, "add", ".")
    git(place.manifests, "commit", "-q", "-m", "Sell things")
    return place.manifests


@pytest.mark.parametrize("kind", ["work tree", "remote"])
def test_commits_are_followed_and_what_is_only_saved_is_not(
    place: Place, repository: Path, kind: str
) -> None:
    settings = place.settings
    if kind == "remote":
        settings = replace(settings, watch=None, git_url=f"file://{repository}", git_poll_seconds=3600.0)
    agent = Agent(settings, ApiEngine()).start()
    try:
        client = agent.client
        assert client.wait(timeout_seconds=20)["met"], client.status()
        status = client.status()
        assert status["revision"] == git(repository, "rev-parse", "HEAD")
        assert status["source"]["subject"] == "Sell things"
        place.write("shop/compose.yaml", COMPOSE.replace("scale: 2", "scale: 3"))
        assert client.sync(wait=True, timeout_seconds=20)["revision"] == status["revision"]
        assert len(agent.engine.running()) == 3
        git(repository, "commit", "-q", "-a", "-m", "Sell more")
        answer = client.sync(wait=True, timeout_seconds=20)
        assert (answer["ready"], answer["revision"]) == (True, git(repository, "rev-parse", "HEAD"))
        assert len(agent.engine.running()) == 4
    finally:
        agent.stop()


def test_a_remote_that_is_not_there_is_said_and_the_last_state_kept(place: Place, repository: Path) -> None:
    settings = replace(place.settings, watch=None, git_url=f"file://{repository}", git_poll_seconds=3600.0)
    engine = ApiEngine()
    first = Agent(settings, engine).start()
    assert first.client.wait(timeout_seconds=20)["met"]
    first.stop()
    repository.rename(place.top / "gone")
    second = Agent(settings, engine).start()
    try:
        client = second.client
        until(lambda: client.status()["source"]["error"])
        assert client.status()["ready"] is False
        assert len(engine.running()) == 3
    finally:
        second.stop()


def test_a_repository_that_can_never_be_is_refused_at_the_start(place: Place) -> None:
    settings = replace(place.settings, watch=None, git_url="ext::sh -c evil")
    with pytest.raises(Invalid):
        Agent(settings, ApiEngine()).start()


def test_without_a_source_it_only_serves(place: Place) -> None:
    agent = Agent(replace(place.settings, watch=None), ApiEngine()).start()
    try:
        status = agent.client.status()
        assert (status["ready"], status["objects"], status["source"]["kind"]) == (True, [], "")
        assert agent.client.sync()["ready"] is True
    finally:
        agent.stop()
