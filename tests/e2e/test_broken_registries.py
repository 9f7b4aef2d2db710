"""One commit whose images come from registries in every kind of trouble: each object says its own one reason,
what runs goes on, and what is here starts without any registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bad_registry import Answer, BadImage, BadRegistry, Handler, document, started
from tests.e2e.story import Story, eventually

OTHER = "sha256:" + "0" * 64


def halfway(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 1000)


def at(part: str, *answers: Answer) -> Callable[[BadRegistry, BadImage], None]:
    return lambda registry, image: registry.answer(getattr(image, f"{part}_path"), *answers)


def type_of(media_type: str) -> Callable[[BadRegistry, BadImage], None]:
    return lambda registry, image: registry.answer(image.manifest_path, document(image.manifest, media_type))


def another_layer(registry: BadRegistry, image: BadImage) -> None:
    """As long as it is to be, and another one."""
    registry.answer(image.layer_path, Answer(body=image.layer[:-1] + b"\1"))


TROUBLE: dict[str, tuple[Callable[[BadRegistry, BadImage], None], str]] = {
    "busy": (at("manifest", Answer(429, {"Retry-After": "3600"})), "it is asked too often"),
    "ill": (at("manifest", Answer(500, body=b'{"errors": [{"message": "disk"}]}')), "it answers 500"),
    "gone": (at("manifest", Answer(404)), "there is no manifest '1'"),
    "closed": (at("manifest", Answer(403)), "the registry does not let us in"),
    "liar": (at("manifest", Answer(200, {"Docker-Content-Digest": OTHER, "Content-Type": "x"}, b"{}")),
             "has the digest"),
    "typed": (type_of("text/html"), "is said to be 'text/html'"),
    "short": (at("layer", Answer(body=b"a part")), "it ends in the middle of a layer"),
    "swapped": (another_layer, "its content has the digest"),
    "away": (at("layer", Answer(302, {"Location": "http://169.254.169.254/latest"})), "by http"),
    "nowhere": (at("layer", Answer(302, {"Location": ""})), "it sends us on to nowhere"),
    "broken": (at("layer", Answer(raw=halfway)), "the connection broke"),
}  # fmt: skip
SERVICE = "  {name}:\n    image: {image}\n    command: [sleep, '1005']\n    stop_signal: SIGKILL\n"


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with started() as registry:
        yield registry


@pytest.fixture
def settings(tmp_path: Path, registry: BadRegistry) -> Path:
    path = tmp_path / "registries.yaml"
    head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
    nobody = '  "127.0.0.1:1": {insecure: true}\n'
    path.write_text(f'{head}  "{registry.host}": {{insecure: true}}\n{nobody}')
    return path


def messages(story: Story) -> dict[str, str]:
    return {each["key"].rpartition("/")[2]: str(each["message"]) for each in story.status()["objects"]}


@pytest.mark.slow
def test_each_says_its_own_reason_and_what_runs_goes_on(
    quiet_story: Story, busybox_archive: Path, registry: BadRegistry, settings: Path
) -> None:
    story = quiet_story
    story.start_agent("--registries", str(settings))
    story.setpoint("image", "load", busybox_archive)
    good = "services:\n" + SERVICE.format(name="good", image="busybox:latest")
    story.apply({"shop/compose.yaml": good})
    before = story.pid("shop/container/good")
    text, expected = good, {"alone": "connection refused"}
    for name, (trouble, reason) in TROUBLE.items():
        image = registry.put_image(f"lab/{name}", content=name.encode())
        trouble(registry, image)
        text += SERVICE.format(name=name, image=image.name)
        expected[name] = reason
    text += SERVICE.format(name="alone", image="127.0.0.1:1/lab/app:1")
    text += SERVICE.format(name="here", image="busybox:latest")
    story.commit({"shop/compose.yaml": text})

    def untold() -> dict[str, str]:
        found = messages(story)
        return {n: found.get(n, "") for n, said in expected.items() if said not in found.get(n, "")}

    deadline = time.monotonic() + 90
    while (wrong := untold()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert wrong == {}
    for name, said in messages(story).items():
        assert said.isprintable() and len(said) < 500, name
    assert story.pid("shop/container/good") == before
    eventually(lambda: (story.object("shop/container/here") or {}).get("phase") == "Running", "it is here")
    told = json.loads(story.setpoint("events", "-o", "json", "shop/container/busy"))
    assert any("asked too often" in event["message"] for event in told)
