"""Where a container's checkpoints lie: their names, which there are, making one whole or not at all.

    containers/<id>/checkpoints/<name>/        CRIU's images and checkpoint.json: whole, for it was renamed
    containers/<id>/checkpoints/.new-<name>/   being written
    containers/<id>/checkpoints/.taken/        one from outside, checked, for the coming start
    containers/<id>/checkpoints/.frozen        its processes are frozen for a checkpoint
    containers/<id>/restore.json               what the next start is to start from

All of it is root's alone and goes with the container. With a directory of the caller's own, <name>/ is there
and has a seal. Whatever begins with a dot is of an agent that ended, once another one starts.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from runtime import syscalls
from runtime.checkpoints import facts, seal
from runtime.errors import Conflict, Invalid, NotFound
from runtime.removal import remove_tree

PLACE = "checkpoints"
NEW, TAKEN, FROZEN = ".new-", ".taken", ".frozen"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")  # as Docker has it, and a length that is a file's
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_name(name: str) -> str:
    """Invalid for what is not one plain name: it becomes a directory's."""
    if not _NAME.fullmatch(name):
        shown = "".join(each if each.isprintable() else "?" for each in name[:80])
        raise Invalid(
            "", "", f"Invalid checkpoint ID ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            "at most 128 of them",
        )  # fmt: skip
    return name


def check_directory(directory: str) -> str:
    """Invalid for a directory of the caller's that is not named by a plain, absolute path; "" is none."""
    if directory and (not directory.startswith("/") or "\0" in directory or ".." in directory.split("/")):
        raise Invalid("", "", "the checkpoint directory must be an absolute path without '..'")
    return directory


class Shelf:
    """Of one container. bundle: its directory. key_path: the file of the instance's key."""

    def __init__(self, bundle: str, key_path: Path, container: str) -> None:
        self._place = Path(bundle) / PLACE
        self._key_path = key_path
        self._container = container

    # --- looking

    @property
    def is_there(self) -> bool:
        return self._place.is_dir()

    def names(self, directory: str) -> list[str]:
        """Those that are whole."""
        if not directory:
            return sorted(_whole(self._place))
        try:
            fd = _open_outside(directory, make=False)
        except FileNotFoundError:
            return []
        try:
            return sorted(name for name in _whole(fd) if _has(fd, name, seal.NAME))
        finally:
            os.close(fd)

    def read_facts(self, path: str, name: str) -> facts.Facts:
        """Conflict for a checkpoint that this version cannot read."""
        try:
            fd = os.open(f"{path}/{facts.NAME}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                return facts.parse(file.read(facts.MAX_BYTES))
        except (OSError, ValueError) as error:
            reason = f"checkpoint {name} of container {self._container} cannot be read: {error}"
            raise Conflict("read checkpoint", "", reason, "remove it, and make another") from error

    # --- making

    def refuse_taken(self, name: str, directory: str) -> None:
        """Conflict where there is one of that name."""
        if name in self.names(directory):
            raise Conflict(
                "", "", f"checkpoint with name {name} already exists for container {self._container}"
            )

    def begin(self, name: str) -> str:
        """An own, empty directory to write it to. OSError."""
        path = self._place / f"{NEW}{name}"
        self._place.mkdir(mode=0o700, exist_ok=True)
        remove_tree(path)
        path.mkdir(mode=0o700)
        return os.fspath(path)

    def finish(self, name: str, found: facts.Facts, directory: str) -> None:
        """It is whole: from here on it is there, after a loss of power too. OSError."""
        path = self._place / f"{NEW}{name}"
        with (path / facts.NAME).open("w") as file:
            file.write(found.to_json())
        if directory:
            self._finish_outside(name, path, directory)
            remove_tree(path)
            return
        place = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.syncfs(place)  # many files: their bytes before their name
            path.rename(self._place / name)
            os.fsync(place)
        finally:
            os.close(place)

    def _finish_outside(self, name: str, path: Path, directory: str) -> None:
        fd = _open_outside(directory, make=True)
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
            target = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                seal.copy_out(os.fspath(path), target, seal.read_key(self._key_path))
            finally:
                os.close(target)
        except FileExistsError as error:
            raise Conflict("", "", f"{directory}/{name} is there already", "name it otherwise") from error
        finally:
            os.close(fd)

    def give_up(self, name: str) -> None:
        with contextlib.suppress(OSError):
            remove_tree(self._place / f"{NEW}{name}")

    # --- taking

    def take(self, name: str, directory: str) -> str:
        """The directory of a checkpoint's images: for one that lies outside an own copy, which was checked.
        NotFound; Conflict for what this instance did not write. OSError."""
        if not directory:
            if name not in self.names(""):
                raise self._missing(name)
            return os.fspath(self._place / name)
        if name not in self.names(directory):
            raise self._missing(name)
        self._place.mkdir(mode=0o700, exist_ok=True)
        taken = self._place / TAKEN
        remove_tree(taken)
        taken.mkdir(mode=0o700)
        outside = _open_outside(directory, make=False)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outside)
            try:
                seal.copy_in(fd, os.fspath(taken), seal.read_key(self._key_path), name)
            finally:
                os.close(fd)
        except BaseException:
            remove_tree(taken)
            raise
        finally:
            os.close(outside)
        return os.fspath(taken)

    def put_back(self) -> None:
        """The copy of one from outside, which nobody needs any more."""
        with contextlib.suppress(OSError):
            remove_tree(self._place / TAKEN)

    def remove(self, name: str, directory: str) -> None:
        """NotFound. OSError."""
        if name not in self.names(directory):
            raise self._missing(name)
        if not directory:
            gone = self._place / f"{NEW}{name}"  # half removed is as half made
            remove_tree(gone)
            (self._place / name).rename(gone)
            remove_tree(gone)
            return
        fd = _open_outside(directory, make=False)
        try:
            _remove_outside(fd, name)
        finally:
            os.close(fd)

    def _missing(self, name: str) -> NotFound:
        return NotFound("", "", f"checkpoint {name} does not exist for container {self._container}")

    # --- frozen for a checkpoint

    def mark_frozen(self) -> None:
        self._place.mkdir(mode=0o700, exist_ok=True)
        (self._place / FROZEN).touch(mode=0o600)

    def unmark_frozen(self) -> None:
        (self._place / FROZEN).unlink(missing_ok=True)

    @property
    def is_frozen(self) -> bool:
        return (self._place / FROZEN).exists()

    def clear(self, *, keep_taken: bool) -> None:
        """What an agent that ended left half done, but for the mark of a frozen one."""
        for name in _listed(self._place):
            if name.startswith(NEW) or (name == TAKEN and not keep_taken):
                with contextlib.suppress(OSError):
                    remove_tree(self._place / name)


def _listed(place: Path | int) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208 - of a descriptor, too
    except (FileNotFoundError, NotADirectoryError):
        return []


def _whole(place: Path | int) -> Iterator[str]:
    return (name for name in _listed(place) if _NAME.fullmatch(name) and _has_facts(place, name))


def _has_facts(place: Path | int, name: str) -> bool:
    if isinstance(place, int):
        return _has(place, name, facts.NAME)
    return (place / name / facts.NAME).is_file()


def _has(directory: int, name: str, file: str) -> bool:
    with contextlib.suppress(OSError):
        fd = os.open(name, _OPEN, dir_fd=directory)
        try:
            os.stat(file, dir_fd=fd, follow_symlinks=False)
            return True
        finally:
            os.close(fd)
    return False


def _open_outside(directory: str, *, make: bool) -> int:
    """The caller's directory, without following any link: who may write somewhere on the way could lead us
    elsewhere by one. FileNotFoundError where it is to be there and is not."""
    place = os.open("/", _OPEN)
    try:
        for part in directory.split("/"):
            if part in ("", "."):
                continue
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=place)
            inner = os.open(part, _OPEN, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    except NotADirectoryError as error:
        reason = f"checkpoint directory {directory} must be a directory, with no link on the way to it"
        raise Invalid("", "", reason) from error
    finally:
        os.close(place)


def _remove_outside(directory: int, name: str) -> None:
    """Files only, as they were written: what else somebody put there stays."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        for each in sorted(_listed(fd), key=lambda each: each != seal.NAME):  # no seal: no checkpoint
            os.unlink(each, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)
