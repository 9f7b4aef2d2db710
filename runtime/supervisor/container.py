"""One container as the supervisor has it: its process, its streams and who is attached.

    starting ──channel: end──> running ──reaped──> (forgotten, exit.json)
        └──channel: error──> (forgotten, the starter is told)

Called by `server`. It does I/O on its own descriptors only, and decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat

from runtime.supervisor import records, terminal
from runtime.supervisor.attach import Attachment, frame
from runtime.supervisor.log_file import log_of
from runtime.supervisor.loop import HANGUP, READ, WRITE, Loop
from runtime.supervisor.output import Output
from runtime.supervisor.terminal import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.supervisor.exec_plan import ExecPlan
    from runtime.supervisor.server import Reply

MAX_INPUT_BYTES = 1 << 16  # for a stdin that nobody reads, before its client is held
MAX_LAST_CHUNKS = 64  # read at the exit from a FIFO that a process outside the container still writes to
STREAMS = ("stdout", "stderr")


class Container:
    """Fields that are in state.json are those of `to_record`."""

    def __init__(self, loop: Loop, record: dict[str, Any], directory: str) -> None:
        self.loop = loop
        self.name: str = record["name"]
        self.bundle: str = record["bundle"]
        self.directory = directory
        self.is_tty: bool = bool(record.get("tty"))
        self.has_stdin: bool = bool(record.get("stdin"))
        self.log_bytes = int(record.get("log_bytes", 10 << 20))
        self.log_files = int(record.get("log_files", 3))
        self.log = log_of(f"{self.bundle}/log", self.log_bytes, self.log_files)
        self.pid: int = record.get("pid", 0)
        self.start_time: int = record.get("start_time", 0)
        self.started_at: float = record.get("started_at", 0.0)
        self.cgroup: str = record.get("cgroup", "")
        self.is_running = False
        self.is_child = False
        self.pidfd = -1
        self.console_fd = -1
        self.stdin_fd = -1
        self.root_fd = -1
        self.wants_root = bool(record.get("root"))
        self.outputs: list[Output | Console] = []
        self.attachments: list[Attachment] = []
        self.on_started: list[Callable[[BaseException | None], None]] = []
        self.failure: BaseException | None = None
        self.waiting: list[Reply] = []
        self.warnings: list[str] = []
        self.on_stdin_closed: Callable[[], None] = lambda: None
        self.read_channel_to_end: Callable[[], None] = lambda: None
        self.pending_input = b""
        self.exec_plan: tuple[tuple[int, ...], ExecPlan] | None = None
        self._is_held = False

    def to_record(self) -> dict[str, Any]:
        """What adopting it needs."""
        return {
            "name": self.name,
            "bundle": self.bundle,
            "tty": self.is_tty,
            "stdin": self.has_stdin,
            "log_bytes": self.log_bytes,
            "log_files": self.log_files,
            "pid": self.pid,
            "start_time": self.start_time,
            "started_at": self.started_at,
            "boot_id": records.boot_id(),
            "cgroup": self.cgroup,
        }

    # --- stdio

    def tell_started(self, error: BaseException | None) -> None:
        """To all who wait for the start, once: None when the program runs. failure keeps why it does not,
        for who asks before the child is reaped."""
        self.failure = error
        callbacks, self.on_started = self.on_started, []
        for callback in callbacks:
            callback(error)
        self._close_root()

    # --- the root, for who asked for it

    def keep_root(self, root: int) -> None:
        """Until the start is answered. Whoever has it open when the container ends waits for the unmount in
        the place of the process that ends, and of all that hear of it: see `runtime.roots`."""
        with contextlib.suppress(OSError):  # out of descriptors: the end waits, then
            self.root_fd = os.dup(root)

    def _close_root(self) -> None:
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    def make_fifos(self) -> tuple[int, int, int]:
        """The container's ends of its stdio. stdout and stderr are opened read-write, so that a dead
        reader breaks no writer. The caller closes them. OSError."""
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, 0o700, exist_ok=True)
        opened: list[int] = []
        try:
            opened.append(self._make_stdin())
            for stream in () if self.is_tty else STREAMS:
                path = f"{self.directory}/{stream}"
                _make_fifo(path)
                self._add_output(path, stream)
                opened.append(_open_again(self.outputs[-1].fd, os.O_RDWR))
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        return opened[0], opened[-2] if len(opened) > 1 else -1, opened[-1] if len(opened) > 1 else -1

    def _make_stdin(self) -> int:
        if self.is_tty or not self.has_stdin:
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        path = f"{self.directory}/stdin"
        _make_fifo(path)
        found = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            reader = _open_again(found, os.O_RDONLY | os.O_NONBLOCK)
        finally:
            os.close(found)
        os.set_blocking(reader, True)
        self.open_stdin()
        return reader

    def open_stdin(self) -> None:
        """The writing end; there is none (ENXIO) when the container has closed its own."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            self.stdin_fd = os.open(f"{self.directory}/stdin", flags)

    def reopen_outputs(self) -> None:
        """For an adopted container: the reading ends of its FIFOs. OSError."""
        for stream in STREAMS:
            path = f"{self.directory}/{stream}"
            if not self.is_tty and os.path.exists(path):
                self._add_output(path, stream)

    def _add_output(self, path: str, stream: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.add_output_fd(fd, stream)

    def add_output_fd(self, fd: int, stream: str) -> None:
        output = Output(fd, stream.encode(), f"{self.directory}/{stream}.spool", self.log)
        self._add(output)

    def set_console(self, fd: int, pending: bytes = b"") -> None:
        """The pty master, from launch or from a client that kept it over a supervisor's death."""
        self.console_fd = fd
        self.stdin_fd = fd
        console = Console(fd, self.log)
        console.pending = pending
        self._add(console)

    def _add(self, output: Output | Console) -> None:
        output.tap = self._tap
        self.outputs.append(output)

    def begin(self) -> None:
        """Its program runs: take what it writes, and what those who are attached have typed ahead."""
        self.read_outputs()
        for attachment in self.attachments:
            attachment.hold_input(held=False)

    def read_outputs(self) -> None:
        """Begin to read; first what a dead supervisor left half-done."""
        for output in list(self.outputs):
            output.recover()
            self._watch_output(output)

    def _watch_output(self, output: Output | Console) -> None:
        self.loop.watch(output.fd, READ, lambda events: self._on_output(output, events))

    def _on_output(self, output: Output | Console, events: int) -> None:
        if not output.pump() and events & HANGUP:
            self._end_output(output)
        elif any(attachment.is_full for attachment in self.attachments):
            self.hold_outputs()

    def _end_output(self, output: Output | Console) -> None:
        """No writer is left."""
        if output not in self.outputs:
            return
        self.outputs.remove(output)
        self.loop.forget(output.fd)
        output.finish()
        if output.fd == self.console_fd:
            self.console_fd = self.stdin_fd = -1
        os.close(output.fd)

    def hold_outputs(self) -> None:
        self._is_held = True
        for output in self.outputs:
            self.loop.forget(output.fd)

    def _on_flow(self) -> None:
        """A slow client caught up, or left."""
        if not self._is_held or any(attachment.is_full for attachment in self.attachments):
            return
        self._is_held = False
        for output in self.outputs:
            self._watch_output(output)

    def end_outputs(self) -> None:
        """The process is gone: take what is left, then close."""
        for output in list(self.outputs):
            for _ in range(MAX_LAST_CHUNKS):
                if not output.pump():
                    break
            self._end_output(output)
        self.close_stdin()
        self.log.close()
        for attachment in list(self.attachments):
            attachment.end()

    # --- attached clients

    def attach(self, attachment: Attachment) -> None:
        attachment.on_input = self._on_input
        attachment.on_flow = self._on_flow
        attachment.on_close = self._on_detached
        self.attachments.append(attachment)
        if not self.is_running:  # its terminal may not be there yet, to take what is typed ahead
            attachment.hold_input(held=True)

    def _on_detached(self, attachment: Attachment) -> None:
        self.attachments.remove(attachment)
        self._on_flow()

    def _tap(self, stream: bytes, data: bytes) -> None:
        """Bytes that wait for several who are slow are there once."""
        attachments = list(self.attachments)
        is_wanted = any(each.framed and stream in each.streams for each in attachments)
        framed = frame(stream, data) if is_wanted else b""
        for attachment in attachments:
            attachment.feed(stream, framed if attachment.framed else data)

    def _on_input(self, attachment: Attachment, data: bytes) -> bool:
        """Bytes for stdin; b"" ends it. False: hold them until there is room."""
        if self.stdin_fd < 0:
            return True
        if not data:
            if not self.pending_input and not self.is_tty:
                self.close_stdin()
            return True
        self.pending_input += data
        self._write_input()
        return len(self.pending_input) < MAX_INPUT_BYTES

    def _write_input(self) -> None:
        try:
            self.pending_input = self.pending_input[os.write(self.stdin_fd, self.pending_input) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close_stdin()
            return
        if self.stdin_fd == self.console_fd:
            self._watch_console()
        elif self.pending_input:
            self.loop.watch(self.stdin_fd, WRITE, lambda _events: self._on_input_room())
        else:
            self.loop.forget(self.stdin_fd)

    def _watch_console(self) -> None:
        """The terminal is one descriptor for both directions."""
        output = next(output for output in self.outputs if output.fd == self.console_fd)

        def on_ready(events: int) -> None:
            if events & WRITE:
                self._on_input_room()
            if events & ~WRITE:
                self._on_output(output, events)

        self.loop.watch(self.console_fd, READ | (WRITE if self.pending_input else 0), on_ready)

    def _on_input_room(self) -> None:
        self._write_input()
        if len(self.pending_input) >= MAX_INPUT_BYTES:
            return
        for attachment in self.attachments:
            attachment.hold_input(held=False)
            if not self.pending_input and attachment.closes_stdin and attachment.has_ended_input:
                self.close_stdin()

    def resume_input(self) -> None:
        """After a re-execution: go on with what waits for the container's stdin."""
        if self.pending_input and self.stdin_fd >= 0:
            self._write_input()

    def close_stdin(self) -> None:
        """End the container's stdin: its reader sees the end of file. A terminal is left alone."""
        self.pending_input = b""
        if self.stdin_fd >= 0 and self.stdin_fd != self.console_fd:
            self.loop.forget(self.stdin_fd)
            os.close(self.stdin_fd)
            self.stdin_fd = -1
            self.on_stdin_closed()

    def resize(self, rows: int, columns: int) -> None:
        if self.console_fd >= 0:
            terminal.resize(self.console_fd, rows, columns)

    # --- descriptors that a client keeps, so that nothing is lost when the supervisor is killed

    def held_fds(self) -> dict[str, int]:
        """Kind -> descriptor. An open reading end keeps what is in a FIFO when all else is dead."""
        held = {output.stream.decode(): output.fd for output in self.outputs if not self.is_tty}
        if self.console_fd >= 0:
            held["console"] = self.console_fd
        elif self.stdin_fd >= 0:
            held["stdin"] = self.stdin_fd
        return held

    def was_oom_killed(self) -> bool:
        """Whether the kernel killed a process of it for lack of memory (cgroup v2, or v1)."""
        paths = (
            f"/sys/fs/cgroup/{self.cgroup}/memory.events",
            f"/sys/fs/cgroup/memory/{self.cgroup}/memory.oom_control",
        )
        for path in paths if self.cgroup else ():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                words = file.read().split()
                return b"oom_kill" in words and int(words[words.index(b"oom_kill") + 1]) > 0
        return False

    def close(self) -> None:
        """Let go of everything, without an opinion on how it ended."""
        self.end_outputs()
        self._close_root()
        if self.pidfd >= 0:
            self.loop.forget(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1


def _open_again(fd: int, flags: int) -> int:
    """The same FIFO for the container, without O_NOFOLLOW: CRIU keeps the flags of an open file, and opens
    it again by a link of /proc."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def _make_fifo(path: str) -> None:
    """A new FIFO, in the place of whatever was there: an old one may hold another life's bytes."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        os.unlink(path)
        os.mkfifo(path, 0o600)
