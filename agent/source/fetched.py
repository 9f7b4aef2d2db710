"""Trees of repositories elsewhere, for builds: the context of one, or what ADD takes.

    ls-remote ─ fetch, one commit deep ─> a bare repository of its own ─ its objects ─> a tar, no checkout

git runs confined, as for the agent's source; no link, filter, hook or submodule of the repository ever acts.
A directory in it is found by its trees alone: a link leads nowhere. Blocking: called in threads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from agent.settings import Settings
from agent.source import remote
from agent.source.contexts import add_tree
from agent.source.git_program import ObjectReader, redact, run
from agent.source.git_tree import MAX_TREE_BYTES, TREE, CommitReader, parse_tree
from agent.source.sandbox import Sandbox, programs, reach_to_fetch
from agent.source.source import Unreadable
from runtime.build_recipe import GitWish
from runtime.errors import Invalid, NotFound, Temporary
from runtime.landlock import Reach

PREFIX = "git-"
_HEAD = "refs/setpoint/head"
_OP = "fetch repository"


class Repositories:
    """Fetches for one agent, each time anew: nothing is kept."""

    def __init__(self, settings: Settings) -> None:
        self._layout = settings.layout

    @contextlib.contextmanager
    def opened(self, wish: GitWish) -> Iterator[tuple[str, str]]:
        """(the tar's file, the tree's id). `Invalid`, `NotFound`, `Temporary`."""
        _check(wish)
        self._layout.builds.mkdir(mode=0o700, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._layout.builds))
        descriptor = os.open(self._layout.builds, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                tree = self._fetched(wish, place, file)
            yield f"/proc/{os.getpid()}/fd/{descriptor}", tree
        finally:
            os.close(descriptor)
            shutil.rmtree(place, ignore_errors=True)

    def _fetched(self, wish: GitWish, place: Path, file: object) -> str:
        sandbox = Sandbox(self._layout.git_cgroup)
        objects = ObjectReader(place, sandbox, Reach((*programs(), str(place)), ("/dev/null",)))
        try:
            _fetch(wish, place, sandbox)
            commit = CommitReader(objects).commit(_HEAD)
            if commit is None:
                raise NotFound(_OP, redact(wish.url), f"{wish.ref or 'HEAD'} is no commit", "")
            if not commit.id.startswith(wish.commit):
                reason = f"{wish.ref or 'its default branch'} is {commit.id}, not {wish.commit}"
                raise Invalid(_OP, redact(wish.url), reason, "was it moved?")
            tree = _descend(objects, commit.tree, wish)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                add_tree(tar, objects, tree, "", 0)
            return tree
        except Unreadable as error:
            raise Temporary(_OP, redact(wish.url), str(error), "", 30) from error
        finally:
            objects.close()
            sandbox.close()


def _check(wish: GitWish) -> None:
    remote.check_url(wish.url)
    if wish.ref:
        remote.check_ref(wish.ref)
    parts = urlsplit(wish.url)
    is_local = wish.url.startswith("/") or parts.scheme == "file"
    if not wish.is_trusted and parts.scheme != "https":
        raise Invalid(_OP, redact(wish.url), "only https is fetched from here", "clone it, and COPY it")
    if not is_local:
        host = parts.hostname or wish.url.partition("@")[2].partition(":")[0] or wish.url.partition(":")[0]
        from runtime.images.build.http import check_host  # late: few builds fetch, and it brings TLS

        check_host(redact(wish.url), host, reaches_host=wish.reaches_host or wish.is_trusted)


def _fetch(wish: GitWish, place: Path, sandbox: Sandbox) -> None:
    is_local = wish.url.startswith(("/", "file:"))
    reach = reach_to_fetch(place, None)
    if is_local:  # it may have its objects anywhere
        reach = Reach(("/",), reach.write)

    protocols = remote.PROTOCOLS if wish.is_trusted else "https"

    def git(command: str, *arguments: str, seconds: float = remote.LIST_SECONDS) -> str:
        return run(
            [command, *arguments], directory=place, protocols=protocols,
            timeout_seconds=seconds, file_limit_bytes=remote.MAX_PACK_BYTES, options=("--git-dir=.",),
            sandbox=sandbox, reach=reach,
        )  # fmt: skip

    run(
        ["init", "--quiet", "--bare", "--template=", "."], directory=place, sandbox=sandbox,
        reach=reach_to_fetch(place, None),
    )  # fmt: skip
    name = _name(wish, git("ls-remote", "--quiet", "--end-of-options", wish.url))
    git(
        "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
        "--no-auto-maintenance", "--depth=1", "--end-of-options", wish.url, f"+{name}:{_HEAD}",
        seconds=remote.FETCH_SECONDS,
    )  # fmt: skip


def _name(wish: GitWish, listing: str) -> str:
    """What the ref is called there: a branch, a tag, or a commit by its id."""
    names = {line.partition("\t")[2] for line in listing.splitlines()}
    wanted = (
        [wish.ref] if wish.ref.startswith("refs/") else [f"refs/heads/{wish.ref}", f"refs/tags/{wish.ref}"]
    )
    if not wish.ref:
        wanted = ["HEAD"]
    for name in wanted:
        if name in names:
            return name
    if remote.OBJECT_ID.fullmatch(wish.ref):
        return wish.ref
    raise NotFound(_OP, redact(wish.url), f"it has no branch or tag {wish.ref or 'HEAD'}", "")


def _descend(objects: ObjectReader, tree: str, wish: GitWish) -> str:
    for part in filter(None, wish.subdir.split("/")):
        found = next(objects.read([tree], MAX_TREE_BYTES))
        entries = parse_tree(found.data, len(tree) // 2) if found is not None and found.data else iter(())
        below = next((id for mode, name, id in entries if mode == TREE and name == part), None)
        if below is None:
            raise NotFound(_OP, redact(wish.url), f"it has no directory {wish.subdir}", "")
        tree = below
    return tree
