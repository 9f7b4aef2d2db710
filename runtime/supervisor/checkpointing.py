"""CRIU as a child of the supervisor: `checkpoint` writes a container's processes to files, `restore` is a
start from such files.

    checkpoint   spawn criu dump ──ends──> the answer, with the keys of what lies outside
    restore      cgroups, FIFOs, restoring.json ─> fork: cgroups, own mounts, root ─> exec criu restore
                 ──ends well──> its child is ours now (we are the subreaper): state.json, running
                 ──else──> everything in the cgroup is killed, the starter is told

A child of the supervisor, and not of the agent: a CRIU that is killed in the middle of a dump leaves
processes that do not go on. Killed in the middle of a restore, we leave restoring.json: `adoption`
ends what nobody knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time

from runtime import cgroups, mounts, syscalls
from runtime.checkpoints import criu, outside
from runtime.errors import Conflict, Invalid, Temporary
from runtime.supervisor import launch, process, records, rootfs, starting
from runtime.supervisor.container import Container
from runtime.supervisor.prepare import Plan, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from runtime.supervisor.server import Reply, Supervisor

RESTORE_SECONDS = 600.0  # of memory that comes back from a slow disk
STAGE = "restored"  # below the run directory: the sources of its mounts, in CRIU's own mount namespace
MAX_LOG_BYTES = 1 << 20
_FIRST = 10  # of the descriptors that CRIU is handed
_COULD_NOT_RUN = 127
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by this interpreter


def checkpoint(server: Supervisor, container: Container, wish: Mapping[str, Any], reply: Reply) -> None:
    """Answers when the images are there: {files}, or {failure}, in words. The container stays frozen."""
    files = _outside_files(container)
    keys = [_network_key(files["network"]) if name == "network" else key for name, key in files.items()]
    command = criu.dump_command(
        str(wish["program"]), container.pid, str(wish["images"]), str(wish["freezer"]), wish["mounts"], keys
    )
    log = f"{wish['images']}/{criu.LOG}"
    pid = os.posix_spawn(
        command[0], command, criu.ENVIRONMENT, setsid=True, setsigmask=(), setsigdef=_IGNORED,
        file_actions=[(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)],
    )  # fmt: skip

    def answer(code: int) -> None:
        reply.result({"files": files} if code == 0 else {"failure": criu.told(_read_log(log))})

    server.tools[pid] = answer


def _outside_files(container: Container) -> dict[str, str]:
    """Its stdio, which is ours, and its network namespace, which is the engine's: how CRIU names each."""
    stdin = f"{container.directory}/stdin" if container.has_stdin else "/dev/null"
    found = {"stdin": _file_key(stdin)}
    found |= {stream: _file_key(f"{container.directory}/{stream}") for stream in ("stdout", "stderr")}
    own, ours = os.stat(f"/proc/{container.pid}/ns/net"), os.stat("/proc/self/ns/net")
    return found if own.st_ino == ours.st_ino else {**found, "network": str(own.st_ino)}


def _network_key(inode: str) -> str:
    return criu.network_key(int(inode))


def _file_key(path: str) -> str:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return criu.file_key(syscalls.mount_id(fd), os.fstat(fd).st_ino)
    finally:
        os.close(fd)


def restore(server: Supervisor, container: Container, wish: Mapping[str, Any]) -> None:
    """As `starting.start`, from a checkpoint's images; `container.on_started` hears how it went."""
    config = starting.read_config(container.directory)
    container.cgroup = str(config.get("linux", {}).get("cgroupsPath", ""))
    plan = prepare(config, container.bundle, None)
    directories = cgroups.create(plan.cgroup, (config.get("linux") or {}).get("resources") or {})
    stdio = starting.make_fifos(container)
    try:
        os.makedirs(f"{container.directory}/{STAGE}", 0o700, exist_ok=True)
        for left in (criu.LOG, criu.PID_FILE):
            records.remove(container.directory, left)
        records.write(container.directory, records.RESTORING, container.to_record())
        cloned, procs = launch.fork_into(directories)
    except BaseException:
        container.close()
        starting.close(stdio)
        raise
    if cloned.pid == 0:
        _become_criu(plan, container.directory, wish, stdio, procs)
    os.close(cloned.pidfd)
    starting.close(stdio)
    server.containers[container.name] = container
    restoring = _Restoring(server, container)
    server.tools[cloned.pid] = restoring.end


class _Restoring:
    """A CRIU that makes a container's processes again."""

    def __init__(self, server: Supervisor, container: Container) -> None:
        self._server = server
        self._container = container
        self._is_late = False
        self._deadline = server.loop.call_later(RESTORE_SECONDS, self._on_deadline)

    def _on_deadline(self) -> None:
        self._is_late = True
        cgroups.kill(self._container.cgroup)

    def end(self, code: int) -> None:
        self._deadline.cancel()
        container, error = self._container, self._outcome(code)
        for name in (records.RESTORING, criu.PID_FILE):  # before anybody is told: it is settled then
            records.remove(container.directory, name)
        with contextlib.suppress(OSError):
            os.rmdir(f"{container.directory}/{STAGE}")
        if error is None:
            container.is_running = True
            container.begin()
        else:
            container.close()
        container.tell_started(error)
        self._server.reexec_if_wanted()

    def _outcome(self, code: int) -> Exception | None:
        """None when its processes are there, and ours; else nothing of them is left."""
        container = self._container
        try:
            if code:
                raise self._error()
            self._take_over()
        except Exception as error:
            starting.tell_bug(error)
            with contextlib.suppress(Exception):
                cgroups.kill(container.cgroup)
            self._server.by_pid.pop(container.pid, None)
            self._server.containers.pop(container.name, None)
            return error
        return None

    def _error(self) -> Exception:
        name = self._container.name
        if self._is_late:
            return Temporary("start", name, f"criu made no processes of it within {RESTORE_SECONDS:.0f} s")
        words = criu.told(_read_log(f"{self._container.directory}/{criu.LOG}"))
        return Conflict("start", name, f"criu could not make its processes again: {words}")

    def _take_over(self) -> None:
        """CRIU was the parent of its first process: that is our child since."""
        container = self._container
        with open(f"{container.directory}/{criu.PID_FILE}") as file:
            container.pid = int(file.read(32))
        container.pidfd = os.pidfd_open(container.pid)
        container.is_child = True
        container.start_time = records.start_time(container.pid) or 0
        container.started_at = time.time()
        self._server.register(container)
        records.write(container.directory, records.STATE, container.to_record())


# --- the forked child


def _become_criu(
    plan: Plan, directory: str, wish: Mapping[str, Any], stdio: tuple[int, int, int], procs: tuple[str, ...]
) -> NoReturn:
    """In the container's control groups, so that its memory counts there, and what it makes is born there."""
    try:
        process.leave_parent(plan.process)
        process.join_cgroups(procs)
        syscalls.unshare(syscalls.CLONE_NEWNS | plan.flags & syscalls.CLONE_NEWCGROUP)
        syscalls.mount(None, "/", None, syscalls.MS_PRIVATE | syscalls.MS_REC)
        root = rootfs.mount_root(plan)
        sources = _stage(plan, f"{directory}/{STAGE}", wish["mounts"])
        inherited = _inherited(plan, stdio, wish["files"])
        command = criu.restore_command(
            wish["program"], wish["images"], _path_of(root), directory, inherited, sources
        )
        for number in range(3):
            os.dup2(os.open("/dev/null", os.O_RDWR), number)
        syscalls.close_range(3, _FIRST - 1, 0)
        syscalls.close_range(_FIRST + len(inherited), 0xFFFFFFFF, 0)
        os.execve(command[0], command, criu.ENVIRONMENT)
    except BaseException as error:
        with contextlib.suppress(BaseException), open(f"{directory}/{criu.LOG}", "w") as file:
            file.write(f"Error ({criu.PACKAGE}): {error}\n")
    finally:
        os._exit(_COULD_NOT_RUN)


def _path_of(descriptor: int) -> str:
    """Where a mount that is nobody else's to see lies."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _stage(plan: Plan, directory: str, wanted: list[str]) -> list[str]:
    """The sources of its mounts, each opened as for any start and mounted below a directory of ours: CRIU
    goes by paths, and who can write somewhere on the way to a source must not lead it elsewhere."""
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    tree = mounts.new_tree("tmpfs", "mode=700,size=4m", 0)
    mounts.attach(tree, place)
    for index, what in enumerate(wanted):
        source = _source(plan, what)
        is_directory = os.path.isdir(f"/proc/self/fd/{source}")
        target = mounts.open_target(tree, f"/{criu.mount_name(index)}", is_directory)
        mounts.attach(source, target)
        os.close(target)
        os.close(source)
    return [f"{directory}/{criu.mount_name(index)}" for index in range(len(wanted))]


def _source(plan: Plan, what: str) -> int:
    """The detached mount of what `outside.find_mounts` found."""
    if what == outside.NULL:
        null = rootfs.open_null()
        return mounts.bind_tree(null, "")
    if what.startswith(outside.CGROUP):
        name = what.removeprefix(outside.CGROUP)
        for each, directory in plan.cgroups:
            if each == name:
                return mounts.bind_tree(syscalls.AT_FDCWD, directory)
    for mount in plan.mounts:
        if mount.kind == "bind" and what == outside.BIND + mount.target:
            tree = mounts.source_tree(mount)
            mounts.set_bind(tree, mount, True)
            return tree
    raise Invalid("restore", what, "the container has no such mount any more")


def _inherited(plan: Plan, stdio: tuple[int, int, int], files: Mapping[str, str]) -> dict[str, int]:
    """Key -> descriptor, from _FIRST on, of what lies outside."""
    opened = dict(zip(("stdin", "stdout", "stderr"), stdio, strict=True))
    found: dict[str, int] = {}
    copies = []
    for name, key in files.items():
        if name == "network":
            path = next(path for flag, path in plan.joins if flag == syscalls.CLONE_NEWNET)
            fd, key = os.open(path, os.O_RDONLY | os.O_CLOEXEC), criu.NETWORK
        else:
            fd = opened[name]
        copies.append((key, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST + len(files))))
    for number, (key, fd) in enumerate(copies, _FIRST):
        os.dup2(fd, number)
        found[key] = number
    return found


def _read_log(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, MAX_LOG_BYTES, max(0, size - MAX_LOG_BYTES)).decode(errors="replace")
    finally:
        os.close(fd)
