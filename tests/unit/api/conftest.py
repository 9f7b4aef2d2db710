"""`agent`: a whole agent with one project of two containers, all Ready."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.client import Client

from .agents import Agent, ApiEngine, Place

COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [httpd, -f]
    scale: 2
    depends_on: [db]
  db:
    image: busybox:latest
    volumes: [data:/data]
volumes:
  data: {}
"""


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.remove()


@pytest.fixture
def agent(place: Place) -> Iterator[Agent]:
    place.write("shop/compose.yaml", COMPOSE)
    started = Agent(place.settings, ApiEngine()).start()
    try:
        assert started.client.wait(timeout_seconds=20)["met"]
        yield started
    finally:
        started.stop()


@pytest.fixture
def client(agent: Agent) -> Client:
    return agent.client
