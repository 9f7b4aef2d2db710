"""Our own API is as its document says: every route, asked what makes sense and what does not."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from agent.client import Client
from tests.api.http_client import Http
from tests.api.native_cases import DOCUMENT, MANIFEST, OPERATIONS, ORDERS, World
from tests.e2e.own_story import own_story
from tests.e2e.story import Story
from tests.registry import started

BASE = "/setpoint/v1"
ENDS = {f"POST {BASE}/stop", f"POST {BASE}/down"}  # they end the agent, which the others need
SLOW = ("check", "load", "pull", "push", "import", "tags", "search", "build", "commit", "diff", "export")
LAST = ("override", "suspend", "prune", "rm")  # what they change, others need
MANIFESTS: dict[str, str | None] = {
    "lab/compose.yaml": """
services:
  web:
    image: busybox
    command: [sh, -c, 'echo hello; exec sleep 1d']
    stop_signal: SIGKILL
    volumes: [data:/data]
volumes: {data: {}}
"""
}


@pytest.fixture(scope="module")
def world(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An agent that nobody else asks: what is asked of it changes it. It has a container of a manifest, one
    of the Docker API, and a registry."""
    folder = tmp_path_factory.mktemp("native")
    with own_story(folder) as story:
        story.commit(MANIFESTS, "Begin")
        with started(folder / "registry") as registry:
            (folder / "registries.yaml").write_text(registry.settings())
            story.start_agent("--registries", str(folder / "registries.yaml"))
            story.setpoint("image", "load", busybox_archive)
            story.setpoint("wait", "--for", "ready", "--timeout", "30s")
            (folder / "image.tar").write_bytes(busybox_archive.read_bytes())
            yield _filled(story, folder, registry.host)
        story.setpoint("resume", "lab/web", code=None)


def _filled(story: Story, folder: Path, registry: str) -> World:
    """What there is to ask for."""
    client = Client(story.layout.agent_socket)
    app = f"{registry}/lab/app:1"
    for name in ("spare:1", "spare:2", app):
        client.post("/image/tag", {"source": "busybox", "reference": name})
    list(client.lines("POST", "/image/push", {"reference": app}))
    lease = client.hold_image("busybox", 600.0)
    list(client.lines("POST", "/image/build", None, ORDERS[0]))
    build = client.get("/image/builds")[0]["id"]
    assert (
        Http(story.layout.agent_socket)(
            "POST", "/containers/create", {"Image": "busybox"}, query={"name": "mine"}
        ).status
        == 201
    )
    (folder / "rootfs.tar").write_bytes(_tar())
    return World(story.layout.agent_socket, folder, registry, {
        "key": ("lab/web", "web", "lab/container/web"),
        "reference": (app, "busybox"),
        "source": ("busybox",),
        "name": ("lab/made:1", "spare", "lab_data"),
        "names": ('["busybox"]', "[]", "[1]"),
        "id": (lease["id"], build),
        "project": ("lab",),
        "word": ("app",),
        "changes": ('["ENV a=b"]', "nothing"),
        "files": (MANIFEST,),
    })  # fmt: skip


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("etc/name")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    return file.getvalue()


def _in_order() -> list[str]:
    """What only looks first, and last what takes away."""
    labels = [label for label in OPERATIONS if label not in ENDS]
    return sorted(labels, key=lambda label: (label.startswith("POST"), any(word in label for word in LAST)))


def _asking(label: str, mode: GenerationMode, world: World, count: int) -> None:
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        is_negative = mode is GenerationMode.NEGATIVE
        world.ask(case if is_negative else world.narrowed(case, data), is_negative=is_negative)

    ask()


@pytest.mark.parametrize("label", _in_order())
def test_every_answer_is_as_the_document_says(world: World, label: str) -> None:
    _asking(label, GenerationMode.POSITIVE, world, 6 if any(word in label for word in SLOW) else 12)


def _can_be_wrong(label: str) -> bool:
    """It takes a word or a field: any path is a key, or none that is there."""
    method, path = label.split()
    said = DOCUMENT["paths"][path][method.lower()]
    is_json = "application/json" in said.get("requestBody", {}).get("content", {})
    return is_json or any(word["in"] == "query" for word in said["parameters"])


@pytest.mark.parametrize("label", [label for label in _in_order() if _can_be_wrong(label)])
def test_what_makes_no_sense_is_refused_as_the_document_says(world: World, label: str) -> None:
    _asking(label, GenerationMode.NEGATIVE, world, 6)


def test_a_number_beyond_its_bounds_is_refused_by_its_name(world: World) -> None:
    beyond = 0
    for path, methods in DOCUMENT["paths"].items():
        for method, said in methods.items():
            words = [word for word in said["parameters"] if word["in"] == "query"]
            for word in words:
                for value in _beyond(word["schema"]):
                    error = world.refusal(method, path, {**_required(words), word["name"]: value})
                    assert error["subject"] == word["name"], (method, path, word["name"], value, error)
                    beyond += 1
    assert beyond > 40


def _beyond(schema: Mapping[str, Any]) -> list[str]:
    if "maximum" not in schema:
        return ["perhaps"] if "enum" in schema else []
    return [str(schema["minimum"] - 1), f"{schema['maximum'] * 1.001:.0f}", "nan", "1_0", ""]


def _required(words: list[dict[str, Any]]) -> dict[str, str]:
    """Words that make sense, for those that must be there."""
    known = {
        "reference": "busybox",
        "name": "mine",
        "names": "[]",
        "what": "start",
        "for": "1",
        "seconds": "1",
    }
    return {word["name"]: known.get(word["name"], "x") for word in words if word["required"]}


def test_a_word_twice_and_a_method_that_is_none(world: World) -> None:
    assert (
        world.refusal("get", f"{BASE}/objects", [("kind", "volume"), ("kind", "network")])["subject"]
        == "kind"
    )
    answer = world.session.request("DELETE", f"http://localhost{BASE}/status")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json()["error"]["kind"] == "Invalid"
    assert world.session.get(f"http://localhost{BASE}/nothing").status_code == 404


def test_every_route_has_answered_as_asked(world: World) -> None:
    """Or what was compared above were refusals alone."""
    if len(world.seen) < len(_in_order()):
        pytest.skip("only some routes were asked")
    never = {label for label, seen in world.seen.items() if not seen & {200, 101}}
    assert never == set()
