"""What is wanted, and what is still to go: the desired objects and their indexes. No I/O.

`submit` and its like change it in O(what changed), and return the keys to look at. The loop writes
the records that it touches; `plan` sees `desired` and `dependents`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace

from pydantic import ValidationError

from agent.manifest.objects import Manifest, Object, Where
from agent.manifest.spec import AnySpec, NetworkSpec
from agent.reconcile.api_objects import is_api
from agent.reconcile.convert import stored_name
from agent.reconcile.world import DEFAULT_BRIDGE, SPEC_TYPES, Desired, desired_of
from store.records import Key, ObjectRecord


class Inventory:
    """records: as stored. on_record(key) is called for each record that must be written again."""

    def __init__(self, on_record: Callable[[Key], None]) -> None:
        self.records: dict[Key, ObjectRecord] = {}
        self.desired: dict[Key, Desired] = {}
        self.dependents: dict[Key, set[Key]] = {}
        self.by_name: dict[tuple[str, str], set[Key]] = {}  # a kind and a real name, see `real_name_of`
        self.deleting: set[Key] = set()
        self.frozen_files: frozenset[str] = frozenset()
        self._frozen_directories: frozenset[str] = frozenset()
        self._from_source: set[Key] = set()
        self._submitted: Mapping[Key, Object] = {}
        self._api_uses_bridge = False
        self._on_record = on_record

    def load(self, records: Mapping[Key, ObjectRecord]) -> None:
        for record in records.values():
            self._put(record, spec_of(record), is_new=False)

    # --- the source ---------------------------------------------------------------------------

    def submit(self, manifest: Manifest, revision: str, now: float) -> tuple[list[Key], set[Key]]:
        """Take a whole manifest. The keys whose spec changed, appeared or is to go; and those whose
        place alone changed."""
        before, objects = self._submitted, manifest.objects
        has_frozen = bool(self.frozen_files or manifest.frozen_files)
        other = self._others(before, objects)
        changed = [key for key in other if self._want(objects[key], "git", revision, now)]
        self._submitted = objects
        frozen = self._freeze(manifest.frozen_files, manifest.denied)
        added = sum(key not in before for key in other)
        if has_frozen or not before or len(before) + added != len(objects):
            for key in sorted((self._from_source - objects.keys()) - self.deleting):
                if not self.is_frozen(self.records[key].file):
                    self.let_go(key, revision, now)
                    changed.append(key)
        return changed + self.keep_default_network(now), frozen

    def _others(self, before: Mapping[Key, Object], now: Mapping[Key, Object]) -> list[Key]:
        """The wanted keys that have another value than before, or are being removed. The very same values
        are nearly all of them, and comparing identities is what a commit costs that changes one."""
        if now is before:
            found = []
        else:
            found = [key for key, wanted in now.items() if before.get(key) is not wanted]
        if self.deleting:
            found += [key for key in sorted(self.deleting) if key in now and before.get(key) is now[key]]
        return found

    def _want(self, wanted: Object, owner: str, revision: str, now: float) -> bool:
        """Whether the spec changed. A changed place is taken over without a new generation."""
        key, old = wanted.key, self.records.get(wanted.key)
        is_same = old is not None and not old.deleting and old.spec_hash == wanted.spec_hash
        if old is not None and is_same and old.owner == owner:
            desired = self.desired[key]
            if (old.file, old.line) != (wanted.where.file, wanted.where.line) or desired.spec is None:
                moved = replace(old, file=wanted.where.file, line=wanted.where.line, updated_at=now)
                self._put(moved, wanted.spec, wanted.recreate_hash)
            return desired.spec is None
        record = ObjectRecord(
            key=key,
            owner=owner,
            spec=wanted.spec.model_dump(mode="json", exclude_unset=True),
            spec_hash=wanted.spec_hash,
            generation=old.generation + 1 if old else 1,
            observed_generation=old.observed_generation if old else 0,
            file=wanted.where.file,
            line=wanted.where.line,
            revision=revision,
            updated_at=now,
        )
        self._put(record, wanted.spec, wanted.recreate_hash)
        return True

    def want(self, wanted: Object, owner: str, revision: str, now: float) -> bool:
        return self._want(wanted, owner, revision, now)

    def _freeze(self, files: frozenset[str], denied: Mapping[Key, str]) -> set[Key]:
        """Objects whose manifest can, or can again, be taken; their status says so."""
        if not files and not self.frozen_files:
            return set()
        self.frozen_files = files
        self._frozen_directories = frozenset(map(posixpath.dirname, files))
        touched: dict[Key, Desired] = {}
        for key, desired in self.desired.items():
            is_frozen = desired.owner == "git" and not desired.deleting and self.is_frozen(desired.file)
            is_frozen = is_frozen and key not in self._submitted
            why = denied.get(key, "") if is_frozen else ""
            if (is_frozen, why) != (desired.is_frozen, desired.denied):
                touched[key] = replace(desired, is_frozen=is_frozen, denied=why)
        self.desired.update(touched)
        return set(touched)

    def is_frozen(self, file: str) -> bool:
        """Not knowing is never not wanting. A file that cannot be read may be another one's new name,
        so its whole directory is left as it is."""
        if not self.frozen_files:
            return False
        return posixpath.dirname(file) in self._frozen_directories

    def keep_default_network(self, now: float) -> list[Key]:
        """The network of `network_mode: bridge` is wanted as long as somebody uses it; and on, once a
        container of the Docker Engine API did: those come and go by the second."""
        is_used = self._api_uses_bridge
        if not is_used:  # else their number would be part of what each change costs
            users = [key for key in self.dependents.get(DEFAULT_BRIDGE, ()) if key not in self.deleting]
            self._api_uses_bridge = any(map(is_api, users))
            is_used = bool(users)
        record = self.records.get(DEFAULT_BRIDGE)
        if is_used and (record is None or record.deleting):
            spec = NetworkSpec(name="bridge")
            wanted = Object(DEFAULT_BRIDGE, spec, Where("", 0), "default")
            self._want(wanted, "engine", "", now)
            return [DEFAULT_BRIDGE]
        if record is not None and record.owner == "engine" and not is_used and not record.deleting:
            self.let_go(DEFAULT_BRIDGE, "", now)
            return [DEFAULT_BRIDGE]
        return []

    # --- one key ------------------------------------------------------------------------------

    def let_go(self, key: Key, revision: str, now: float) -> None:
        """It is not wanted any more; its entry stays until its removal is confirmed."""
        if key == DEFAULT_BRIDGE:  # everything goes
            self._api_uses_bridge = False
        old = self.records[key]
        record = replace(old, deleting=True, revision=revision, generation=old.generation + 1, updated_at=now)
        wanted = self.desired[key]
        self._put(record, wanted.spec, wanted.recreate_hash)

    def adopt(self, key: Key, file: str, line: int, revision: str, now: float, owner: str = "git") -> None:
        """Something bears our label and nothing names it (a lost database): it is ours, and is to go."""
        record = ObjectRecord(
            key=key, owner=owner, spec={}, spec_hash="", generation=1, observed_generation=0,
            file=file, line=line, revision=revision, deleting=True, updated_at=now,
        )  # fmt: skip
        self._put(record, None)

    def forget(self, key: Key) -> None:
        """Its removal was confirmed."""
        desired = self.desired.pop(key, None)
        self._set_name(key, self.records.pop(key, None), None)
        self._from_source.discard(key)
        self.deleting.discard(key)
        if desired is not None:
            self._unlink(desired)

    def converged(self, key: Key) -> bool:
        """The present generation is what is there. Whether that is news."""
        record = self.records.get(key)
        if record is None or record.observed_generation == record.generation:
            return False
        self.records[key] = replace(record, observed_generation=record.generation)
        self._on_record(key)
        return True

    def _put(
        self, record: ObjectRecord, spec: AnySpec | None, recreate_hash: str = "", *, is_new: bool = True
    ) -> None:
        key = record.key
        old = self.desired.get(key)
        if old is not None:
            self._unlink(old)
        desired = desired_of(record, spec, recreate_hash=recreate_hash)
        if old is not None and old.is_frozen:  # `_freeze` ends it, and has its status written anew
            desired = replace(desired, is_frozen=True, denied=old.denied)
        self._set_name(key, self.records.get(key), record)
        self.records[key], self.desired[key] = record, desired
        for needed in desired.needed():
            self.dependents.setdefault(needed, set()).add(key)
        _set_member(self._from_source, key, record.owner == "git")
        _set_member(self.deleting, key, record.deleting)
        if is_new:
            self._on_record(key)

    def _set_name(self, key: Key, old: ObjectRecord | None, new: ObjectRecord | None) -> None:
        before, now = real_name_of(old), real_name_of(new)
        if before == now:
            return
        if before:
            others = self.by_name[key.kind, before]
            others.discard(key)
            if not others:
                del self.by_name[key.kind, before]
        if now:
            self.by_name.setdefault((key.kind, now), set()).add(key)

    def _unlink(self, desired: Desired) -> None:
        for needed in desired.needed():
            others = self.dependents.get(needed)
            if others is None:
                continue
            others.discard(desired.key)
            if not others:
                del self.dependents[needed]


def spec_of(record: ObjectRecord) -> AnySpec | None:
    """The stored spec; None when this version cannot read it, and the source has to say it again.

    An empty one is a whole one (`volumes: {data: }`), but for what was adopted, which has no hash.
    """
    kind = SPEC_TYPES.get(record.key.kind)
    if kind is None or not (record.spec or record.spec_hash):
        return None
    try:
        return kind.model_validate(record.spec)
    except ValidationError:
        return None


def real_name_of(record: ObjectRecord | None) -> str:
    """What a wanted volume is called on this host; and a container of the Docker API, which has its name
    until it is gone. "" for all else."""
    if record is None:
        return ""
    key, spec = record.key, record.spec
    if key.kind == "volume" and not record.deleting and not spec.get("external"):
        return stored_name(key, spec)
    return str(spec.get("container_name") or "") if key.kind == "container" and is_api(key) else ""


def place_of(label: str) -> tuple[str, int]:
    """`file:line` as labels keep it."""
    file, _, line = label.rpartition(":")
    return (file, int(line)) if line.isascii() and line.isdigit() and len(line) < 10 else (label, 0)


def _set_member(members: set[Key], key: Key, is_member: bool) -> None:
    if is_member:
        members.add(key)
    else:
        members.discard(key)
