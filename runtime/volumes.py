"""Named volumes: a directory and a record each, filled from an image at first use as Docker does.

    volumes/<name>/volume.json      labels, options, when it was made, whether it was filled
    volumes/<name>/_data            what containers mount; with options, `volume_mounts` mounts on it
    volumes/<name>/.filling         a copy on its way; renamed onto _data when it is whole

Called by the engine. What is in an image is hostile: its tree is walked by descriptor, no link in it is
followed out of it, and devices are left out. `volume_copy` does the copying.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime import disk
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.layout import Layout
from runtime.model import VolumeConfig, VolumeState
from runtime.removal import remove_tree
from runtime.volume_options import read_source

DATA = "_data"
RECORD = "volume.json"
FILLING = ".filling"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


@dataclass(frozen=True, slots=True)
class _Volume:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    is_filled: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    below: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "labels": dict(self.labels), "created_at": self.created_at, "is_filled": self.is_filled,
            "options": dict(self.options), "below": self.below,
        }  # fmt: skip


class Volumes:
    """The volumes of one instance."""

    def __init__(self, layout: Layout) -> None:
        self._root = layout.volumes
        self._volumes: dict[str, _Volume] = {}
        self._states: dict[str, tuple[_Volume, VolumeState]] = {}

    def open(self) -> None:
        """Read the records. A directory without one is a volume that a crash left half-made: it is
        completed, for data is never thrown away."""
        self._root.mkdir(mode=0o701, parents=True, exist_ok=True)
        for path in self._root.iterdir():
            if not _NAME.fullmatch(path.name) or not path.is_dir():
                continue
            remove_tree(path / FILLING)
            volume = _read(path)
            self._volumes[volume.name] = volume
            with contextlib.suppress(FileExistsError):  # and no look at what may be mounted there
                os.mkdir(path / DATA, 0o755)  # noqa: PTH102

    def create(self, config: VolumeConfig) -> VolumeState:
        """Make a volume; does nothing when it is there with the same labels and options. Conflict, Invalid,
        Unsupported, Temporary."""
        name = _check(config.name)
        read_source(config.options)
        existing = self._volumes.get(name)
        if existing is not None:
            if dict(existing.labels) != dict(config.labels):
                raise Conflict("create volume", name, "it exists with other labels")
            if dict(existing.options) != dict(config.options):
                raise Conflict("create volume", name, "it exists with other options")
            return self._state(existing)
        volume = _Volume(
            name, dict(config.labels), time.time(), options=dict(config.options), below=config.below
        )
        directory, is_new = f"{self._root}/{name}", False
        try:
            is_new = _made(directory)
            _made(f"{directory}/{DATA}")
            self._write(volume, is_new=is_new)
        except OSError as error:
            if is_new:  # a directory without a record would be taken for a volume
                with contextlib.suppress(OSError):
                    remove_tree(directory)
            raise _unwritten("create volume", name, error, self._root) from error
        self._volumes[name] = volume
        return self._state(volume)

    def delete(self, name: str) -> None:
        """Remove a volume with its data; nothing when it is gone. The caller sees to it that nobody
        uses it. Crash-safe: it vanishes from the list first."""
        if (gone := self.hide(name)) and not self.delete_empty(name, gone):
            self.delete_hidden(name, gone)

    def hide(self, name: str) -> str:
        """The first step of a removal: it is no volume any more. Where it is until the last step; "" for one
        that is gone."""
        if name not in self._volumes:
            return ""
        gone = f"{self._root}/.gone-{name}"
        try:
            remove_tree(gone)
            os.rename(f"{self._root}/{name}", gone)  # noqa: PTH104
        except OSError as error:
            raise _unwritten("delete volume", name, error, self._root) from error
        del self._volumes[name]
        self._states.pop(name, None)
        return gone

    def delete_empty(self, name: str, gone: str) -> bool:
        """The last step, of one with nothing in it, which takes no time. False when it has something."""
        try:
            os.rmdir(f"{gone}/{DATA}")  # noqa: PTH106
            os.unlink(f"{gone}/{RECORD}")  # noqa: PTH108
            os.rmdir(gone)  # noqa: PTH106
        except OSError:  # `delete_hidden` says why
            return False
        return True

    def delete_hidden(self, name: str, gone: str) -> None:
        """The last step, of any: may take long (a thread's work)."""
        try:
            remove_tree(gone)
        except OSError as error:
            raise _unwritten("delete volume", name, error, self._root) from error

    def is_empty(self, name: str) -> bool:
        """Whether nothing is lost with it: it has nothing in it, and the next of that name is the same."""
        volume = self._volumes.get(name)
        if volume is None or volume.options or volume.is_filled:
            return volume is None
        try:
            with os.scandir(f"{self._root}/{name}/{DATA}") as entries:
                return next(entries, None) is None
        except OSError:
            return False

    def list(self) -> tuple[VolumeState, ...]:
        return tuple(self._state(volume) for volume in self._volumes.values())

    def get(self, name: str) -> VolumeState | None:
        volume = self._volumes.get(name)
        return self._state(volume) if volume else None

    def ensure(self, name: str) -> VolumeState:
        """The volume, made without labels if it is not there: a mount of a name makes it, as in Docker."""
        return self.get(name) or self.create(VolumeConfig(_check(name)))

    def restore(self, name: str) -> None:
        """Make the directory of a volume again, and its record, where somebody removed them."""
        volume = self._volumes.get(name)
        directory = self._root / name
        if volume is None or volume.options:  # which is mounted again
            return
        if (directory / RECORD).exists() and (directory / DATA).is_dir():
            return
        (directory / DATA).mkdir(mode=0o755, parents=True, exist_ok=True)
        self._write(volume)

    def path(self, name: str) -> Path:
        """What is mounted. NotFound when there is no such volume."""
        if name not in self._volumes:
            raise NotFound("use volume", name, "there is no such volume")
        return self._root / name / DATA

    def below(self, name: str) -> str:
        """The directory that the device of its options must not lead out of; "" for none."""
        return self._volumes[name].below

    def is_rbind(self, name: str) -> bool:
        """Whether its options have all that is mounted below their directory, too."""
        source = read_source(self._volumes[name].options)
        return source is not None and source.recursive

    # --- first use

    def wants_filling(self, name: str) -> bool:
        """Whether it was never filled and is empty. Memory is filled by nobody but containers, as in Docker;
        a half-made filling of what is mounted counts for nothing."""
        from runtime.volume_copy import FILLING as MOUNTED_FILLING  # late: few containers need it
        from runtime.volume_copy import is_half_filled

        volume = self._volumes[name]
        source = read_source(volume.options)
        if volume.is_filled or (source is not None and (source.kind == "tmpfs" or source.is_read_only)):
            return False
        data = self._root / name / DATA
        with os.scandir(data) as entries:
            first = [entry.name for entry in itertools.islice(entries, 2)]
        return not first or (source is not None and (first == [MOUNTED_FILLING] or is_half_filled(data)))

    def fill(self, name: str, lower: tuple[str, ...], target: str) -> None:
        """Copy what an image has at `target` into an empty volume: content, owners, modes, times and
        extended attributes. lower: its layers, topmost first. Does nothing when there is nothing to copy.

        Whole or not at all; may take long (a thread's work). Temporary for a full disk.
        """
        from runtime.volume_copy import copy_from_image, copy_into  # late: few containers need it

        directory = self._root / name
        filling = directory / FILLING
        is_mounted = bool(self._volumes[name].options)
        try:
            remove_tree(filling)
            if is_mounted:
                copy_into(lower, target, directory / DATA)
            elif copy_from_image(lower, target, filling):
                filling.rename(directory / DATA)
        except OSError as error:
            remove_tree(filling)
            if not is_mounted and _is_used(
                directory / DATA
            ):  # somebody else has put something there: it stays
                return
            raise _unwritten(
                "fill volume", f"{name} with {target} of the image", error, self._root
            ) from error
        self._volumes[name] = replace(self._volumes[name], is_filled=True)
        self._write(self._volumes[name])

    def take_over(self, name: str, path: str) -> tuple[str, ...]:
        """Copy a directory of the host into a volume, which is made if need be: content, owners, modes,
        times, attributes, hard links and holes. Whole or not at all; may take long. Returns the devices that
        were left out. Conflict where something is in the volume already; NotFound, Temporary."""
        from runtime.volume_copy import copy_from_directory  # late: seldom needed

        if self.ensure(name).options:
            raise Conflict("import volume", name, "it is mounted from elsewhere", "copy it there by hand")
        if not self.wants_filling(name):
            raise Conflict("import volume", name, "something is in it already", "setpoint volume rm")
        filling = self._root / name / FILLING
        try:
            remove_tree(filling)
            devices = copy_from_directory(path, filling)
            filling.rename(self._root / name / DATA)
        except (FileNotFoundError, NotADirectoryError):
            remove_tree(filling)
            raise NotFound("import volume", path[:200], "there is no such directory") from None
        except OSError as error:
            remove_tree(filling)
            raise _unwritten("import volume", f"{name} from {path[:200]}", error, self._root) from error
        self._volumes[name] = replace(self._volumes[name], is_filled=True)
        self._write(self._volumes[name])
        return devices

    def _write(self, volume: _Volume, *, is_new: bool = False) -> None:
        """is_new: nobody reads half of it, since without a record it would be half-made as well."""
        path = f"{self._root}/{volume.name}/{RECORD}"
        temporary = path if is_new else f"{path.removesuffix('.json')}.new"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                disk.write_all(descriptor, json.dumps(volume.to_json()).encode())
            finally:
                os.close(descriptor)
            if not is_new:
                os.rename(temporary, path)  # noqa: PTH104
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
            raise

    def _state(self, volume: _Volume) -> VolumeState:
        """Made once of each record: lists are asked for at every change of any volume."""
        made_of, state = self._states.get(volume.name, (None, None))
        if state is None or made_of is not volume:
            path = f"{self._root}/{volume.name}/{DATA}"
            state = VolumeState(volume.name, volume.labels, path, volume.created_at, volume.options)
            self._states[volume.name] = (volume, state)
        return state


def _read(path: Path) -> _Volume:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, SetpointError):
        data = json.loads((path / RECORD).read_text())
        options, below = dict(data.get("options", {})), str(data.get("below", ""))
        read_source(options)
        return _Volume(
            path.name,
            dict(data["labels"]),
            float(data["created_at"]),
            bool(data["is_filled"]),
            options,
            below,
        )
    return _Volume(path.name, created_at=path.stat().st_mtime)


def _made(directory: str) -> bool:
    """Whether a directory was made just now; False for one that is there."""
    try:
        os.mkdir(directory, 0o755)  # noqa: PTH102 - a third of the time that a volume takes was pathlib's
    except FileExistsError:
        return False
    return True


def _unwritten(op: str, subject: str, error: OSError, root: Path) -> Temporary:
    return disk.explained(op, subject, error, root) or Temporary(op, subject, str(error))


def _is_used(data: Path) -> bool:
    try:
        return any(data.iterdir())
    except OSError:
        return False


def _check(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Invalid("create volume", name[:80], "not a volume's name", "letters, digits, '_', '.' and '-'")
    return name
