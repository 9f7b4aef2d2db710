"""Where git runs: what a repository or its server makes of it stays small, and near nothing can be reached.

    a thread of its own ─ joins a cgroup, drops capabilities, binds itself by Landlock ─> starts git, and ends

All three are a thread's own (capabilities(7), landlock(7)), so that no program stands between, and the agent
stays as it is. git keeps root's user id: the keys and credentials that it needs are root's. Without
capabilities, that is the owner of root's files, of which Landlock leaves it the ones that it needs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime import cgroups, landlock, oom_score, side_groups, syscalls
from runtime.errors import SetpointError
from runtime.landlock import Reach
from runtime.security import CAPABILITY_NUMBERS

MEMORY_BYTES = 512 * 1024 * 1024
PROCESSES = 64
KEPT = 1 << CAPABILITY_NUMBERS["CAP_DAC_READ_SEARCH"]  # repositories and keys of other users
ALL_READ = Reach(read=("/",), write=("/dev/null",))
"""For a repository on this host: where its objects lie is for git to find out (alternates, work trees)."""

_PROGRAMS = """
/usr /bin /lib /lib32 /lib64 /opt /nix /gnu /dev/urandom /dev/random /dev/zero
/etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.preload /etc/alternatives
"""
_SYSTEM = """
/etc/resolv.conf /etc/hosts /etc/host.conf /etc/nsswitch.conf /etc/gai.conf /etc/services /etc/protocols
/etc/passwd /etc/group /etc/localtime /etc/ssl /etc/pki /etc/ca-certificates /etc/crypto-policies
/etc/gnutls /var/lib/ca-certificates /etc/ssh/ssh_config /etc/ssh/ssh_config.d /etc/ssh/ssh_known_hosts
/run/systemd/resolve /run/resolvconf /run/NetworkManager /run/nscd
"""
_JOIN = 'echo 0 >"$0" && exec "$@"'


def programs() -> tuple[str, ...]:
    """Where git, and what it runs, lies."""
    return (*_PROGRAMS.split(), *(path for path in os.environ.get("PATH", "").split(":") if path[:1] == "/"))


def reach_to_fetch(mirror: Path, credentials: Path | None) -> Reach:
    """Of a command that asks a server: programs, certificates, keys; it writes below mirror alone."""
    environment = os.environ.get
    read = [
        *programs(),
        *_SYSTEM.split(),
        os.path.realpath("/etc/resolv.conf"),
    ]
    read += [environment("SSL_CERT_FILE", ""), environment("SSL_CERT_DIR", "")]
    read += [str(Path(environment("HOME", "/root"), ".ssh")), str(credentials or "")]
    write = (str(mirror), "/dev/null", "/dev/tty")
    return Reach(tuple(path for path in read if path.startswith("/")), write, network=True)


class Sandbox:
    """cgroup: the name of a control group beside the containers', "" for none; several may share one. Any
    thread may start."""

    def __init__(self, cgroup: str = "") -> None:
        self._cgroup = f"/{cgroup}" if cgroup else ""
        self._lock = threading.Lock()
        self._joins: tuple[str, ...] = ()

    def start(self, argv: Sequence[str], reach: Reach, **options: Any) -> subprocess.Popen[bytes]:
        """subprocess.Popen with its options, confined. Raises OSError."""
        made: list[subprocess.Popen[bytes] | BaseException] = []

        def inside() -> None:
            try:
                words, held = self._join(argv, reach)
                _drop()
                landlock.restrict(held)
                made.append(subprocess.Popen(words, **options))
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=inside, name="git")
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        oom_score.unprotect(made[0].pid)
        return made[0]

    def _join(self, argv: Sequence[str], reach: Reach) -> tuple[list[str], Reach]:
        """This thread into its v1 cgroups. On v2 only a process can be in one (cgroups(7)): what is started
        then joins before it is git."""
        words = list(argv)
        for file in self._files():
            if file.endswith("/tasks"):
                cgroups.join([file], threading.get_native_id())
            else:
                words = ["/bin/sh", "-c", _JOIN, file, *words]
                reach = replace(reach, write=(*reach.write, file))
        return words, reach

    def _files(self) -> tuple[str, ...]:
        """How to join; () where this host limits nothing, or does not let us."""
        with self._lock:
            if self._cgroup and not (self._joins and all(map(os.path.exists, self._joins))):
                self._joins = ()
                with contextlib.suppress(OSError, SetpointError):
                    made = side_groups.hold(self._cgroup, memory_bytes=MEMORY_BYTES, processes=PROCESSES)
                    self._joins = tuple(map(side_groups.way_in, made))
            return self._joins

    def close(self) -> None:
        """Remove the control groups; what still runs in them ends. The next start makes them anew."""
        with self._lock:
            if self._joins:
                self._joins = ()
                with contextlib.suppress(OSError, SetpointError):
                    side_groups.let_go(self._cgroup)

    def oom_kills(self) -> int:
        """How often the kernel ended something for want of memory."""
        return side_groups.oom_kills(str(Path(file).parent) for file in self._joins)


def _drop() -> None:
    """What this thread starts gains nothing, and has no capability but the one to read."""
    held = syscalls.capget()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.capset(held.effective & KEPT, held.permitted & KEPT, 0)
