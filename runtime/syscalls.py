"""The system calls that Python's `os` lacks: one thin function each, and the only ctypes for them.

Called by the supervisor and its forked children, by the network and image code, and by the tests.
Every symbol is resolved at import, so that a forked child which has already changed its root never
loads a library. A failure is an OSError whose message holds the call's name and its arguments.
Decides nothing, retries nothing, keeps no state.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Callable, Iterable, Sequence

from runtime.typed import Any, NamedTuple

# --- constants (linux/mount.h, fcntl.h, sched.h, openat2.h, prctl.h, seccomp.h) -----------------

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_STATX_DONT_SYNC = 0x4000
AT_SYMLINK_NOFOLLOW = 0x100

CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200
CLONE_PIDFD = 0x00001000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000  # kernel 5.7

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONESHOT = 0x80000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_SYMLINKS = 0x01
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_SYMLINKS = 0x10
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_PATH = 3
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000  # kernel 5.12
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_GET_DUMPABLE = 3
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_FILTER_FLAG_TSYNC = 1
SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

KEYCTL_JOIN_SESSION_KEYRING = 1

PIDFD_INFO_PID = 1
PIDFD_INFO_CREDS = 2
PIDFD_INFO_CGROUPID = 4
PIDFD_INFO_EXIT = 8  # kernel 6.15

TIOCSCTTY = 0x540E
TIOCSWINSZ = 0x5414
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441  # kernel 4.13
STATX_NLINK = 0x4
STATX_MNT_ID = 0x1000
STATX_MNT_ID_UNIQUE = 0x4000
_STATX_ATTR_MOUNT_ROOT = 0x2000

# Calls from 424 on have the same number on every architecture; these few older ones that the C
# library does not wrap have not.
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "keyctl": 250, "bpf": 321},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "keyctl": 219, "bpf": 280},
    "riscv64": {"pivot_root": 41, "seccomp": 277, "keyctl": 219, "bpf": 280},
    "ppc64le": {"pivot_root": 203, "seccomp": 358, "keyctl": 271, "bpf": 361},
    "s390x": {"pivot_root": 217, "seccomp": 348, "keyctl": 280, "bpf": 351},
}
# io_setup(2), which has io_destroy(2) behind it, io_getevents(2) and io_submit(2).
_AIO_NUMBERS = {"x86_64": (206, 208, 209), "ppc64le": (227, 229, 230), "s390x": (243, 245, 246)}
_HERE = _NUMBERS.get(os.uname().machine, _NUMBERS["aarch64"])
_NR_IO_SETUP, _NR_IO_GETEVENTS, _NR_IO_SUBMIT = _AIO_NUMBERS.get(os.uname().machine, (0, 4, 2))
_NR_PIVOT_ROOT = _HERE["pivot_root"]
_NR_SECCOMP = _HERE["seccomp"]
_NR_KEYCTL = _HERE["keyctl"]
_NR_BPF = _HERE["bpf"]
_NR_PIDFD_SEND_SIGNAL = 424
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_PIDFD_OPEN = 434
_NR_CLONE3 = 435
_NR_CLOSE_RANGE = 436
_NR_OPENAT2 = 437
_NR_PIDFD_GETFD = 438
_NR_MOUNT_SETATTR = 442
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_ARENA_MAX = -1, -2, -8  # malloc.h

# linux/aio_abi.h; its key and flags, which are zero, change places with the order of bytes.
_IOCB, _IO_EVENT = struct.Struct("=QIIHhIQQqQII"), struct.Struct("=QQqq")
_IOCB_CMD_FDSYNC, _IOCB_FLAG_RESFD = 3, 1

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_mount = _libc.mount
_umount2 = _libc.umount2
_setns = _libc.setns
_unshare = _libc.unshare
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int, *(ctypes.c_ulong,) * 4]
_capget = _libc.capget
_capset = _libc.capset
_syncfs = _libc.syncfs
_renameat2 = _libc.renameat2
_sethostname = _libc.sethostname
_setfsuid = _libc.setfsuid
_setfsgid = _libc.setfsgid
_setdomainname = _libc.setdomainname
_statx = _libc.statx
_fstatfs = _libc.fstatfs
_fchownat = _libc.fchownat
_inotify_init1 = _libc.inotify_init1
_inotify_add_watch = _libc.inotify_add_watch
_inotify_rm_watch = _libc.inotify_rm_watch
_ENCODING, _ENCODING_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def _of_kinds(kinds: str) -> Callable[..., int]:
    """syscall(2) for a call with such arguments after its number, i: an integer, t: bytes or None. What is
    known before needs no object for each argument."""
    types = (ctypes.c_char_p if kind == "t" else ctypes.c_long for kind in kinds)
    made: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *types, use_errno=True)(
        ("syscall", _libc)
    )
    return made


_openat2 = _of_kinds("itti")
_open_tree = _of_kinds("iti")
_move_mount = _of_kinds("ititi")
_fsopen = _of_kinds("ti")
_fsconfig = _of_kinds("iitti")
_fsmount = _of_kinds("iii")
_mount_setattr = _of_kinds("ititi")
_Buffer = ctypes.c_char * 256
_OPEN_HOW, _MOUNT_ATTR = struct.Struct("=QQQ"), struct.Struct("=QQQQ")
_uint = ctypes.c_uint
_long = ctypes.c_long
_ulong = ctypes.c_ulong
_NULL = ctypes.c_void_p(None)

# clone3 must run with the interpreter lock held: the child has only this one thread, and a lock
# released around the call could be taken by a thread that does not exist there.
_held = ctypes.PyDLL(None, use_errno=True)
_held_syscall = _held.syscall
_held_syscall.restype = ctypes.c_long
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
for _hook in (_before_fork, _after_fork_parent, _after_fork_child):
    _hook.restype = None
    _hook.argtypes = []


def _failed(name: str, *arguments: object) -> OSError:
    """The OSError for the call that has just failed on this thread."""
    number = ctypes.get_errno()
    shown = ", ".join(repr(argument) for argument in arguments)
    return OSError(number, f"{name}({shown}): {os.strerror(number)}")


def _text(value: str | bytes | None) -> bytes | None:
    """As os.fsencode, which takes a dozen steps of the interpreter for each of a start's 200 texts."""
    return value.encode(_ENCODING, _ENCODING_ERRORS) if isinstance(value, str) else value


# --- files --------------------------------------------------------------------------------------


def openat2(directory: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), kernel 5.6. Returns a descriptor; O_CLOEXEC is always added."""
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    result = _openat2(_NR_OPENAT2, directory, _text(path), how, _OPEN_HOW.size)
    if result < 0:
        raise _failed("openat2", directory, path, flags, mode, resolve)
    return result


def openat2_if_there(directory: int, path: str | bytes, flags: int, resolve: int = 0) -> int:
    """As `openat2`; -1 when nothing has that name: a search meets that more often than not, and an exception
    costs a forked child more than the call."""
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    result = _openat2(_NR_OPENAT2, directory, _text(path), how, _OPEN_HOW.size)
    if result < 0 and ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR):
        raise _failed("openat2", directory, path, flags, 0, resolve)
    return result


def renameat2(old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
    """renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE."""
    if _renameat2(old_directory, _text(old), new_directory, _text(new), flags) < 0:
        raise _failed("renameat2", old_directory, old, new_directory, new, flags)


def syncfs(descriptor: int) -> None:
    """syncfs(2): write out the whole file system that holds descriptor."""
    if _syncfs(descriptor) < 0:
        raise _failed("syncfs", descriptor)


def io_setup(count: int) -> int:
    """io_setup(2): a place for so many calls that the kernel makes by itself."""
    context = _ulong(0)
    if _syscall(_long(_NR_IO_SETUP), _uint(count), ctypes.byref(context)) < 0:
        raise _failed("io_setup", count)
    return context.value


def io_destroy(context: int) -> None:
    """io_destroy(2); waits for what is under way."""
    if _syscall(_long(_NR_IO_SETUP + 1), _ulong(context)) < 0:
        raise _failed("io_destroy")


def io_submit_fdatasync(context: int, descriptor: int, number: int, event: int) -> None:
    """io_submit(2) of an fdatasync(2), kernel 4.18. event: an eventfd that tells of its end. number: what
    `io_getevents` calls it. The descriptor may be closed at once."""
    order = _IOCB.pack(number, 0, 0, _IOCB_CMD_FDSYNC, 0, descriptor, 0, 0, 0, 0, _IOCB_FLAG_RESFD, event)
    kept = ctypes.create_string_buffer(order, len(order))
    orders = (ctypes.c_void_p * 1)(ctypes.addressof(kept))
    if _syscall(_long(_NR_IO_SUBMIT), _ulong(context), _long(1), orders) != 1:
        raise _failed("io_submit", descriptor)


def io_getevents(context: int, most: int) -> list[tuple[int, int]]:
    """io_getevents(2): what has ended, each with its number, and its result or minus the error's number.
    Does not wait."""
    found = ctypes.create_string_buffer(most * _IO_EVENT.size)
    count: int = _syscall(_long(_NR_IO_GETEVENTS), _ulong(context), _long(0), _long(most), found, _NULL)
    if count < 0:
        raise _failed("io_getevents", most)
    return [
        (number, result)
        for number, _, result, _ in _IO_EVENT.iter_unpack(found.raw[: count * _IO_EVENT.size])
    ]


def chown_descriptor(descriptor: int, uid: int, gid: int) -> None:
    """fchownat(2) of what an O_PATH descriptor stands for, be it a link."""
    if _fchownat(descriptor, b"", _uint(uid), _uint(gid), AT_EMPTY_PATH) < 0:
        raise _failed("fchownat", descriptor, uid, gid)


def setxattr(path: str | int, name: str, value: bytes, flags: int = 0, follow: bool = True) -> None:
    """setxattr(2) on a path or a descriptor (not an O_PATH one)."""
    os.setxattr(path, name, value, flags, follow_symlinks=follow)


def mount_id(descriptor: int) -> int:
    """The id of the mount that descriptor (O_PATH too) lies on, statx(2) STATX_MNT_ID, kernel 5.8."""
    buffer = _Buffer()
    if _statx(descriptor, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, buffer) < 0:
        raise _failed("statx", descriptor)
    value: int = struct.unpack_from("=Q", buffer, 0x90)[0]
    return value


class MountRoot(NamedTuple):
    """is_root: a mount begins there. links: names that what is mounted still has; 0 when it was removed."""

    is_root: bool
    links: int


def mount_root(descriptor: int) -> MountRoot:
    """What a descriptor (O_PATH too) is as a mount point, statx(2) STATX_ATTR_MOUNT_ROOT, kernel 5.8."""
    buffer = _Buffer()
    if _statx(descriptor, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, buffer) < 0:
        raise _failed("statx", descriptor)
    attributes, links = struct.unpack_from("=QI", buffer, 8)
    return MountRoot(bool(attributes & _STATX_ATTR_MOUNT_ROOT), links)


def lasting_mount_id(descriptor: int) -> int:
    """The id of the mount that descriptor lies on, which no other mount ever has: statx(2)
    STATX_MNT_ID_UNIQUE, kernel 6.8; 0 before. Asks no server (AT_STATX_DONT_SYNC)."""
    buffer = _Buffer()
    flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC
    if _statx(descriptor, b"", flags, STATX_MNT_ID_UNIQUE, buffer) < 0:
        raise _failed("statx", descriptor)
    if not struct.unpack_from("=I", buffer, 0)[0] & STATX_MNT_ID_UNIQUE:
        return 0
    value: int = struct.unpack_from("=Q", buffer, 0x90)[0]
    return value


def file_system(descriptor: int) -> int:
    """The magic number of the file system that descriptor (O_PATH too) lies on, fstatfs(2) f_type."""
    buffer = _Buffer()
    if _fstatfs(descriptor, buffer) < 0:
        raise _failed("fstatfs", descriptor)
    value: int = struct.unpack_from("=I", buffer)[0]
    return value


def close_range(first: int, last: int, flags: int = 0) -> None:
    """close_range(2), kernel 5.9 (CLOSE_RANGE_CLOEXEC: 5.11)."""
    if _syscall(_long(_NR_CLOSE_RANGE), _ulong(first), _ulong(last), _long(flags)) < 0:
        raise _failed("close_range", first, last, flags)


# --- mounts -------------------------------------------------------------------------------------


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2)."""
    if _mount(_text(source), _text(target), _text(kind), _ulong(flags), _text(data)) < 0:
        raise _failed("mount", source, target, kind, flags, data)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2): MNT_DETACH, UMOUNT_NOFOLLOW."""
    if _umount2(_text(target), flags) < 0:
        raise _failed("umount2", target, flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). (".", ".") stacks the old root on the new one, to be detached by umount2(".")."""
    if _syscall(_long(_NR_PIVOT_ROOT), _text(new_root), _text(put_old)) < 0:
        raise _failed("pivot_root", new_root, put_old)


def open_tree(directory: int, path: str, flags: int, *, if_there: bool = False) -> int:
    """open_tree(2), kernel 5.2: with OPEN_TREE_CLONE a detached copy of the mount, as a descriptor.
    if_there: -1 when nothing has that name, as `openat2_if_there`."""
    result = _open_tree(_NR_OPEN_TREE, directory, _text(path), flags | OPEN_TREE_CLOEXEC)
    if result < 0:
        if if_there and ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return -1
        raise _failed("open_tree", directory, path, flags)
    return result


def move_mount(from_directory: int, from_path: str, to_directory: int, to_path: str, flags: int) -> None:
    """move_mount(2), kernel 5.2: attach a detached mount, or move one."""
    if _move_mount(_NR_MOVE_MOUNT, from_directory, _text(from_path), to_directory, _text(to_path), flags) < 0:
        raise _failed("move_mount", from_directory, from_path, to_directory, to_path, flags)


def fsopen(kind: str) -> int:
    """fsopen(2), kernel 5.2: a descriptor to configure a new file system of this kind."""
    result = _fsopen(_NR_FSOPEN, _text(kind), FSOPEN_CLOEXEC)
    if result < 0:
        raise _failed("fsopen", kind)
    return result


def fsconfig(descriptor: int, command: int, key: str | None, value: str | None, auxiliary: int = 0) -> None:
    """fsconfig(2): set one option, or FSCONFIG_CMD_CREATE. The error holds the kernel's own message."""
    if _fsconfig(_NR_FSCONFIG, descriptor, command, _text(key), _text(value), auxiliary) < 0:
        error = _failed("fsconfig", descriptor, command, key, value, auxiliary)
        raise OSError(error.errno, f"{error.args[1]}{_fs_message(descriptor)}")


def _fs_message(descriptor: int) -> str:
    try:
        message = os.read(descriptor, 4096)
    except OSError:
        return ""
    return f" ({message.decode(errors='replace').strip()})"


def fsmount(descriptor: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount of a configured file system, as a descriptor (MOUNT_ATTR_*)."""
    result = _fsmount(_NR_FSMOUNT, descriptor, FSMOUNT_CLOEXEC, attributes)
    if result < 0:
        raise _failed("fsmount", descriptor, attributes)
    return result


def mount_setattr(
    directory: int, path: str, flags: int, set_: int, clear: int = 0, propagation: int = 0, userns: int = 0
) -> None:
    """mount_setattr(2), kernel 5.12: MOUNT_ATTR_* to set and to clear, MS_PRIVATE etc. as propagation."""
    attributes = _MOUNT_ATTR.pack(set_, clear, propagation, userns)
    if _mount_setattr(_NR_MOUNT_SETATTR, directory, _text(path), flags, attributes, _MOUNT_ATTR.size) < 0:
        raise _failed("mount_setattr", directory, path, flags, set_, clear, propagation, userns)


# --- inotify ------------------------------------------------------------------------------------


def inotify_init() -> int:
    """inotify_init1(2), non-blocking."""
    descriptor: int = _inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        raise _failed("inotify_init1")
    return descriptor


def inotify_add_watch(descriptor: int, path: str, mask: int) -> int:
    """inotify_add_watch(2): the watch's number."""
    watch: int = _inotify_add_watch(descriptor, _text(path), mask)
    if watch < 0:
        raise _failed("inotify_add_watch", path, mask)
    return watch


def inotify_rm_watch(descriptor: int, watch: int) -> None:
    """inotify_rm_watch(2)."""
    if _inotify_rm_watch(descriptor, watch) < 0:
        raise _failed("inotify_rm_watch", watch)


# --- processes and namespaces -------------------------------------------------------------------


def setns(descriptor: int, flags: int = 0) -> None:
    """setns(2). descriptor is a namespace's file, or (kernel 5.8) a pidfd with CLONE_NEW* flags."""
    if _setns(descriptor, flags) < 0:
        raise _failed("setns", descriptor, flags)


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _unshare(ctypes.c_int(flags)) < 0:
        raise _failed("unshare", flags)


class Cloned(NamedTuple):
    """pid 0 in the child; in the parent its pid and a pidfd (-1 without CLONE_PIDFD)."""

    pid: int
    pidfd: int


_CHILD = Cloned(0, -1)
_CLONE3_ARGUMENTS = struct.Struct("=11Q")


class Clone3:
    """A clone3(2) whose arguments are in place, for `clone3_each`. The parameters are those of `clone3`."""

    __slots__ = ("_error", "_pid", "_pidfd", "arguments", "shown")

    def __init__(self, flags: int, exit_signal: int = 17, cgroup: int = 0) -> None:
        self._pidfd = ctypes.c_int(-1)
        self._pid = 0
        self._error: OSError | None = None
        address = ctypes.addressof(self._pidfd) if flags & CLONE_PIDFD else 0
        self.arguments = _CLONE3_ARGUMENTS.pack(flags, address, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup)
        self.shown = flags, exit_signal, cgroup

    def done(self, pid: int) -> None:
        """What the call gave, in the parent."""
        self._pid = pid
        if pid < 0:
            self.fail(_failed("clone3", *self.shown))

    def fail(self, error: OSError) -> None:
        """There will be none."""
        self._error = error

    def result(self) -> Cloned:
        """The child, in the parent. Raises what `done` or `fail` was told."""
        if self._error is not None:
            raise self._error
        return Cloned(self._pid, self._pidfd.value)


def clone3_each(clones: Sequence[Clone3]) -> int:
    """Call them one right after the other. Returns in each child, with its number among them; in the parent
    at last, with -1.

    Between two forks the kernel copies every page that this interpreter writes to: so little does it here
    that they are 25, where a `clone3` with what belongs to it writes to 250.
    """
    # The interpreter's own work around a fork is about other threads and their locks. Without any it
    # is left out: it touches a hundred pages, each of which the kernel then copies.
    alone = len(sys._current_frames()) == 1
    number, size = _long(_NR_CLONE3), _long(_CLONE3_ARGUMENTS.size)
    for index, clone in enumerate(clones):
        if not alone:
            _before_fork()
        pid: int = _held_syscall(number, clone.arguments, size)
        if pid == 0:
            if not alone:
                _after_fork_child()
            return index
        clone.done(pid)  # first of all: it may read errno
        if not alone:
            _after_fork_parent()
    return -1


def clone3(flags: int, exit_signal: int = 17, cgroup: int = 0) -> Cloned:
    """clone3(2), kernel 5.3, as os.fork() with namespaces: returns twice.

    cgroup: a descriptor of a v2 cgroup directory, with CLONE_INTO_CGROUP (kernel 5.7). CLONE_VM and
    CLONE_THREAD must not be given. The child is to execute a program or to exit, soon.
    """
    clone = Clone3(flags, exit_signal, cgroup)
    return clone.result() if clone3_each((clone,)) < 0 else _CHILD


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2), kernel 5.3."""
    result: int = _syscall(_long(_NR_PIDFD_OPEN), _long(pid), _long(flags))
    if result < 0:
        raise _failed("pidfd_open", pid, flags)
    return result


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2), kernel 5.1."""
    if _syscall(_long(_NR_PIDFD_SEND_SIGNAL), _long(pidfd), _long(signal), _NULL, _long(0)) < 0:
        raise _failed("pidfd_send_signal", pidfd, signal)


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """pidfd_getfd(2), kernel 5.6: a copy of another process's descriptor."""
    result: int = _syscall(_long(_NR_PIDFD_GETFD), _long(pidfd), _long(descriptor), _long(0))
    if result < 0:
        raise _failed("pidfd_getfd", pidfd, descriptor)
    return result


class PidfdInfo(NamedTuple):
    """What PIDFD_GET_INFO told. exit_status is as of waitpid(2), None while unknown."""

    pid: int
    parent: int
    cgroup_id: int
    exit_status: int | None


_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11


def pidfd_getinfo(pidfd: int) -> PidfdInfo:
    """ioctl PIDFD_GET_INFO, kernel 6.13; the exit status of a reaped process from 6.15 on.

    Works for a process that is not our child, if the pidfd was opened before it was reaped.
    """
    wanted = PIDFD_INFO_PID | PIDFD_INFO_CGROUPID | PIDFD_INFO_EXIT
    buffer = bytearray(struct.pack("=Q", wanted).ljust(64, b"\0"))
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    mask, cgroup_id, pid, _tgid, parent = struct.unpack_from("=QQIII", buffer)
    status = struct.unpack_from("=i", buffer, 60)[0] if mask & PIDFD_INFO_EXIT else None
    return PidfdInfo(pid, parent, cgroup_id, status)


def prctl(option: int, second: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """prctl(2) with integer arguments."""
    result: int = _prctl(option, second, third, fourth, fifth)
    if result < 0:
        raise _failed("prctl", option, second, third, fourth, fifth)
    return result


def drop_bounding(capabilities: Iterable[int]) -> None:
    """prctl(2) PR_CAPBSET_DROP of each. EINVAL is no error: a capability that this kernel does not know."""
    for number in capabilities:
        _prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


def setfsids(uid: int, gid: int) -> None:
    """setfsuid(2) and setfsgid(2): whose the files are that this thread makes. They tell no error, so a
    second call asks what it is now."""
    _setfsgid(gid)
    _setfsuid(uid)
    if (_setfsuid(ctypes.c_uint(-1 & 0xFFFFFFFF)), _setfsgid(ctypes.c_uint(-1 & 0xFFFFFFFF))) != (uid, gid):
        raise OSError(1, f"setfsuid({uid}), setfsgid({gid}): {os.strerror(1)}")


def sethostname(name: str) -> None:
    """sethostname(2), at most 64 bytes."""
    encoded = os.fsencode(name)
    if _sethostname(encoded, ctypes.c_size_t(len(encoded))) < 0:
        raise _failed("sethostname", name)


def setdomainname(name: str) -> None:
    """setdomainname(2), at most 64 bytes."""
    encoded = os.fsencode(name)
    if _setdomainname(encoded, ctypes.c_size_t(len(encoded))) < 0:
        raise _failed("setdomainname", name)


def keyctl_join_session_keyring(name: str | None = None) -> int:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a new session keyring for this process."""
    result: int = _syscall(_long(_NR_KEYCTL), _long(KEYCTL_JOIN_SESSION_KEYRING), _text(name))
    if result < 0:
        raise _failed("keyctl", "join_session_keyring", name)
    return result


# --- privileges ---------------------------------------------------------------------------------

_CAPABILITY_HEADER = struct.Struct("=Ii")
_CAPABILITY_VERSION_3 = 0x20080522
# Kept: ctypes makes the type anew where nothing has it, which costs a forked child fifty pages.
_CapabilityData = ctypes.c_char * 24


class Capabilities(NamedTuple):
    """Sets as bit masks: bit n is capability number n."""

    effective: int
    permitted: int
    inheritable: int


def capget(pid: int = 0) -> Capabilities:
    """capget(2): the sets of a thread (0 is the caller)."""
    data = _CapabilityData()
    if _capget(_CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, pid), data) < 0:
        raise _failed("capget", pid)
    low = struct.unpack("=6I", data.raw)
    return Capabilities(low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for the caller; the masks as in `Capabilities`."""
    header = _CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, 0)
    masks = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    if _capset(header, data) < 0:
        raise _failed("capset", hex(effective), hex(permitted), hex(inheritable))


_filters: dict[bytes, tuple[Any, bytes]] = {}  # program -> its instructions, and a sock_fprog of them


def seccomp_keep_filter(program: bytes) -> None:
    """Have a program ready for `seccomp_set_filter` in this process and all that are forked from it."""
    if program and program not in _filters:
        _filters[program] = _sock_fprog(program)


def seccomp_forget_filters() -> None:
    """They can be set all the same, a little slower."""
    _filters.clear()


def _sock_fprog(program: bytes) -> tuple[Any, bytes]:
    code = ctypes.create_string_buffer(program, len(program))
    return code, struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))


def seccomp_set_filter(program: bytes, flags: int = 0) -> int:
    """seccomp(2) SECCOMP_SET_MODE_FILTER with a BPF program as bytes (8 an instruction).

    Needs no_new_privs or CAP_SYS_ADMIN. Returns a descriptor with SECCOMP_FILTER_FLAG_NEW_LISTENER,
    else 0.
    """
    _code, descriptor = _filters.get(program) or _sock_fprog(program)
    result: int = _syscall(_long(_NR_SECCOMP), _long(SECCOMP_SET_MODE_FILTER), _ulong(flags), descriptor)
    if result < 0:
        raise _failed("seccomp", "set_filter", f"{len(program) // 8} instructions", flags)
    return result


_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE = 15, 6
_BPF_F_ALLOW_MULTI = 2


def _bpf(name: str, command: int, attributes: Any, size: int) -> int:
    result: int = _syscall(_long(_NR_BPF), _long(command), attributes, _long(size))
    if result < 0:
        raise _failed(f"bpf {name}")
    return result


def bpf_load_device_program(code: bytes, name: str) -> int:
    """bpf(2) BPF_PROG_LOAD of a BPF_PROG_TYPE_CGROUP_DEVICE program (Linux 4.15), 8 bytes an
    instruction. name: at most 15 letters, for bpftool. Returns its descriptor, close-on-exec."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQIIQII16s", _BPF_PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions),
        ctypes.addressof(license), 0, 0, 0, 0, 0, name.encode(),
    )  # fmt: skip
    return _bpf("prog_load", _BPF_PROG_LOAD, attributes, len(attributes))


def bpf_attach_device_program(cgroup: int, program: int) -> None:
    """bpf(2) BPF_PROG_ATTACH to a cgroup v2's descriptor, beside those that are there: all must agree.
    EINVAL when this program is attached already."""
    attributes = struct.pack("=IIII", cgroup, program, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI)
    _bpf("prog_attach", _BPF_PROG_ATTACH, attributes, len(attributes))


# The same numbers on every architecture (landlock_create_ruleset(2), Linux 5.13).
_NR_LANDLOCK_CREATE, _NR_LANDLOCK_ADD, _NR_LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1


def landlock_version() -> int:
    """The ABI of Landlock that this kernel has; 0 where it is missing or switched off."""
    arguments = (_NULL, _ulong(0), _long(_LANDLOCK_CREATE_RULESET_VERSION))
    result: int = _syscall(_long(_NR_LANDLOCK_CREATE), *arguments)
    return max(result, 0)


def landlock_create_ruleset(files: int, network: int, scope: int) -> int:
    """A ruleset that handles these accesses (LANDLOCK_ACCESS_*, LANDLOCK_SCOPE_*): its descriptor. A field
    that the kernel does not know yet must be 0."""
    size = 24 if scope else 16 if network else 8
    attributes = struct.pack("=QQQ", files, network, scope)
    result: int = _syscall(_long(_NR_LANDLOCK_CREATE), attributes, _ulong(size), _long(0))
    if result < 0:
        raise _failed("landlock_create_ruleset", hex(files), hex(network), hex(scope))
    return result


def landlock_add_path(ruleset: int, directory: int, access: int) -> None:
    """Allow access to what is at and below an O_PATH descriptor."""
    attributes = struct.pack("=Qi", access, directory)
    arguments = (_long(ruleset), _long(_LANDLOCK_RULE_PATH_BENEATH), attributes, _long(0))
    if _syscall(_long(_NR_LANDLOCK_ADD), *arguments) < 0:
        raise _failed("landlock_add_rule", ruleset, directory, hex(access))


def landlock_restrict_self(ruleset: int) -> None:
    """For the calling thread and what it starts, for good. Needs no_new_privs or CAP_SYS_ADMIN."""
    if _syscall(_long(_NR_LANDLOCK_RESTRICT), _long(ruleset), _long(0)) < 0:
        raise _failed("landlock_restrict_self", ruleset)


def set_malloc(*, arenas: int, trim_bytes: int, pad_bytes: int) -> None:
    """mallopt(3): how many heaps threads may have between them, how much that is free at the end of one is
    given back, and how much of it stays. Before the first thread. A C library without it, or that refuses, is
    left as it is."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, arenas)
        mallopt(_M_TRIM_THRESHOLD, trim_bytes)
        mallopt(_M_TOP_PAD, pad_bytes)


def trim_malloc() -> None:
    """malloc_trim(3): give back whole pages that are free anywhere in the heaps, not only at an end. Some
    milliseconds, in which other threads allocate nothing. A C library without it has nothing to give."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def syscall_number(number: int, *arguments: Any) -> int:
    """Any system call by its number, for tests of filters. Integers and bytes only."""
    converted = tuple(_long(value) if isinstance(value, int) else value for value in arguments)
    result: int = _syscall(_long(number), *converted)
    if result < 0:
        raise _failed(f"syscall {number}", *arguments)
    return result
