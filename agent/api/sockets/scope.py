"""What one scoped socket lets its clients do, as a value; and whether something is in its scope. Pure."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.manifest.socket_limits import allow_of
from agent.manifest.spec import Quota, SocketSpec
from agent.policy.permissions import ANYBODY, expanded
from agent.policy.policy import Allow, Policy
from store.records import Key

SOCKET_LABEL = "io.setpoint.socket"  # who made it
EXPIRES_LABEL = "io.setpoint.expires-at"  # Unix seconds


@dataclass(frozen=True, slots=True)
class Scope:
    """name: project/name of the socket's object. allowed: permissions. label, value: what all that it sees
    bears, and what it creates gets. allow: what may be asked for, as a policy has it. seconds: how long what
    is made lives, None for ever. quota: how much there may be of it."""

    name: str
    allowed: frozenset[str]
    label: str
    value: str
    allow: Allow
    seconds: float | None
    quota: Quota | None = None

    def permits(self, permission: str | None) -> bool:
        """None is a permission that nobody has."""
        return permission is not None and (permission == ANYBODY or permission in self.allowed)

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is seen here."""
        return self.label in labels and labels[self.label] == self.value

    @property
    def filter(self) -> str:
        """Of the label, in the words of the API's filters."""
        return f"{self.label}={self.value}"

    @property
    def policy(self) -> Policy:
        """To join a container's namespaces is judged by whose container it is."""
        allow = dataclasses.replace(self.allow, namespaces=self.allow.namespaces | {"container"})
        return Policy(origin=f"the socket {self.name}", allow=allow)

    def labels(self, now: float | None = None) -> dict[str, str]:
        """What is written upon all that is made here, over what the client says."""
        found = {self.label: self.value, SOCKET_LABEL: self.name}
        if self.seconds is not None:
            found[EXPIRES_LABEL] = str(int((time.time() if now is None else now) + self.seconds))
        return found

    def labelled(self, labels: Mapping[str, Any] | None) -> dict[str, Any]:
        kept = {name: value for name, value in (labels or {}).items() if name != EXPIRES_LABEL}
        return {**kept, **self.labels()}


def scope_of_spec(key: Key, spec: SocketSpec) -> Scope:
    name = f"{key.project}/{key.name}"
    label, _, value = (spec.label or f"{SOCKET_LABEL}={name}").partition("=")
    return Scope(
        name, expanded(spec.allow), label, value, allow_of(spec.limits), spec.time_to_live, spec.quota
    )


def expires_at(labels: Mapping[str, str]) -> int | None:
    """When something that a scoped socket made is to go. What the client of another socket wrote counts for
    nothing: both labels are ours to write, but only there."""
    text = labels.get(EXPIRES_LABEL, "")
    if SOCKET_LABEL not in labels or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)
