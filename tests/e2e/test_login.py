"""`setpoint login`, and what the agent pulls with it. The password is in no argument, log, event or row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story
from tests.registry import Registry, started

SECRET = "s3cret-canary"


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry", tls=True, login=("me", SECRET)) as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


@pytest.fixture
def settings(tmp_path: Path, registry: Registry) -> Path:
    path = tmp_path / "registries.yaml"
    path.write_text(registry.settings())
    return path


def test_a_login_counts_from_the_next_pull_on(
    quiet_story: Story, registry: Registry, settings: Path, tmp_path: Path
) -> None:
    story, name = quiet_story, f"{registry.host}/lab/busybox:1"
    story.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    story.start_agent("--registries", str(settings))
    story.setpoint("image", "pull", name, code=1)
    assert "does not let us in" in story.said and f"setpoint login {registry.host}" in story.said

    words = ("login", registry.host, "-u", "me", "--password-stdin", "--registries", settings)
    story.setpoint(*words, stdin="not-it-at-all\n", code=1)
    assert "the name or the password is wrong" in story.said
    assert not (tmp_path / "docker/config.json").exists()
    assert story.setpoint(*words, stdin=f"{SECRET}\n") == f"logged in to {registry.host}\n"
    assert "keeps the password as it is" in story.said
    assert (tmp_path / "docker/config.json").stat().st_mode & 0o777 == 0o600
    assert story.setpoint("image", "pull", name) == f"pulled {name}\n"

    assert story.setpoint("logout", registry.host) == f"logged out of {registry.host}\n"
    story.setpoint("logout", registry.host, code=1)
    story.setpoint("image", "pull", f"{registry.host}/lab/other:1", code=1)
    assert "does not let us in" in story.said
    assert _files_with(story.layout.data, SECRET.encode()) == []


def test_what_login_needs(quiet_story: Story, registry: Registry, settings: Path) -> None:
    story = quiet_story
    for words, stdin, said in (
        (("login", registry.host), "", "no user's name"),
        (("login", registry.host, "-u", "me"), "", "no password, and no terminal"),
        (("login", registry.host, "-u", "me", "--password-stdin"), "", "nothing came on standard input"),
        (("login", "https://a/b", "-u", "me", "--password-stdin"), "x", "not a host"),
        (("login", "127.0.0.1:1", "-u", "me", "--password-stdin"), "x", "connection refused"),
        (("login", registry.host, "-u", "me", "--password-stdin"), "x", "certificate is not trusted"),
    ):
        story.setpoint(*words, stdin=stdin, code=1)
        assert said in story.said


def _files_with(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]
