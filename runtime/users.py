"""Who a process runs as: "name", "uid", "name:group" … resolved from an image's own files.

The files are hostile: opened by descriptor inside the root, regular and at most 1 MiB, parsed here
(no pwd, grp or NSS, which would load the image's libraries). Called in the forked child before its
exec. Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from runtime import syscalls
from runtime.errors import Invalid, Temporary
from runtime.typed import NamedTuple

MAX_FILE_BYTES = 1 << 20
_BLOCK_BYTES = 4096  # the least that is asked for: some file systems say 0 of what they make up
MAX_ID = (1 << 31) - 1
MAX_GROUPS = 65536  # NGROUPS_MAX


class Passwd(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


class Identity(NamedTuple):
    """What a process is to run as. groups: all supplementary ones, the primary included."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def parse_id(text: str) -> int | None:
    """Decimal digits only, 0 to 2^31-1; None for what is a name. `Invalid` for a number too large."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > MAX_ID:
        raise Invalid("find user", text, "the number is too large", f"at most {MAX_ID}")
    return int(text)


def parse_passwd(data: bytes) -> Iterator[Passwd]:
    """Entries of an /etc/passwd, as far as they are asked for: most look for root, who is the first.
    Malformed lines are skipped, as libc does."""
    for line in _lines(data.decode("utf-8", "surrogateescape")):
        fields = line.split(":")
        if len(fields) < 6 or not fields[0] or line[0] == "#":
            continue
        uid, gid = _file_id(fields[2]), _file_id(fields[3])
        if uid is not None and gid is not None:
            yield Passwd(fields[0], uid, gid, fields[5])


def parse_group(data: bytes, names: Sequence[str]) -> list[Group]:
    """Entries of an /etc/group that are of one of these names, or may have one as a member. Malformed lines
    are skipped, and those that hold none of the names are not taken apart."""
    found = []
    for line in _lines_with(data.decode("utf-8", "surrogateescape"), names):
        fields = line.split(":")
        if len(fields) < 4 or not fields[0] or line[0] == "#":
            continue
        gid = _file_id(fields[2])
        if gid is not None:
            found.append(Group(fields[0], gid, tuple(filter(None, fields[3].split(",")))))
    return found


def _lines(text: str) -> Iterator[str]:
    """One at a time: a forked child pays for the memory of all others."""
    at = 0
    while (end := text.find("\n", at)) >= 0:
        yield text[at:end]
        at = end + 1
    yield text[at:]


def _lines_with(text: str, words: Sequence[str]) -> Iterator[str]:
    """Those that hold one of the words, in their order; a word has no line break."""
    starts = set()
    for word in words:
        at = text.find(word)
        while at >= 0:
            starts.add(text.rfind("\n", 0, at) + 1)
            end = text.find("\n", at)
            at = text.find(word, end + 1) if end >= 0 else -1
    for start in sorted(starts):
        end = text.find("\n", start)
        yield text[start:] if end < 0 else text[start:end]


def _file_id(text: str) -> int | None:
    try:
        return parse_id(text)
    except Invalid:
        return None


def identify(
    user: str,
    extra_groups: Sequence[str],
    passwd: Iterable[Passwd],
    groups_of: Callable[[Sequence[str]], Sequence[Group]],
) -> Identity:
    """The identity that a user string means, by Docker's rules. Pure. groups_of: those that have one of
    these names, or one of them as a member, and maybe others.

    user: "", "uid", "name", "uid:gid", "name:group". A number needs no entry; a name does. The
    groups that list the user count unless the user string names a group. `Invalid` otherwise.
    """
    name, separator, group = user.partition(":")
    if separator and (not group or ":" in group):
        raise Invalid("find user", user, "not of the form user[:group]", "for example 1000:1000")
    if user and not name:
        raise Invalid("find user", user, "the user is missing", "for example 1000:1000")
    entry, uid = _user(name, passwd)
    groups = groups_of([each for each in (group or (entry and entry.name), *extra_groups) if each])
    gid = _group(group, groups) if group else (entry.gid if entry else 0)
    supplementary = [gid]
    if not group and entry is not None:
        supplementary += [each.gid for each in groups if entry.name in each.members]
    supplementary += [_group(text, groups) for text in extra_groups]
    unique = tuple(dict.fromkeys(supplementary))[:MAX_GROUPS]
    return Identity(uid, gid, unique, entry.home if entry and entry.home else "/")


def _user(name: str, passwd: Iterable[Passwd]) -> tuple[Passwd | None, int]:
    wanted = parse_id(name or "0")
    for entry in passwd:
        if entry.uid == wanted if wanted is not None else entry.name == name:
            return entry, entry.uid
    if wanted is None:
        raise Invalid("find user", name, "no such user in the image's /etc/passwd", "use a number")
    return None, wanted


def _group(text: str, groups: Iterable[Group]) -> int:
    for entry in groups:
        if entry.name == text:
            return entry.gid
    number = parse_id(text)
    if number is None:
        raise Invalid("find group", text, "no such group in the image's /etc/group", "use a number")
    return number


def read_in_root(root: int, path: str) -> bytes:
    """The content of a small regular file below the directory root, b"" when there is none.

    `Invalid` for what is not a regular file or is larger than 1 MiB, `Temporary` for one that another
    container holds a lease on. Links are followed inside root.
    """
    inside = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    try:
        found = syscalls.openat2(root, path, os.O_PATH, 0, inside)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        # Looked at before it is opened: to open a FIFO hangs, and to open a device does things.
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode):
            raise Invalid("read", path, "not a regular file", "the image is damaged or hostile")
        if status.st_size > MAX_FILE_BYTES:
            raise Invalid("read", path, "larger than 1 MiB", "the image is damaged or hostile")
        return _read(root, path, found, status.st_size)
    finally:
        os.close(found)


def _read(root: int, path: str, found: int, size_bytes: int) -> bytes:
    # O_NONBLOCK: a lease (fcntl(2)) would have this open, and all containers with it, wait for 45 s.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(f"/proc/self/fd/{found}", flags)
    except FileNotFoundError:
        # An exec into a container without /proc. Its device cgroup holds by now, should the file have
        # become a device meanwhile.
        descriptor = syscalls.openat2(root, path, flags, 0, syscalls.RESOLVE_IN_ROOT)
    except BlockingIOError as error:
        raise Temporary("read", path, "a process holds a lease on it", "end that process") from error
    try:
        return os.read(descriptor, max(size_bytes, _BLOCK_BYTES))
    finally:
        os.close(descriptor)


def resolve(root: int, user: str, extra_groups: Sequence[str]) -> Identity:
    """`identify` with the files of the root directory that the descriptor root stands for."""
    passwd = parse_passwd(read_in_root(root, "/etc/passwd"))
    groups_of = partial(parse_group, read_in_root(root, "/etc/group"))
    return identify(user, extra_groups, passwd, groups_of)


def home(root: int, uid: int) -> str:
    """The home directory of a user number in the root's /etc/passwd, "/" when it has none."""
    for entry in parse_passwd(read_in_root(root, "/etc/passwd")):
        if entry.uid == uid:
            return entry.home or "/"
    return "/"
