"""What the supervisor does as a program, from its arguments to its end: see `main`.

It detaches itself (unless --foreground), makes sure with a lock that it is the only one of its
instance, adopts what an earlier one left running, and serves until it is told to stop. Standard library
only: what it imports is what every instance pays for in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import resource
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.supervisor.loop import Loop
    from runtime.supervisor.server import Supervisor

USAGE = "usage: main.py --socket PATH --run DIR [--cgroup NAME] [--foreground] [--ready FD] [--resume FD]"
PROGRAM = f"{os.path.dirname(os.path.abspath(__file__))}/main.py"
EXIT_USAGE = 2
EXIT_ANOTHER_RUNS = 3
MAX_ERROR_BYTES = 1 << 20


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    if options is None:
        sys.stderr.write(USAGE + "\n")
        return EXIT_USAGE
    _be_read_only()
    from runtime.supervisor import interpreter

    if interpreter.FAILPOINTS in os.environ:
        from runtime import failpoints

        failpoints.install("supervisor")
    run = options["--run"]
    if "--resume" in options:
        return _serve(options, resume=int(options["--resume"]))
    if "--foreground" not in options:
        _detach(f"{os.path.dirname(run)}/supervisor.err", int(options.get("--ready", "-1")))
    lock = _lock(f"{options['--socket']}.lock", "--foreground" in options)
    if lock < 0:
        return EXIT_ANOTHER_RUNS
    return _serve({**options, "--lock": str(lock)})


def _be_read_only() -> None:
    """Go on from a mount of the interpreter that containers cannot write through, unless started so."""
    from runtime.supervisor import interpreter

    interpreter.be_read_only()
    with open("/proc/self/comm", "w") as file:  # it would be the number of a descriptor
        file.write("supervisor")


def _parse(arguments: list[str]) -> dict[str, str] | None:
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if name == "--foreground":
            options[name] = ""
        elif name in ("--socket", "--run", "--cgroup", "--ready", "--lock", "--resume") and rest:
            options[name] = rest.pop(0)
        else:
            return None
    return options if options.keys() >= {"--socket", "--run"} else None


def _detach(error_path: str, ready: int) -> None:
    """Fork away from the starter and its terminal; errors that nobody expected go to a file."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open("/dev/null", os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    errors = os.open(error_path, flags, 0o600)
    if os.fstat(errors).st_size > MAX_ERROR_BYTES:
        os.ftruncate(errors, 0)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    for fd in os.listdir("/proc/self/fd"):
        if int(fd) > 2 and int(fd) != ready:
            try:
                os.close(int(fd))
            except OSError:  # the descriptor of the listing itself
                continue


def _lock(path: str, waits: bool) -> int:
    """A lock held until this process ends, over execve too: two starters make one supervisor. -1: it
    is held by another. A service waits for that one's end: giving up, it would be started over and over.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waits:
            sys.stderr.write("another supervisor of this instance runs: waiting until it ends\n")
            fcntl.flock(fd, fcntl.LOCK_EX)
            return fd
        os.close(fd)
        return -1
    return fd


def _bind(path: str) -> socket.socket:
    """A listening socket that appears with its mode, in the place of a dead supervisor's."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # of one that was killed right here: we have its lock
    listener.bind(temporary)
    os.chmod(temporary, 0o600)
    listener.listen(64)
    os.rename(temporary, path)
    return listener


def _serve(options: dict[str, str], resume: int = -1) -> int:
    from runtime import syscalls
    from runtime.program import Program
    from runtime.supervisor import adoption, immortal, operations, own_cgroup, own_socket, reexec
    from runtime.supervisor.loop import Loop
    from runtime.supervisor.server import Supervisor

    immortal.make_immortal()
    if "--cgroup" in options and "--foreground" not in options and resume < 0:
        own_cgroup.enter(options["--cgroup"])
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    _protect()
    os.makedirs(options["--run"], 0o700, exist_ok=True)
    loop = Loop()
    server = Supervisor(loop, options["--run"])
    server.operations.update(operations.OPERATIONS)
    server.reexecute = lambda: reexec.reexecute(server, _command(options), int(options["--lock"]))
    server.is_outdated = Program().is_outdated
    loop.watch_children(server.reap)
    if resume >= 0:
        server.listen(reexec.thaw(server, resume))
    else:
        listener = _bind(options["--socket"])
        adoption.adopt_all(server)
        server.listen(listener)
        _tell_ready(int(options.get("--ready", "-1")))
    own_socket.keep(server, options["--socket"], _bind)
    _keep_watchdog_quiet(loop)
    server.reap()
    # What is here now stays: children need not copy its pages to count references of a collection.
    gc.collect()
    gc.freeze()
    syscalls.trim_malloc()
    loop.run()
    _leave(options["--socket"], server)
    return 0


def _keep_watchdog_quiet(loop: Loop) -> None:
    """A sign of life to systemd from the loop itself; to kill one that hangs stops no container."""
    from runtime.service_manager import notify, watchdog_seconds

    seconds = watchdog_seconds()
    if seconds is None:
        return

    def tell() -> None:
        notify("WATCHDOG=1")
        loop.call_later(seconds, tell)

    tell()


def _command(options: dict[str, str]) -> list[str]:
    """How to execute this program again."""
    return [
        sys.executable, "-I", "-S", PROGRAM,
        "--socket", options["--socket"], "--run", options["--run"],
        "--lock", options["--lock"],
        *(("--cgroup", options["--cgroup"]) if "--cgroup" in options else ()),
        *(("--foreground",) if "--foreground" in options else ()),
    ]  # fmt: skip


def _protect() -> None:
    """Have descriptors for as many containers as this host allows, and be among the last that an
    out-of-memory kill takes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-900")
    except OSError:
        return


def _tell_ready(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(BrokenPipeError):  # the starter was killed meanwhile: the next one connects
            os.write(fd, b"ready\n")
        os.close(fd)


def _leave(path: str, server: Supervisor) -> None:
    for connection in list(server.connections.values()):
        server.close_connection(connection)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
