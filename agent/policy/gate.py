"""The policy file of an instance, and the gate that manifests go through. Used by the daemon's reader, by
`plan` and by `validate`; the API asks `check`, and the image store `admit_image` for every image that comes.

    file, as it is now ─> Policy ─> admit(manifest) ─> Manifest without what is refused
                                 ─> admit_image(facts)─> nothing, or an error

A file that cannot be read, or that somebody else than root can write, refuses everything: nothing new is
applied, and what runs goes on. A missing one means `default`.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.manifest.checks import DEFAULT_NETWORK, uses_default_network
from agent.manifest.objects import Manifest, ManifestError, Object, Revision, Where
from agent.manifest.reader import Reader
from agent.manifest.spec import ContainerSpec
from agent.policy.images import Refusal, has_rules, judge_image, judge_name, rule_of
from agent.policy.judge import Violation, judge
from agent.policy.place import Places
from agent.policy.policy import OPEN, STRICT, Policy
from agent.policy.read import BadPolicy, read_policy
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.facts import ImageFacts
from store.records import Key

MAX_BYTES = 1024 * 1024
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
Signature = tuple[int, ...] | None


class Gate:
    """path: the policy file, None for none. is_needed: a missing one is an error. For any thread."""

    def __init__(self, path: Path | None, default: Policy = OPEN, *, is_needed: bool = False) -> None:
        self.path, self.default, self.is_needed = path, default, is_needed
        self._lock = threading.Lock()
        self._known: Policy | BadPolicy = default
        self._signature: Signature = (-1,)
        self._admitted: Mapping[Key, Object] = {}

    def policy(self) -> Policy:
        """As the file says now; read again only when it is another one. Raises BadPolicy."""
        with self._lock:
            signature = self._look()
            if signature != self._signature:
                self._signature = signature
                self._known, self._admitted = self._read(), {}
            if isinstance(self._known, BadPolicy):
                raise self._known
            return self._known

    def known(self) -> Policy:
        """The same, and one that refuses everything for a file that cannot be read."""
        try:
            return self.policy()
        except BadPolicy:
            return STRICT

    def is_changed(self) -> bool:
        """Whether the file is another one than at the last `policy`. One stat(2)."""
        return self._look() != self._signature

    def _look(self) -> Signature:
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)  # noqa: PTH116  half the time of Path.stat, for each wish
        except OSError as error:
            return (error.errno or 0,)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self) -> Policy | BadPolicy:
        if self.path is None:
            return self.default
        try:
            return read_policy(_content(self.path), str(self.path))
        except FileNotFoundError:
            return self.default if not self.is_needed else BadPolicy(f"{self.path}: no such policy file")
        except OSError as error:
            return BadPolicy(f"{self.path}: {error.strerror or error}")
        except BadPolicy as error:
            return error

    # --- through it ---------------------------------------------------------------------------

    def admit(self, manifest: Manifest, revision: Revision) -> Manifest:
        """The manifest without what is refused: an error each, at its place, and the file is frozen, so
        that what was there before stays. With a policy that cannot be read nothing is to be taken."""
        try:
            policy = self.policy()
        except BadPolicy as error:
            return _withheld(manifest, error)
        if policy.is_open:
            return manifest
        before = self._admitted  # the very same values again are most of them
        refused = {
            key: found
            for key, wanted in manifest.objects.items()
            if before.get(key) is not wanted and (found := judge(policy, key, wanted.spec, wanted.where.file))
        }
        self._admitted = {key: value for key, value in manifest.objects.items() if key not in refused}
        manifest = replace(manifest, policy=policy)
        return _without(manifest, revision, policy, refused) if refused else manifest

    def check(self, wanted: Object) -> Policy:
        """What it was judged by. Raises Invalid for what may not be: the same judgement, of an object that no
        file describes."""
        try:
            policy = self.policy()
        except BadPolicy as error:
            raise Invalid("put", str(wanted.key), f"the policy cannot be read: {error.problems[0]}") from None
        for violation in judge(policy, wanted.key, wanted.spec):
            raise Invalid("put", str(wanted.key), violation.message(policy), violation.hint)
        return policy

    # --- images: a runtime.images.facts.Admission ----------------------------------------------

    def has_image_rules(self) -> bool:
        """Also when they cannot be read: nothing new comes until they can."""
        try:
            return has_rules(self.policy())
        except BadPolicy:
            return True

    def wants_signatures(self, name: str) -> bool:
        policy = self.known()
        rule = rule_of(policy, name) if has_rules(policy) else None
        return rule is not None and bool(rule.signed_by)

    def check_image(self, op: str, name: str) -> None:
        """Raises Invalid for an image that nobody may run, by its name alone. op: "pull image", …"""
        policy = self._policy_for(op, name)
        if refusal := judge_name(policy, name):
            raise _refused(op, name, policy, refusal, 0.0)

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        """The one gate of images, however they come: raises Invalid for one that nobody may run, Temporary
        for one that is too young."""
        policy, now = self._policy_for(op, facts.name), time.time()
        if refusal := judge_image(policy, facts, now):
            raise _refused(op, facts.name, policy, refusal, now)

    def _policy_for(self, op: str, subject: str) -> Policy:
        try:
            return self.policy()
        except BadPolicy as error:
            raise Invalid(op, subject, f"the policy cannot be read: {error.problems[0]}") from None


class GatedReader:
    """A reader of manifests whose every manifest went through the gate."""

    def __init__(self, reader: Reader, gate: Gate) -> None:
        self._reader, self.gate = reader, gate

    def read(self, revision: Revision) -> Manifest:
        return self.gate.admit(self._reader.read(revision), revision)

    def is_stale(self) -> bool:
        """Whether the same revision may now read otherwise."""
        return self.gate.is_changed()


def _withheld(manifest: Manifest, error: BadPolicy) -> Manifest:
    problems = tuple(
        ManifestError(Where("", 0, 0), f"policy: {problem}", "nothing new is applied until it can be read")
        for problem in error.problems
    )
    return replace(manifest, objects={}, errors=(*problems, *manifest.errors), is_withheld=True)


def _without(
    manifest: Manifest, revision: Revision, policy: Policy, refused: Mapping[Key, tuple[Violation, ...]]
) -> Manifest:
    errors: list[ManifestError] = []
    denied: dict[Key, str] = {}
    files: dict[str, Places] = {}
    for key, violations in refused.items():
        declared = manifest.objects[key].where
        places = files.setdefault(declared.file, Places(revision.files.get(declared.file, b"")))
        for violation in violations:
            where = places.find(key, declared, violation.place)
            message = f'{_noun(key)} "{key.name}": {violation.message(policy)}'
            errors.append(ManifestError(where, message, violation.hint))
            denied.setdefault(key, f"{where}: {violation.message(policy)}")
    frozen = manifest.frozen_files | files.keys()
    objects = {key: value for key, value in manifest.objects.items() if value.where.file not in frozen}
    objects |= _used_networks(manifest.objects, objects)
    order = sorted((*manifest.errors, *errors), key=lambda e: (e.where.file, e.where.line, e.where.column))
    return replace(
        manifest, objects=objects, errors=tuple(order), frozen_files=frozenset(frozen), denied=denied
    )


def _used_networks(before: Mapping[Key, Object], kept: Mapping[Key, Object]) -> dict[Key, Object]:
    """Default networks that nobody declares, of projects of which something is left: their place is that of
    whoever came first."""
    users = {
        Key(key.project, "network", DEFAULT_NETWORK)
        for key, wanted in kept.items()
        if isinstance(wanted.spec, ContainerSpec) and uses_default_network(wanted.spec)
    }
    return {key: before[key] for key in users - kept.keys() if key in before}


def _refused(op: str, name: str, policy: Policy, refusal: Refusal, now: float) -> SetpointError:
    message = refusal.message(policy, name)
    if refusal.until is None:
        return Invalid(op, name, message, refusal.hint)
    return Temporary(op, name, message, refusal.hint, max(refusal.until - now, 1.0))


def _noun(key: Key) -> str:
    return "service" if key.kind == "container" else key.kind


# --- the file ---------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    """Its bytes, if nobody but root can have written them. Raises OSError, BadPolicy."""
    descriptor = os.open(path, READ)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadPolicy(f"{path}: not a regular file")
        _check_owner(path, found)
        for directory in {*path.resolve().parents, *path.absolute().parents}:
            _check_owner(directory, directory.stat())
        if found.st_size > MAX_BYTES:
            raise BadPolicy(f"{path}: over {MAX_BYTES} bytes")
        data = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    return data


def _check_owner(path: Path, found: os.stat_result) -> None:
    """A sticky directory lets nobody replace what is another's (unlink(2), EPERM)."""
    if found.st_uid != 0:
        raise BadPolicy(f"{path}: is owned by user {found.st_uid}, not by root")
    is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not is_sticky:
        raise BadPolicy(f"{path}: others than root may write it (chmod go-w {path})")
