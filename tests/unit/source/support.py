"""Real repositories and the next revision of a source, for the tests of sources."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from agent.manifest.objects import Revision

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(directory: Path, *arguments: str, **environment: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    result = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | IDENTITY | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def make_repository(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "-q", "-b", "main")
    return directory


def commit(directory: Path, message: str = "change", **files: str) -> str:
    """Write files (their names with `__` for a slash), commit everything, give the commit's id."""
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


async def following(revisions: AsyncIterator[Revision], seconds: float = 10.0) -> Revision:
    """The next revision, which must come within seconds."""
    return await asyncio.wait_for(anext(revisions), seconds)


async def abandon(waiting: asyncio.Future[Revision]) -> None:
    """End a wait for a revision that must not come."""
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def until(condition, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    """Wait until condition() is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
