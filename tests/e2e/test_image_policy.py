"""A policy for images: what is not signed is not started and the reason names the rule and its line; what
runs goes on when the rules become stricter, and is not started again until they allow it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.story import Story, eventually
from tests.registry import PROGRAM, Registry, started
from tests.signing import Signer, public, simple

KEY = ec.generate_private_key(ec.SECP256R1())
WEB = "shop/container/web"
SERVICE = """\
services:
  {name}:
    image: {image}
    command: [sleep, "1004"]
    stop_signal: SIGKILL
    restart: always
"""
HEAD = "apiVersion: setpoint/v1\nkind: Policy\nallow: {images: ['*']}\nimages:\n"


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(HEAD.replace("images:\n", ""))
    return path


@pytest.fixture
def story(quiet_story: Story, registry: Registry, policy: Path, tmp_path: Path) -> Story:
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    quiet_story.start_agent("--registries", str(settings), "--policy", str(policy))
    return quiet_story


def rule(registry: Registry, *lines: str) -> str:
    text = "\n".join(f"    {line}" for line in (f"match: ['{registry.host}/*']", *lines))
    return f"{HEAD}  lab:\n{text}\n"


def signed_rule(registry: Registry) -> str:
    return rule(registry, "signed_by:", "  - |", *("    " + line for line in public(KEY).splitlines()))


def _is_another(story: Story, pid: int) -> bool:
    found = story.object(WEB)
    return bool(found and found["phase"] == "Running" and found["containers"][0]["pid"] not in (None, pid))


def message(story: Story, key: str) -> str:
    found = story.object(key)
    return str(found["message"]) if found else ""


def test_what_is_not_signed_is_not_started(story: Story, registry: Registry, policy: Path) -> None:
    policy.write_text(signed_rule(registry))
    name = f"{registry.host}/lab/busybox:1"
    story.commit({"shop/compose.yaml": SERVICE.format(name="web", image=name)})
    said = f"is not allowed by {policy}:5 (rule images.lab): no signature of it is known here"
    eventually(lambda: said in message(story, WEB), "the reason is on the object")
    assert said in story.setpoint("why", WEB)
    story.setpoint("image", "pull", name, code=1)
    assert said in story.said
    assert name not in story.setpoint("image", "ls")

    signer = Signer(registry.host, "lab/busybox")
    signer.put_tag(signer.digest("1"), simple(KEY, signer.digest("1")))
    assert story.setpoint("image", "pull", name) == f"pulled {name}\n"
    eventually(lambda: story.status()["ready"], "it runs, once its signature is known")
    story.pid(WEB)


def test_what_runs_goes_on_and_is_not_started_again(story: Story, registry: Registry, policy: Path) -> None:
    name = f"{registry.host}/lab/busybox:1"
    story.apply({"shop/compose.yaml": SERVICE.format(name="web", image=name)})
    before = story.pid(WEB)
    policy.write_text(signed_rule(registry))
    eventually(lambda: f"{policy}:5 (rule images.lab)" in message(story, WEB), "the rule is on the object")
    assert "it runs already and goes on" in message(story, WEB)
    assert story.pid(WEB) == before

    story.kill(before)
    eventually(lambda: (story.object(WEB) or {}).get("phase") == "Stalled", "it is not started again")
    assert f"{policy}:5 (rule images.lab)" in message(story, WEB)
    assert "goes on" not in message(story, WEB)

    signer = Signer(registry.host, "lab/busybox")
    signer.put_tag(signer.digest("1"), simple(KEY, signer.digest("1")))
    story.setpoint("image", "pull", name)  # of what is here nothing is fetched but that
    eventually(lambda: (story.object(WEB) or {}).get("phase") == "Running", "its signature lets it run")
    after = story.pid(WEB)
    assert after != before
    os.kill(registry.pid, signal.SIGKILL)  # what was seen once, is known without it
    story.kill(after)
    eventually(lambda: _is_another(story, after), "it is started again without its registry")
    after = story.pid(WEB)

    policy.write_text(rule(registry, "architectures: [riscv64]"))
    eventually(lambda: "it is for " in message(story, WEB), "the next rule is on the object")
    policy.write_text(rule(registry, "architectures: [amd64, arm64]"))
    eventually(lambda: message(story, WEB) == "", "and another lets it be")
    assert story.pid(WEB) == after


def test_signatures_of_what_is_here_come_by_themselves(
    story: Story, registry: Registry, policy: Path
) -> None:
    """A rule that is younger than the image: its registry is asked by its digest, and no layer is fetched."""
    name = f"{registry.host}/lab/busybox:1"
    story.apply({"shop/compose.yaml": SERVICE.format(name="web", image=name)})
    before = story.pid(WEB)
    signer = Signer(registry.host, "lab/busybox")
    signer.put_tag(signer.digest("1"), simple(KEY, signer.digest("1")))
    policy.write_text(signed_rule(registry))
    eventually(lambda: "signatures of" in story.setpoint("events", WEB), "the signature came")
    eventually(lambda: message(story, WEB) == "", "and it is allowed")
    assert story.pid(WEB) == before
    assert "pulled" not in story.setpoint("events", WEB).partition("SignaturesAsked")[2]
    story.kill(before)
    eventually(lambda: _is_another(story, before), "so it is started again")


def test_a_registry_that_is_away_stops_nothing(story: Story, registry: Registry, policy: Path) -> None:
    name = f"{registry.host}/lab/busybox:1"
    story.apply({"shop/compose.yaml": SERVICE.format(name="web", image=name)})
    before = story.pid(WEB)
    signer = Signer(registry.host, "lab/busybox")
    signer.put_tag(signer.digest("1"), simple(KEY, signer.digest("1")))
    os.kill(registry.pid, signal.SIGKILL)
    policy.write_text(signed_rule(registry))
    said = "its registry could not be asked: ask for signatures of"
    eventually(lambda: said in message(story, WEB), "the object says so")
    assert "it runs already and goes on" in message(story, WEB) and story.pid(WEB) == before
    assert said in story.setpoint("why", WEB)
    with served_again(registry):
        eventually(lambda: message(story, WEB) == "", "it is asked again, and then it is well")
    assert story.pid(WEB) == before


@contextlib.contextmanager
def served_again(registry: Registry) -> Iterator[None]:
    """After it was killed, at its old address."""
    process = subprocess.Popen(
        [str(PROGRAM), "serve", registry.folder / "config.yml"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_manifest_is_told_at_its_line(story: Story, registry: Registry, policy: Path) -> None:
    policy.write_text(rule(registry, "deny: true"))
    story.commit({"shop/compose.yaml": SERVICE.format(name="web", image=f"{registry.host}/lab/busybox:1")})
    image = f"{registry.host}/lab/busybox:1"
    said = f'shop/compose.yaml:3:5: service "web": image {image} is not allowed by {policy}:5'
    eventually(lambda: said in story.setpoint("status", code=None), "the error has its place")
    assert f"{policy}:5 (rule images.lab): its registry is denied" in story.setpoint("status", code=None)
