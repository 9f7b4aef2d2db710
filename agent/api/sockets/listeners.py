"""Opens and closes the scoped sockets, as the loop asks: one listening socket each, with its scope on every
connection that it takes. Made by the daemon; `serve_by` says who answers.

What lies at a socket's path is removed only when it is a socket that nobody listens on.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.api.sockets.scope import scope_of_spec
from agent.api.ways import BACKLOG, Door, Inbound, Runner, Site, Way
from agent.manifest.spec import SocketSpec
from runtime.drift.tripwires import Tripwires
from runtime.errors import Conflict, Invalid, Temporary
from runtime.layout import Layout
from store.records import Key

OP = "open socket"


@dataclass(frozen=True, slots=True)
class Listener:
    site: Site
    path: Path
    inode: int

    @property
    def is_there(self) -> bool:
        """Its file is the one that was made for it."""
        try:
            return self.path.lstat().st_ino == self.inode
        except OSError:
            return False


class Listeners:
    """agent.reconcile.sockets.Sockets, of this agent."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._runner: Runner | None = None
        self._open: dict[Key, Listener] = {}
        self._hashes: dict[Key, str] = {}
        self.listening: Mapping[Key, str] = self._hashes
        self.on_lost: Callable[[Key], None] = lambda _key: None
        self._tripwires = Tripwires(self._on_removal)

    def serve_by(self, runner: Runner) -> None:
        self._runner = runner
        self._tripwires.open()

    def _on_removal(self, _names: frozenset[str] | None) -> None:
        """One whose file somebody removed listens for nobody."""
        for key, listener in self._open.items():
            if key in self._hashes and not listener.is_there:
                del self._hashes[key]
                self.on_lost(key)

    async def open(self, key: Key, spec: SocketSpec, spec_hash: str) -> None:
        """Invalid for a path or an owner that cannot be, Conflict where somebody else listens."""
        if self._runner is None:
            raise Temporary(OP, str(key), "the API is not up yet")
        await self.close(key)
        path = (
            Path(spec.path) if spec.path else self._layout.run / "sockets" / f"{key.project}.{key.name}.sock"
        )
        user, group = owner_of(spec.owner)
        connection = await asyncio.to_thread(bind, path, user, group, spec.mode)
        scope = scope_of_spec(key, spec)
        site = Site(self._runner, connection, Way(f"unix://{path}", scope=scope))
        await site.start()
        self._open[key] = Listener(site, path, path.lstat().st_ino)
        self._hashes[key] = spec_hash
        self._tripwires.watch_directory(str(path.parent), lambda name: (name,))

    async def close(self, key: Key) -> None:
        """And everybody who is connected: what they were allowed is no more."""
        self._hashes.pop(key, None)
        listener = self._open.pop(key, None)
        if listener is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if listener.is_there:
                listener.path.unlink()
        with contextlib.suppress(RuntimeError):  # its runner has stopped all
            await listener.site.stop()
        self._disconnect(listener.site.way)

    def _disconnect(self, way: Way) -> None:
        door = self._runner.server if self._runner is not None else None
        if isinstance(door, Door):
            for connection in door.connections:
                if isinstance(connection, Inbound) and connection.way is way:
                    door.cut(connection)

    async def close_all(self) -> None:
        self._tripwires.close()
        for key in list(self._open):
            await self.close(key)


def owner_of(text: str) -> tuple[int, int]:
    """User and group as numbers, of USER[:GROUP]; a user alone brings no group. Invalid for unknown ones."""
    user, _, group = text.partition(":")
    try:
        uid = 0 if not user else int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
        gid = 0 if not group else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise Invalid(OP, text, "no such user or group on this host") from None
    return uid, gid


def bind(path: Path, user: int, group: int, mode: int) -> socket.socket:
    """A socket that is served next: who comes as soon as its file is there is not refused, and waits. It is
    the owner's before others may use it."""
    _make_parent(path)
    _make_room(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(connection.fileno(), 0o600)  # unix_bind() makes the file with the socket's own mode
        connection.bind(str(path))
        connection.listen(BACKLOG)
        os.chown(path, user, group, follow_symlinks=False)
        path.chmod(mode)
    except OSError as error:
        connection.close()
        raise Invalid(OP, str(path), error.strerror or str(error)) from error
    connection.setblocking(False)
    return connection


def _make_parent(path: Path) -> None:
    """Nobody but root may put anything in the way: of a directory that others write to, they could make it
    lead elsewhere between two looks."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        parent = path.parent.resolve(strict=True)
        for directory in (parent, *parent.parents):
            found = directory.stat()
            is_shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid != 0 or is_shared or (directory == parent and found.st_mode & 0o022):
                hint = "a directory that root alone writes to, as /run/ci"
                raise Invalid(OP, str(path), f"others than root may write to {directory}", hint)
    except OSError as error:
        raise Invalid(OP, str(path), error.strerror or str(error)) from error


def _make_room(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Conflict(OP, str(path), "there is a file, and it is no socket", "another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # of an agent that is gone
            return
        except OSError:
            pass
    raise Conflict(OP, str(path), "another program listens there", "another path")
