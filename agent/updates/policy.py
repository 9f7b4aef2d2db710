"""Which newer image an object may take: a pure value from its policy, what the registry has, and the time.

    policy, tag, the registry's tags, what they mean, since when we know ─> decide ─> Update, or None

An age counts from when this agent saw the tag mean that digest first: what an image says of itself, or its
registry, can be made up. Called by `watcher`; nothing here asks anybody.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.manifest.spec import UpdateSpec
from agent.updates.versions import Level, newer_tags
from agent.updates.window import parse_window


@dataclass(frozen=True, slots=True)
class Update:
    """Something newer. tag: the one to write, the present one where only its digest is another. why: what is
    newer, in words. waits: why it is not to be taken yet, "" when it may be."""

    tag: str
    digest: str
    seen_at: float
    why: str
    waits: str = ""

    @property
    def is_due(self) -> bool:
        return not self.waits


def candidates(policy: UpdateSpec, tag: str, tags: Sequence[str]) -> tuple[str, ...]:
    """The tags that may be taken, the best first: whose digests are to be known for `decide`. The present one
    last: that it means something else now is the least of news."""
    level: Level | None = None if policy.policy == "digest" else policy.policy
    newer = newer_tags(tag, tags, level, prereleases=policy.prereleases) if level is not None else ()
    return (*newer, tag)


def decide(
    policy: UpdateSpec,
    tag: str,
    present: str,
    offered: Sequence[tuple[str, str]],
    seen_at: Mapping[tuple[str, str], float],
    now: float,
    local: time.struct_time,
) -> Update | None:
    """The best that is old enough, else the best that is not, with what it waits for. present: the digest
    that is wanted or runs now, "" when that is not known. offered: (tag, digest), the best first. seen_at:
    (tag, digest) -> when it was seen first. local: `now` as this host's clocks show it."""
    news = [each for each in offered if _is_news(each, tag, present)]
    young: Update | None = None
    for found, digest in news:
        since = seen_at.get((found, digest), now)
        left = policy.minimum_age - (now - since)
        why = f"{found} is newer than {tag}" if found != tag else f"{tag} means {digest[:19]} now"
        if left <= 0:
            return Update(found, digest, since, why, _outside(policy, local))
        if young is None:
            young = Update(found, digest, since, why, f"is too new for another {_span(left)}")
    return young


def _is_news(offered: tuple[str, str], tag: str, present: str) -> bool:
    """A digest that nobody knows is not news, nor is the present one under another name of the same tag."""
    found, digest = offered
    if not digest:
        return False
    return found != tag or (bool(present) and digest != present)


def _outside(policy: UpdateSpec, local: time.struct_time) -> str:
    """What it waits for when the time is not one of its windows."""
    windows = [parse_window(text) for text in policy.window]
    if not windows or any(window is not None and window.is_open(local) for window in windows):
        return ""
    return f"waits for {' or '.join(policy.window)}"


def _span(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"
