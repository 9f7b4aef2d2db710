"""The `git` program, run so that a repository cannot make it do anything: no configuration but ours, no
hooks, no helpers of the repository's choice, no prompts, no protocol that starts programs, and in a sandbox.

Two ways: `run` for one command with a time limit, and ObjectReader, one long-lived
`git cat-file --batch-command` that gives commits, trees and blobs in well under a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.source.sandbox import ALL_READ, MEMORY_BYTES, Sandbox
from agent.source.source import Unreadable
from runtime.landlock import Reach

OPTIONS = (
    "-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.sshCommand= -c core.gitProxy= "
    "-c core.askPass= -c credential.helper= -c protocol.ext.allow=never -c submodule.recurse=false "
    "-c fetch.recurseSubmodules=false -c fetch.fsckObjects=true -c gc.auto=0 -c maintenance.auto=false "
    "-c http.followRedirects=initial -c uploadpack.packObjectsHook= -c safe.directory=* "
    "-c pack.threads=4 -c pack.windowMemory=64m"
)
_OPTIONS = tuple(OPTIONS.split())
PLAIN = Sandbox()
"""Without limits of its own; for short commands on a repository of this host."""
KEPT = (
    "PATH",
    "HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
)
AUTHORITIES = {"SSL_CERT_FILE": "GIT_SSL_CAINFO", "SSL_CERT_DIR": "GIT_SSL_CAPATH"}
"""As git calls the same: its curl, where it is built with GnuTLS, knows nothing of OpenSSL's names."""
SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=20 "
    "-oPermitLocalCommand=no -oForwardAgent=no"
)
SECRET = re.compile(r"(?<=://)[^/@\s]+@")
MAX_OUTPUT = 1024 * 1024
MAX_ERRORS = 64 * 1024
READ_TIMEOUT = 60.0
CHUNK = 64  # requests on their way at once: their bytes fit a pipe, so that neither side waits for ever


def redact(text: str) -> str:
    """text without the user and password of any URL in it."""
    return SECRET.sub("", text)


def environment(protocols: str = "") -> dict[str, str]:
    """protocols: those that may be used, ":" between them; "" is none."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    kept |= {git: os.environ[name] for name, git in AUTHORITIES.items() if os.environ.get(name)}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols or "none",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": SSH,
        "LC_ALL": "C",
    }


def run(  # noqa: PLR0913
    arguments: Sequence[str],
    *,
    directory: Path,
    protocols: str = "",
    timeout_seconds: float = 30.0,
    file_limit_bytes: int | None = None,
    options: Sequence[str] = (),
    sandbox: Sandbox = PLAIN,
    reach: Reach = ALL_READ,
    stdin: bytes = b"",
) -> str:
    """The output of one git command. Raises Unreadable with git's own last words, no secret in them.

    file_limit_bytes: no file that the command or its children write gets larger (RLIMIT_FSIZE).
    reach: the files that it may read and write.
    """
    killed_before = sandbox.oom_kills()
    given = _file_of(stdin) if stdin else None
    try:
        process = sandbox.start(
            ["git", *_OPTIONS, *options, *arguments],
            reach,
            cwd=directory,
            env=environment(protocols),
            stdin=subprocess.DEVNULL if given is None else given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise Unreadable(f"cannot run git: {error.strerror}") from None
    finally:
        if given is not None:
            os.close(given)
    with process:
        if file_limit_bytes is not None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_limit_bytes, file_limit_bytes))
        try:
            output, errors = _communicate(process, time.monotonic() + timeout_seconds)
        except TimeoutError:
            _kill_group(process)
            raise Unreadable(f"git {arguments[0]} took over {timeout_seconds:g} s") from None
        except OverflowError:
            _kill_group(process)
            raise Unreadable(f"git {arguments[0]} printed over {MAX_OUTPUT} bytes") from None
    if process.returncode != 0:
        if sandbox.oom_kills() > killed_before:
            raise Unreadable(f"git {arguments[0]} needed over {MEMORY_BYTES >> 20} MiB of memory")
        raise Unreadable(_last_words(arguments[0], process.returncode, errors))
    return output.decode("utf-8", "replace")


def _file_of(data: bytes) -> int:
    """A descriptor to read it from: a pipe would have to be fed while the output is read."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _communicate(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """All that it prints, which a server may have a say in: TimeoutError, and OverflowError over
    MAX_OUTPUT. Of its errors the last count."""
    assert process.stdout is not None and process.stderr is not None
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, errors)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                key.data.extend(data)
            del errors[:-MAX_ERRORS]
            if len(output) > MAX_OUTPUT:
                raise OverflowError
    process.wait(max(0.0, deadline - time.monotonic()) + 1.0)
    return bytes(output), bytes(errors)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(command: str, code: int, errors: bytes) -> str:
    text = errors.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("hint:")]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    words = fatal[0].partition(": ")[2] or fatal[0] if fatal else f"exit {code}"
    return redact(f"git {command}: {words}")[:500]


@dataclass(frozen=True, slots=True)
class GitObject:
    """id: hex digits. size is told even where data was not asked for, or is over the limit (None)."""

    id: str
    type: str
    size: int
    data: bytes | None = None


class ObjectReader:
    """Reads objects of one repository. Blocking: to be used in a thread. Starts git when it is needed;
    close() ends it, and the next read starts it again."""

    def __init__(self, git_directory: Path, sandbox: Sandbox = PLAIN, reach: Reach = ALL_READ) -> None:
        self.git_directory, self._sandbox, self._reach = git_directory, sandbox, reach
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()

    def read(self, names: Iterable[str], limit_bytes: int) -> Iterator[GitObject | None]:
        """The objects that names name (ids, or expressions such as HEAD^{commit}), None for a missing
        one; those over limit_bytes without their data. Raises Unreadable."""
        chunk: list[str] = []
        for name in names:
            if "\n" in name:
                raise Unreadable("a name with a line break names no object")
            chunk.append(name)
            if len(chunk) == CHUNK:
                yield from self._chunk(chunk, limit_bytes)
                chunk = []
        if chunk:
            yield from self._chunk(chunk, limit_bytes)

    def close(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not written yet goes nowhere
                if stream is not None:
                    stream.close()
        process.wait()

    def _chunk(self, names: Sequence[str], limit_bytes: int) -> list[GitObject | None]:
        try:
            headers = self._ask("info", names, with_data=False)
            small = [header.id for header in headers if header is not None and header.size <= limit_bytes]
            contents = iter(self._ask("contents", small, with_data=True))
        except (OSError, ValueError) as error:
            self.close()
            raise Unreadable(f"git cat-file failed: {error}") from None
        except Unreadable:
            self.close()
            raise
        return [
            header if header is None or header.size > limit_bytes else next(contents) for header in headers
        ]

    def _ask(self, command: str, names: Sequence[str], *, with_data: bool) -> list[GitObject | None]:
        process = self._started()
        assert process.stdin is not None
        process.stdin.write("".join(f"{command} {name}\n" for name in names).encode())
        process.stdin.flush()
        deadline = time.monotonic() + READ_TIMEOUT
        return [self._answer(with_data, deadline) for _ in names]

    def _answer(self, with_data: bool, deadline: float) -> GitObject | None:
        line = self._line(deadline)
        words = line.split(" ")
        if len(words) != 3 or words[-1] in ("missing", "ambiguous"):
            return None
        found = GitObject(words[0], words[1], int(words[2]))
        if not with_data:
            return found
        data = self._take(found.size + 1, deadline)[:-1]
        return GitObject(found.id, found.type, found.size, data)

    def _line(self, deadline: float) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        return self._take(end + 1, deadline)[:-1].decode("utf-8", "replace")

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _fill(self, deadline: float) -> None:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise Unreadable(f"git cat-file gave no answer within {READ_TIMEOUT:g} s")
        data = os.read(descriptor, 1 << 18)
        if not data:
            raise Unreadable("git cat-file ended: the repository cannot be read")
        self._buffer += data

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._process = self._sandbox.start(
            ["git", *_OPTIONS, f"--git-dir={self.git_directory}", "cat-file", "--batch-command"],
            self._reach,
            cwd="/",
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._process
