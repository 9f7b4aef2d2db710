"""Repositories as contexts and as what ADD takes: their trees, and nothing that a repository could do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.settings import Settings
from agent.source.fetched import Repositories
from runtime.build_recipe import GitWish
from runtime.builds import new_id
from runtime.engine import NativeEngine
from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.build.order import BuildOrder
from runtime.layout import Layout
from tests.kernel.build.building import root_of, write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """main has web/, a link and an executable; v1 is a tag of before."""
    place = write(tmp_path / "repository", {"web/Dockerfile": "FROM scratch\nCOPY . /\n", "web/run": "one"})
    _git(place, "init", "-q", "-b", "main", ".")
    _commit(place)
    _git(place, "tag", "v1")
    write(place, {"web/run": "two"})
    (place / "web/run").chmod(0o755)
    (place / "web/link").symlink_to("run")
    (place / "out").symlink_to("/etc")
    _commit(place)
    return place


def _git(place: Path, *words: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *options, *words], cwd=place, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _commit(place: Path) -> None:
    _git(place, "add", "-A")
    _git(place, "commit", "-qm", "change")


@pytest.fixture
async def engine(instance: Layout) -> AsyncIterator[NativeEngine]:
    from runtime.cleanup import remove_instance

    engine = NativeEngine(instance, fetch_git=Repositories(Settings(layout=instance)).opened)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()
        remove_instance(instance, with_data=True)


@pytest.mark.parametrize(
    ("fragment", "content"), [("#main:web", "two"), ("#v1:web", "one"), ("#:web", "two")]
)
async def test_a_repository_is_a_context(
    engine: NativeEngine, repository: Path, tmp_path: Path, fragment: str, content: str
) -> None:
    order = BuildOrder(new_id(), "git", f"file://{repository}{fragment}", is_trusted=True)
    image = await engine.builds.run(order, lambda event: None)
    with root_of(engine, image, tmp_path / "root") as root:
        assert (root / "run").read_text() == content
        if content == "two":
            assert os.readlink(root / "link") == "run" and (root / "run").stat().st_mode & 0o777 == 0o755
    assert not list(engine.layout.builds.glob("git-*"))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"ref": "nowhere"}, "no branch or tag"),
        ({"subdir": "none"}, "no directory"),
        ({"subdir": "out"}, "no directory"),  # CVE-2026-33748: a link in place of a directory
        ({"subdir": "web/link"}, "no directory"),
        ({"commit": "abcdef0"}, "not abcdef0"),
        ({"url": "file:///nowhere"}, "git"),
        ({"url": "--upload-pack=touch"}, "not the URL"),
        ({"url": "ext::sh -c id"}, "not the URL"),
        ({"ref": "--upload-pack=x"}, "not the name"),
    ],
)
def test_d3_what_is_no_tree_is_refused(
    instance: Layout, repository: Path, wish: dict[str, str], reason: str
) -> None:
    instance.data.mkdir(mode=0o700)
    asked = GitWish(**{"url": f"file://{repository}", "ref": "main", **wish}, is_trusted=True)  # type: ignore[arg-type]
    opened = Repositories(Settings(layout=instance)).opened(asked)
    with pytest.raises((Invalid, NotFound, Temporary), match=reason):
        opened.__enter__()
    assert not list(instance.builds.glob("git-*"))
    subprocess.run(["rm", "-r", instance.data], check=True)


@pytest.mark.parametrize(
    "url", ["file:///srv/x.git", "/srv/x.git", "ssh://git@host/x.git", "git@host:x.git", "https://127.0.0.1/x.git",
            "https://localhost/x.git", "https://169.254.169.254/x.git", "https://[::1]/x.git"],
)  # fmt: skip
def test_d3_a_dockerfile_names_no_repository_of_this_machine(instance: Layout, url: str) -> None:
    with pytest.raises(SetpointError), Repositories(Settings(layout=instance)).opened(GitWish(url)):
        pass
    assert not instance.data.exists()
