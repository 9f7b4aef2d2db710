"""From a forked child to its program: what a container's first process and an exec share.

Called by `child` and `join`. Imports nothing once it runs (after the root is changed an import would
load a file of the image) and never returns from `become`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's enums cost the forked child fifty pages to touch
import errno
import fcntl
import gc
import os
import resource
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress

from runtime import mounts, users
from runtime import syscalls as sys_
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.supervisor.prepare import ProcessPlan
from runtime.supervisor.report import failure, warn
from runtime.typed import NoReturn

SETUP_FAILED = 125  # exit statuses as docker run has them
GATE_LOST = 121  # of a child that was never told to start
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SYS_ADMIN = 1 << 21
_DEFAULT, _SETMASK = 0, 2  # SIG_DFL, SIG_SETMASK: the same on every architecture but alpha and sparc
_NEEDS = "hint: needs CAP_SYS_RESOURCE on the host, or another value"
_NOT_IN_PATH = "executable file not found in $PATH"  # the words that other engines look for
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def exit_status(error: BaseException) -> int:
    """The exit status that tells why no program runs."""
    if isinstance(error, ConnectionError):  # nobody is there to be told, or to open the gate
        return GATE_LOST
    cause = error.__cause__
    if isinstance(error, SetpointError) and error.op == "execute" and isinstance(cause, OSError):
        return NOT_FOUND if cause.errno == errno.ENOENT else NOT_EXECUTABLE
    return SETUP_FAILED


def leave_parent(process: ProcessPlan) -> None:
    """Drop what the fork copied: signals, session, import paths, keyring."""
    gc.disable()
    _signal.set_wakeup_fd(-1)  # it is the parent's event loop that listens there
    for number in process.ignored:
        _signal.signal(number, _DEFAULT)
    _signal.pthread_sigmask(_SETMASK, ())
    os.setsid()
    sys.path.clear()
    sys.meta_path.clear()
    os.umask(0)
    sys_.keyctl_join_session_keyring()


def set_oom_score(process: ProcessPlan, channel: socket.socket) -> None:
    """Lowering it needs CAP_SYS_RESOURCE, which a nested host lacks: a warning, since the program runs
    all the same."""
    if process.oom_score_adj is None:
        return
    try:
        write(sys_.AT_FDCWD, "/proc/self/oom_score_adj", str(process.oom_score_adj))
    except OSError as error:
        if process.oom_score_adj == 0:  # nobody asked: the host spares all of us less, this one too
            return
        wanted = f"oom_score_adj {process.oom_score_adj}"
        warn(channel, f"{wanted} is not set: {error.strerror} ({_NEEDS})")


def _set_limits(process: ProcessPlan, channel: socket.socket) -> None:
    """rlimits, as late as the right to raise them is there: they bind this interpreter too. What cannot
    be raised that far is a warning."""
    for number, soft, hard, name in process.rlimits:
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            _limit_as_far(number, soft, hard)
            warn(channel, _limit_warning(number, soft, hard, name))


def raise_limits(process: ProcessPlan) -> None:
    """The hard limits that are to be higher, before the right to raise them is left behind with the host's
    user namespace. What they bind comes with `become`."""
    for number, _, hard, _ in process.rlimits:
        soft, allowed = resource.getrlimit(number)
        if allowed >= 0 and (hard < 0 or hard > allowed):
            with suppress(OSError, ValueError):
                resource.setrlimit(number, (soft, hard))


def enter_users(users: int) -> None:
    """Enter a user namespace and be root in it. users: its descriptor, or a pidfd of a process in it. The
    kernel makes a process dumpable again when it enters one."""
    sys_.setns(users, sys_.CLONE_NEWUSER)
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _close_others(keep: int, kept: set[int]) -> None:
    """Close what the fork copied and the program is not to have. Really, not at the exec: the supervisor
    holds thousands, and a limit of open files counts from the lowest number that is free."""
    first = 3 + keep
    for number in (*sorted(number for number in kept if number >= first), 0xFFFFFFFF):
        if number > first:
            sys_.close_range(first, number - 1 if number < 0xFFFFFFFF else number, 0)
        first = number + 1


def _limit_as_far(number: int, soft: int, hard: int) -> None:
    allowed = resource.getrlimit(number)[1]
    hard = allowed if hard < 0 else min(hard, allowed) if allowed >= 0 else hard
    soft = hard if soft < 0 else min(soft, hard) if hard >= 0 else soft
    with suppress(OSError, ValueError):
        resource.setrlimit(number, (soft, hard))


def _limit_warning(number: int, soft: int, hard: int, name: str) -> str:
    got, wanted = resource.getrlimit(number), f"ulimit {name.removeprefix('RLIMIT_').lower()}"
    return f"{wanted} {soft}:{hard} is over what this host allows, it is {got[0]}:{got[1]} ({_NEEDS})"


def write(directory: int, path: str, text: str) -> None:
    """Write a file of the host's procfs below an opened directory."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=None if directory < 0 else directory)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def join_cgroups(files: tuple[str, ...]) -> None:
    """Move this process, which has one thread, into v1 hierarchies by their `tasks` files. Only its own move
    waits for no other process: see `launch`."""
    for file in files:
        try:
            write(sys_.AT_FDCWD, file, "0")
        except OSError as error:
            raise failure("join cgroup", file, error) from error


def open_profile(process: ProcessPlan) -> int:
    """The host's file that sets the AppArmor profile, opened while /proc is still the host's; -1."""
    if not process.apparmor:
        return -1
    return os.open("/proc/self/attr/apparmor/exec", os.O_RDWR | os.O_CLOEXEC)


def confine(process: ProcessPlan, profile: int) -> None:
    """Run the program under its AppArmor profile, from the coming exec on; read back, since a label that
    is missing is seen by nobody later. profile: what `open_profile` gave."""
    subject = f"apparmor profile {process.apparmor}"
    try:
        os.write(profile, f"exec {process.apparmor}".encode())
        found = os.pread(profile, 4096, 0).decode(errors="replace").strip("\0\n")
    except FileNotFoundError as error:
        hint = "load it with apparmor_parser, or name another in security_opt"
        raise Temporary("set", subject, "this host has no such profile", hint) from error
    except OSError as error:
        raise failure("set", subject, error) from error
    # "name (mode)"; one of a namespace or a stack is written otherwise than it was asked for.
    label = found.rpartition(" (")[0] or found
    is_plain = "/" not in process.apparmor and ":" not in process.apparmor
    if label in ("", "unconfined") or (is_plain and label != process.apparmor):
        raise Invalid("set", subject, f"the kernel has {label or 'none'!r} instead", "")


def attach_stdio(stdio: tuple[int, int, int], slave: int) -> None:
    """Make the given descriptors, or the terminal, 0, 1 and 2."""
    if slave >= 0:
        fcntl.ioctl(slave, sys_.TIOCSCTTY, 0)
        stdio = (slave, slave, slave)
    # Above 2 first, so that none is overwritten before it is copied.
    copies = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 3) if each < 3 else each for each in stdio]
    for number, descriptor in enumerate(copies):
        os.dup2(descriptor, number)


def become(
    process: ProcessPlan, who: users.Identity, root: int, keep: int, profile: int, channel: socket.socket
) -> NoReturn:
    """Take the identity, drop privileges, execute, where `enter_directory` led. root: a descriptor of the
    container's root, which is the process's root by now. profile: what `open_profile` gave. channel: closes
    when it is done."""
    uid, gid, groups, home = who
    _close_others(keep, {profile, channel.fileno()})
    _set_limits(process, channel)
    sys_.drop_bounding(process.drop)
    sys_.prctl(sys_.PR_SET_KEEPCAPS, 1)
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:  # EINVAL: its user namespace has no such id
        raise failure("become user", f"{uid}:{gid}", error, "is it one of the container's ids?") from error
    if process.no_new_privileges:
        sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
    os.umask(process.umask)
    for number in range(3, 3 + keep):
        with suppress(OSError):
            os.set_inheritable(number, True)
    environment = dict(process.environment)
    environment.setdefault("HOME", home)
    candidates = _candidates(process.arguments[0], environment)
    if profile >= 0:
        confine(process, profile)
    _restrict(process)
    execute(candidates, process.arguments, environment)


def identity(process: ProcessPlan, root: int) -> users.Identity:
    """Who the process is to run as. root: a descriptor of the container's root."""
    if process.lookup is not None:
        return users.resolve(root, *process.lookup)
    # Exactly those of the config: whoever wrote numbers has resolved them (a lookup adds the primary).
    home = users.home(root, process.uid)
    return users.Identity(process.uid, process.gid, process.groups, home)


def enter_directory(process: ProcessPlan, root: int, may_make: bool) -> None:
    """chdir, by a descriptor opened inside root without links of /proc: a leaked descriptor of the host
    cannot be the working directory. may_make: of a further process it must be there, since a word that was
    mistyped makes no directory in what runs."""
    try:
        if may_make:
            directory = mounts.open_target(root, process.cwd, True)
        else:
            directory = mounts.open_in_root(root, process.cwd, os.O_PATH | os.O_DIRECTORY)
        os.fchdir(directory)
        os.close(directory)
        inside = os.getcwd()
    except OSError as error:  # in words: the path is whoever asked's, the call and its descriptors are ours
        plain = OSError(error.errno, os.strerror(error.errno or 0).lower())
        raise failure("enter directory", process.cwd, plain, "another working directory") from error
    if not inside.startswith("/"):
        raise Invalid("enter directory", process.cwd, "it is outside of the root", "")


def _restrict(process: ProcessPlan) -> None:
    """Capabilities and the filter, in the order that needs the filter to allow the least."""
    needs_admin = bool(process.seccomp) and not process.no_new_privileges
    try:
        if needs_admin:
            if os.geteuid():  # root has kept its effective ones
                least = (process.permitted & sys_.capget().permitted) | _SYS_ADMIN
                sys_.capset(least, least, 0)
            sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)
            _have_told(process.seccomp_told)
        _set_capabilities(process)
        if process.seccomp and not needs_admin:
            sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)
            _have_told(process.seccomp_told)
    except OSError as error:
        raise failure("drop privileges", "process", error) from error


def _have_told(program: bytes) -> None:
    """Have the kernel log what the filter refuses. It refuses nothing itself: to be without is no fault."""
    if program:
        with suppress(OSError):
            sys_.seccomp_set_filter(program, sys_.SECCOMP_FILTER_FLAG_LOG)


def _set_capabilities(process: ProcessPlan) -> None:
    """Those of them that are held. Nearly always all are: then what is held is not asked first."""
    effective, permitted, inheritable = process.effective, process.permitted, process.inheritable
    try:
        sys_.capset(effective & permitted, permitted, inheritable)
    except PermissionError:
        held = sys_.capget().permitted
        permitted &= held
        sys_.capset(effective & permitted, permitted, inheritable & held)
    number = 0
    while process.ambient >> number:
        if process.ambient >> number & 1:
            sys_.prctl(sys_.PR_CAP_AMBIENT, sys_.PR_CAP_AMBIENT_RAISE, number)
        number += 1


def _candidates(program: str, environment: Mapping[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    path = environment.get("PATH", _DEFAULT_PATH)
    return [f"{directory or '.'}/{program}" for directory in path.split(":")]


def check_program(process: ProcessPlan) -> None:
    """Fail early, at create, when the program is not there; the root is the process's own by now."""
    for path in _candidates(process.arguments[0], process.environment):
        try:
            os.close(sys_.openat2(sys_.AT_FDCWD, path, os.O_PATH, 0, sys_.RESOLVE_NO_MAGICLINKS))
            return
        except OSError as error:
            problem = error
    searched = "/" not in process.arguments[0]
    reason = _NOT_IN_PATH if searched else os.strerror(problem.errno or 0)
    raise Invalid("execute", process.arguments[0], reason, "is it in the image?") from problem


def execute(candidates: list[str], arguments: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """execve(2) the first candidate that there is. What leads through a link of /proc is refused: it
    could be this interpreter, which the container must not get to hold."""
    problem: OSError = FileNotFoundError(errno.ENOENT, _NOT_IN_PATH)
    for path in candidates:
        try:
            if _is_there(path, 4):
                os.execve(path, arguments, environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) and problem.errno == errno.ENOENT:
                problem = error
    searched = "/" not in arguments[0] and problem.errno == errno.ENOENT
    reason = _NOT_IN_PATH if searched else os.strerror(problem.errno or 0)
    hint = "is it in the image, for this architecture?"
    raise Invalid("execute", arguments[0], reason, hint) from problem


def _is_there(path: str, depth: int) -> bool:
    """Whether a program is, with the interpreter that its first line names. ELOOP for either behind a link
    of /proc."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        opened = sys_.openat2_if_there(sys_.AT_FDCWD, path, flags, sys_.RESOLVE_NO_MAGICLINKS)
    except PermissionError:
        os.close(sys_.openat2(sys_.AT_FDCWD, path, os.O_PATH, 0, sys_.RESOLVE_NO_MAGICLINKS))
        return True
    if opened < 0:
        return False
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise PermissionError(errno.EACCES, "not a regular file")
        first = os.read(opened, 256)
    finally:
        os.close(opened)
    words = first[2:].split(b"\n", 1)[0].split() if first.startswith(b"#!") else []
    return not (words and depth) or _is_there(os.fsdecode(words[0]), depth - 1)
