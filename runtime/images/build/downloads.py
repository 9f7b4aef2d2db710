"""What ADD takes from elsewhere: files by http and https, and repositories, which the agent's git fetches.

No other scheme, no address of this machine or of its link (unless the build has the host's network), and no
redirect from the world into a private network: a Dockerfile must not read what only this machine can.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from runtime.errors import Unsupported
from runtime.images.build import archives
from runtime.images.build.asks import Asks
from runtime.images.build.transfer import Download
from runtime.images.dockerfile.steps import GitSource, TransferAction, UrlSource


class Downloads:
    """directory: the build's own."""

    def __init__(self, directory: Path, asks: Asks, *, reaches_host: bool) -> None:
        self._directory = directory
        self._asks = asks
        self._reaches_host = reaches_host
        self._numbers = itertools.count(1)

    def fetch(self, action: TransferAction) -> list[Download]:
        """In the order of the sources; [] for an action that takes nothing from elsewhere."""
        found = []
        for source in action.sources:
            if isinstance(source, UrlSource):
                found.append(self._file(source, action.checksum))
            elif isinstance(source, GitSource):
                found.append(self._repository(source, action))
        return found

    def _file(self, source: UrlSource, checksum: str) -> Download:
        from runtime.images.build.http import fetch_file  # late: few builds need it

        place = self._directory / f"download-{next(self._numbers)}"
        return fetch_file(source.url, source.name, place, checksum, reaches_host=self._reaches_host)

    def _repository(self, source: GitSource, action: TransferAction) -> Download:
        """Its files alone: what `--keep-git-dir` would keep is not fetched."""
        if action.keeps_git_dir:
            raise Unsupported(
                "fetch", source.url, "--keep-git-dir: its history is not fetched", "leave it out"
            )
        got = self._asks.ask(
            "git", url=source.url, ref=source.ref, subdir=source.subdir, commit=action.checksum,
            reaches_host=self._reaches_host,
        )  # fmt: skip
        place = self._directory / f"repository-{next(self._numbers)}"
        return Download(archives.unpack(Path(got["path"]), place), "", str(got["tree"]), None)
