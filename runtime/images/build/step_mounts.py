"""The mounts of RUN steps, made ready as directories and files that the engine can bind.

    bind    a copy of a part of the context, a stage or an image, in the build's own directory: what is
            written to it is thrown away, and nobody can exchange it while the step runs
    cache   a directory of the instance that outlives the build, by a digest of its id
    secret  a file in the build's run directory, which is memory
    ssh     the socket of the caller's agent

Called by the solver; the directories are the build's own, and go with it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import Invalid, NotFound
from runtime.images.build import paths
from runtime.images.build.copy import Copier
from runtime.images.build.order import BuildOrder
from runtime.images.build.sources import Digests
from runtime.images.content import write_all
from runtime.images.dockerfile.steps import (
    BindMount,
    CacheMount,
    Mount,
    Script,
    SecretMount,
    SshMount,
    TmpfsMount,
)

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_PRIVATE = 64
SSH_VARIABLE = "SSH_AUTH_SOCK"


@dataclass(slots=True)
class Prepared:
    """mounts: as `MountConfig` takes them. environment: for the step; secrets: the same, and told nobody."""

    mounts: list[dict[str, Any]]
    environment: dict[str, str]
    secrets: dict[str, str]


class StepMounts:
    """directory: the build's, on the store's disk. run: the build's, in memory. caches: the instance's.
    ask: as `Asks.ask`, for what the order lacks."""

    def __init__(
        self,
        order: BuildOrder,
        directory: Path,
        run: Path,
        caches: Path,
        now_ns: int,
        ask: Callable[..., Any],
    ) -> None:
        self._ask = ask
        self._order = order
        self._directory = directory
        self._run = run
        self._caches = caches
        self._now_ns = now_ns

    @contextlib.contextmanager
    def ready(
        self, number: int, mounts: tuple[Mount, ...], script: Script | None, sources: dict[int, Digests]
    ) -> Iterator[Prepared]:
        """What is ready while the step runs. sources: of mounts that take files, by their place in mounts."""
        made = Prepared([], {}, {})
        with contextlib.ExitStack() as stack:
            for place, mount in enumerate(mounts):
                name = f"{number}-{place}"
                match mount:
                    case BindMount():
                        self._bind(made, mount, sources[place], name)
                    case CacheMount():
                        stack.enter_context(self._cache(made, mount, sources.get(place)))
                    case TmpfsMount():
                        made.mounts.append({
                            "kind": "tmpfs", "target": mount.target, "mode": 0o1777,
                            "size_bytes": mount.size_bytes or None, "options": ["exec"],
                        })  # fmt: skip
                    case SecretMount():
                        self._secret(made, mount, name)
                    case SshMount():
                        self._ssh(made, mount)
            if script is not None:
                path = self._run / f"script-{number}"
                _write(path, script.content.encode("utf-8", "surrogateescape"), 0o755, 0, 0)
                made.mounts.append(self._mount(script.path, path, read_only=True))
            yield made

    def _mount(self, target: str, source: Path, *, read_only: bool) -> dict[str, Any]:
        """source: made here, in directories that nobody else can write to."""
        return {"kind": "bind", "target": target, "source": str(source), "read_only": read_only}

    # --- bind and cache

    def _bind(self, made: Prepared, mount: BindMount, digests: Digests, name: str) -> None:
        place = self._directory / f"bind-{name}"
        place.mkdir(mode=0o755)
        source = digests.source
        parts = source.real(mount.source)
        found = source.status(parts)
        if found is None:
            raise NotFound("mount", mount.source, f"there is no such file in {source.name}")
        is_tree = stat.S_ISDIR(found.st_mode)
        self._fill(place, digests, parts, () if is_tree else ("file",))
        if is_tree:
            place.chmod(stat.S_IMODE(found.st_mode))
        path = place if is_tree else place / "file"
        made.mounts.append(self._mount(mount.target, path, read_only=mount.is_read_only))

    def _fill(self, place: Path, digests: Digests, parts: paths.Parts, target: paths.Parts) -> None:
        root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            Copier(root, None, None, self._now_ns).copy(digests, parts, target)
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _cache(self, made: Prepared, mount: CacheMount, digests: Digests | None) -> Iterator[None]:
        """sharing: "locked" waits for another build, "private" takes another directory, "shared" shares."""
        id = f"{self._order.space}\0{mount.id}" if self._order.space else mount.id
        name = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()
        self._caches.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            directory = self._hold(stack, name, mount.sharing)
            content = directory / "content"
            if not content.exists():
                self._begin(directory, content, mount, digests)
            os.utime(directory)
            made.mounts.append(self._mount(mount.target, content, read_only=mount.is_read_only))
            yield

    def _hold(self, stack: contextlib.ExitStack, name: str, sharing: str) -> Path:
        """Its lock is held while it is used, so that nobody removes it: shared by all but "locked"."""
        if sharing != "private":
            return _held(stack, self._caches / name, is_exclusive=sharing == "locked", waits=True)
        for number in range(_MAX_PRIVATE):
            place = self._caches / (f"{name}-{number}" if number else name)
            with contextlib.suppress(BlockingIOError):
                return _held(stack, place, is_exclusive=True, waits=False)
        raise Invalid(
            "mount", name[:12], f"{_MAX_PRIVATE} builds use this private cache", "build again later"
        )

    def _begin(self, directory: Path, content: Path, mount: CacheMount, digests: Digests | None) -> None:
        """Made aside and renamed: a kill leaves none, or one that is whole."""
        part = directory / f".new-{os.urandom(4).hex()}"
        part.mkdir(mode=0o700)
        if digests is not None:
            self._fill(part, digests, digests.source.real(mount.source), ())
        os.chown(part, mount.uid, mount.gid)
        part.chmod(mount.mode)
        with contextlib.suppress(FileExistsError, OSError):
            part.rename(content)

    # --- secrets and ssh

    def _secret(self, made: Prepared, mount: SecretMount, name: str) -> None:
        content = self._secret_of(mount.id)
        if content is None:
            if mount.is_required:
                hint = f"--secret id={mount.id},src=FILE"
                raise Invalid("mount", f"secret {mount.id}", "the build was given none of that id", hint)
            return
        if mount.env:
            try:
                made.secrets[mount.env] = content.decode()
            except UnicodeDecodeError:
                raise Invalid("mount", f"secret {mount.id}", "not text, so it can be no variable") from None
        if mount.target:
            path = self._run / f"secret-{name}"
            _write(path, content, mount.mode, mount.uid, mount.gid)
            made.mounts.append(self._mount(mount.target, path, read_only=True))

    def _secret_of(self, id: str) -> bytes | None:
        content = self._order.secrets.get(id)
        if content is None and self._order.asks_caller:
            answer = self._ask("secret", id=id)
            content = None if answer is None else base64.b64decode(answer)
        return content

    def _ssh(self, made: Prepared, mount: SshMount) -> None:
        path = self._order.ssh.get(mount.id)
        if path is None and self._order.asks_caller:
            path = self._ask("ssh", id=mount.id)
        if path is None:
            if mount.is_required:
                hint = f"--ssh {mount.id}=SOCKET"
                raise Invalid("mount", f"ssh {mount.id}", "the build was given no agent of that id", hint)
            return
        try:
            is_socket = stat.S_ISSOCK(Path(path).stat().st_mode)
        except OSError:
            is_socket = False
        if not is_socket:
            raise Invalid("mount", f"ssh {mount.id}", f"{path} is no socket", "is the ssh agent running?")
        made.mounts.append(self._mount(mount.target, Path(path), read_only=False))
        made.environment[SSH_VARIABLE] = mount.target


def _held(stack: contextlib.ExitStack, place: Path, *, is_exclusive: bool, waits: bool) -> Path:
    place.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(lock, kind | (0 if waits else fcntl.LOCK_NB))
    except BaseException:
        os.close(lock)
        raise
    stack.callback(os.close, lock)
    return place


def _write(path: Path, content: bytes, mode: int, uid: int, gid: int) -> None:
    descriptor = os.open(path, _NEW_FILE, 0o600)
    try:
        if content:
            write_all(descriptor, content)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
