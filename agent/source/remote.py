"""A remote git repository as a source: `--git URL --ref main --path deploy/ --poll 30s`.

    ls-remote ─ same commit? ─> nothing
        │ another one
        └─> fetch, one commit deep, into a bare mirror ─> read its tree ─> keep it as the last good one

The last good commit stays when the server cannot be reached, when the repository was emptied, and when
the branch or the path is gone; the status says so. A branch that was rewound or rewritten is followed,
and that is said. A URL's password goes to git alone: never to a log, a status or a revision.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.manifest.objects import Revision
from agent.source.git_program import PLAIN, ObjectReader, redact, run
from agent.source.git_tree import Commit, CommitReader, PathMissing
from agent.source.sandbox import Sandbox, programs, reach_to_fetch
from agent.source.source import SourceStatus, Unreadable, has_manifest
from runtime.errors import Invalid
from runtime.landlock import Reach

PROTOCOLS = "https:ssh:file"
MAX_PACK_BYTES = 256 * 1024 * 1024
MAX_MIRROR_BYTES = 1024 * 1024 * 1024
LIST_SECONDS = 60.0
FETCH_SECONDS = 600.0
MAX_BACKOFF_SECONDS = 600.0
DEEP = 50
"""Commits that are fetched to tell a branch that went on from one that was rewritten."""
HEAD, NEXT = "refs/setpoint/head", "refs/setpoint/next"
OWNER = "setpoint-owner"
"""A file in the mirror that says whose it is."""

URL = re.compile(r"(https|ssh|file)://[!-~]+|/[!-~ ]+")
SCP = re.compile(
    r"([A-Za-z0-9._]+@)?(?!(https?|ssh|file|git|ext):)[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[\w~/.][\w~/.+-]*",
    re.ASCII,
)
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*")
OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Remote:
    """What to follow. Checked when made; raises Invalid.

    url: https, ssh (or host:path), file, or an absolute path. ref: a branch, a tag, or a full name that
    starts with refs/. path: a directory in the repository, "" for its top. credentials: a file as
    git-credential-store(1) writes it, None for none.
    """

    url: str
    ref: str = "main"
    path: str = ""
    poll_seconds: float = 30.0
    credentials: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.strip("/"))
        check_url(self.url)
        check_ref(self.ref)
        parts = self.path.split("/") if self.path else []
        if any(part in ("", ".", "..") or part.startswith(".git") for part in parts) or "\0" in self.path:
            raise Invalid("follow", self.path, "not a path in a repository", "such as deploy/ or apps/shop")
        if self.credentials is not None and "'" in str(self.credentials):
            raise Invalid("follow", str(self.credentials), "a ' in a path of credentials", "use another name")
        if self.poll_seconds < 1:
            raise Invalid("follow", self.name, "polls too often", "at least every second")

    @property
    def name(self) -> str:
        """The URL without a user or password, the ref and the path: what people see."""
        return f"{redact(self.url)}#{self.ref}" + (f":{self.path}" if self.path else "")


def credential_options(file: Path | None) -> tuple[str, ...]:
    """Options of git that have it ask the file, and only read it: by itself git's helper takes out what a
    server refused once (git-credential-store(1))."""
    if file is None:
        return ()
    return (
        "-c",
        f"""credential.helper=!f() {{ test "$1" != get || git credential-store --file='{file}' get; }}; f""",
    )


def check_url(url: str) -> None:
    """Raises Invalid unless the URL is of a kind that git reaches without starting what it names."""
    hint = "https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, file:///PATH"
    if url.startswith("http://"):
        raise Invalid(
            "follow", redact(url), "http is not safe: anybody on the way can change it", "use https"
        )
    is_known = URL.fullmatch(url) or SCP.fullmatch(url)
    if not is_known or len(url) > 2048 or re.search(r"://([^/@]*@)?-", url):
        raise Invalid("follow", redact(url)[:200], "not the URL of a repository", hint)


def check_ref(ref: str) -> None:
    """git-check-ref-format(1), and nothing that could be an option or an expression. Raises Invalid."""
    is_odd = any(part in ref for part in ("..", "//", "/.", "@{")) or ref.endswith((".", "/", ".lock"))
    if not REF.fullmatch(ref) or is_odd or len(ref) > 255:
        raise Invalid("follow", ref[:200], "not the name of a branch or tag", "such as main or v1.2")


class RemoteSource:
    """mirror: a directory of this source's own; made when it is not there, made anew when damaged."""

    def __init__(self, remote: Remote, mirror: Path, sandbox: Sandbox = PLAIN) -> None:
        self.remote = remote
        self.mirror = mirror
        self._sandbox = sandbox
        self._status = SourceStatus(remote.name)
        self._wake = asyncio.Event()
        self._objects = ObjectReader(mirror, sandbox, Reach((*programs(), str(mirror)), ("/dev/null",)))
        self._reader = CommitReader(self._objects)
        self._failures = 0
        self._seen: list[str] = []
        self._current: Commit | None = None

    @property
    def status(self) -> SourceStatus:
        return self._status

    def sync(self) -> None:
        self._wake.set()

    async def revisions(self) -> AsyncIterator[Revision]:
        try:
            revision = await asyncio.to_thread(self._last_good)
            if revision is not None:
                yield revision
            while True:
                revision = await asyncio.to_thread(self._look)
                if revision is not None:
                    yield revision
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._delay())
                self._wake.clear()
        finally:
            await asyncio.to_thread(self._objects.close)
            await asyncio.to_thread(self._sandbox.close)

    def _delay(self) -> float:
        """Longer after each failure; with jitter, so that many machines do not ask at once."""
        delay = min(self.remote.poll_seconds * 2.0 ** min(self._failures, 10), MAX_BACKOFF_SECONDS)
        return max(delay, self.remote.poll_seconds) * random.uniform(0.9, 1.1)

    # looking; in a thread, one at a time

    def _last_good(self) -> Revision | None:
        """What the mirror holds from before: it counts even when the server is away."""
        try:
            if not self._is_mirror():
                return None
            commit = self._reader.commit(HEAD)
            return None if commit is None else self._accept(commit, ())
        except (Unreadable, PathMissing):
            self._objects.close()
            shutil.rmtree(self.mirror, ignore_errors=True)
            return None

    def _look(self) -> Revision | None:
        try:
            revision = self._follow()
        except Unreadable as error:
            self._failures += 1
            kept = f"; keeping {self._status.revision[:12]}" if self._status.revision else ""
            self._status = replace(self._status, error=f"{error}{kept}")
            return None
        self._failures = 0
        return revision

    def _follow(self) -> Revision | None:
        self._make_mirror()
        name, id = self._remote_id()
        if self._current is not None and id == self._current.id:
            self._status = replace(self._status, seen_at=time.time(), error="")
            return None
        self._fetch(name, 1)
        commit = self._reader.commit(NEXT)
        if commit is None:
            raise Unreadable(f"{self.remote.ref} is not a commit")
        if self._current is not None and commit.id == self._current.id:
            self._status = replace(self._status, seen_at=time.time(), error="")
            return None
        note = self._rewound(commit, name)
        try:
            revision = self._accept(commit, note)
        except PathMissing:
            raise Unreadable(f"{commit.id[:12]} has no directory {self.remote.path}/") from None
        self._git("update-ref", HEAD, commit.id)
        self._tidy()
        return revision

    def _accept(self, commit: Commit, notes: tuple[str, ...]) -> Revision:
        revision = self._reader.revision(commit, self.remote.path, self.remote.name, "")
        if not has_manifest(revision.files):
            where = f" below {self.remote.path}/" if self.remote.path else ""
            raise Unreadable(f"{commit.id[:12]} has no manifest{where}")
        self._current = commit
        self._seen = [*self._seen[-DEEP:], commit.id]
        warnings = (*notes, *self._reader.warnings)
        self._status = SourceStatus(self.remote.name, commit.id, time.time(), "", warnings)
        return revision

    def _is_mirror(self) -> bool:
        """Whether there is a mirror, and of this repository and ref: another one's last good commit would
        be wrong here."""
        try:
            return (self.mirror / "HEAD").is_file() and (self.mirror / OWNER).read_text() == self._owner()
        except OSError:
            return False

    def _owner(self) -> str:
        return hashlib.sha256(f"{redact(self.remote.url)}\0{self.remote.ref}".encode()).hexdigest()

    def _make_mirror(self) -> None:
        if self._is_mirror():
            return
        self._objects.close()
        shutil.rmtree(self.mirror, ignore_errors=True)
        self.mirror.mkdir(parents=True, mode=0o700)
        run(
            ["init", "--quiet", "--bare", "--template=", "."],
            directory=self.mirror,
            sandbox=self._sandbox,
            reach=self._reach(),
        )
        (self.mirror / OWNER).write_text(self._owner())

    def _remote_id(self) -> tuple[str, str]:
        """The full name and id of what the ref names now. Raises Unreadable."""
        ref = self.remote.ref
        names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        output = self._git("ls-remote", "--quiet", "--end-of-options", self.remote.url, *names)
        found: dict[str, str] = {}
        for line in output.splitlines():
            id, _, name = line.partition("\t")
            if OBJECT_ID.fullmatch(id) and name in names:
                found[name] = id
        for name in names:
            if name in found:
                return name, found[name]
        raise Unreadable(f"{ref} is not in the repository (gone, or the repository is empty)")

    def _fetch(self, name: str, depth: int) -> None:
        self._git(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            f"--depth={depth}",
            "--end-of-options",
            self.remote.url,
            f"+{name}:{NEXT}",
            seconds=FETCH_SECONDS,
        )

    def _rewound(self, commit: Commit, name: str) -> tuple[str, ...]:
        """What is to be said when the branch did not just go on from the commit before."""
        before = self._current
        if before is None or before.id in commit.parents:
            return ()
        if commit.id in self._seen:
            return (f"{self.remote.ref} was rewound from {before.id[:12]} to {commit.id[:12]}",)
        self._fetch(name, DEEP)
        recent = self._git("rev-list", f"--max-count={DEEP}", "--end-of-options", commit.id).split()
        if before.id in recent:
            return ()
        return (f"{self.remote.ref} was rewritten: {before.id[:12]} is not before {commit.id[:12]}",)

    def _tidy(self) -> None:
        """Shallow fetches leave what nothing refers to; the mirror is kept from growing for ever."""
        packs = list((self.mirror / "objects" / "pack").glob("*.pack"))
        if len(packs) > 30 or sum(pack.stat().st_size for pack in packs) > MAX_MIRROR_BYTES:
            with suppress(Unreadable):
                self._git("update-ref", "-d", NEXT)
                self._git("gc", "--quiet", "--prune=now", seconds=FETCH_SECONDS)
            self._objects.close()

    def _git(self, command: str, *arguments: str, seconds: float = LIST_SECONDS) -> str:
        return run(
            [command, *arguments],
            directory=self.mirror,
            protocols=PROTOCOLS,
            timeout_seconds=seconds,
            file_limit_bytes=MAX_PACK_BYTES,
            options=("--git-dir=.", *credential_options(self.remote.credentials)),
            sandbox=self._sandbox,
            reach=self._reach(),
        )

    def _reach(self) -> Reach:
        """A repository of this host may have its objects anywhere."""
        found = reach_to_fetch(self.mirror, self.remote.credentials)
        is_here = self.remote.url.startswith(("/", "file:"))
        return replace(found, read=("/",), network=False) if is_here else found
