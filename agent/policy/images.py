"""Which images may come to this host, and run here: one function, from what is known of an image to a
refusal or none. Pure. Every way of an image goes through it: manifests, pulls, loads, imports, tags,
commits, builds and what they are built on, the API; see `gate` and `agent.reconcile.needs`, which only carry
it out.

    images:                                  the first whose `match` fits an image is its rule
      ours: {match: [registry.example.com/shop/*], signed_by: [PEM]}
      hub:  {match: [docker.io/*], pinned: true, minimum_age: 72h, architectures: [amd64]}
      rest: {match: ["*"], deny: true}
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.policy.policy import Allow, ImageRule, Policy
from agent.policy.signatures import is_signed
from runtime.errors import Invalid
from runtime.images.facts import ImageFacts
from runtime.images.reference import DEFAULT_DOMAIN, is_digest, parse_reference

# Names that are of the hub's own registry, as a pull would reach it.
_HEX_ID = re.compile(r"[0-9a-f]{64}")
_HUB_HOSTS = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """rule: as the policy names it; line: in its file, 0 for none. text: what is wrong, after "image X ".
    until: when time alone will have mended it. is_unsigned: another signature would mend it."""

    rule: str
    line: int
    text: str
    hint: str
    until: float | None = None
    is_unsigned: bool = False

    def message(self, policy: Policy, name: str) -> str:
        place = f"{policy.origin}:{self.line}" if self.line else policy.origin
        return f"image {name or 'without a name'} is not allowed by {place} (rule {self.rule}): {self.text}"


def judge_image(policy: Policy, facts: ImageFacts, now: float, allow: Allow | None = None) -> Refusal | None:
    """All of it: the name, and what is known of the image. now: Unix seconds. allow: what the project that it
    is for may ask for, None for an image that comes by hand. None allows it."""
    if refusal := judge_name(policy, facts.name, allow, is_exact=facts.is_exact):
        return refusal
    rule = rule_of(policy, facts.name)
    return _judge_content(rule, facts, now) if rule is not None else None


def judge_name(
    policy: Policy, name: str, allow: Allow | None = None, *, is_exact: bool = False
) -> Refusal | None:
    """What a name alone says: before anything is fetched, and for what manifests write. is_exact: see
    ImageFacts."""
    if not has_rules(policy):
        return None
    if not _is_listed(policy, allow, name):
        line = policy.lines.get("images", 0)
        return Refusal("images", line, "it is not in the list", "add it to allow.images there")
    return judge_rule(policy, name, is_exact=is_exact)


def judge_rule(policy: Policy, name: str, *, is_exact: bool = False) -> Refusal | None:
    """The same by its rule alone, for a project with a list of its own."""
    rule = rule_of(policy, name)
    if rule is None:
        return None
    if rule.deny:
        return _refused(rule, "its registry is denied", "take it from another, or change the rule")
    if rule.pinned and not is_exact and "@sha256:" not in name:
        hint = "write NAME@sha256:DIGEST; `setpoint image inspect` shows it"
        return _refused(rule, "it has no digest", hint)
    return None


def judge_any(policy: Policy, found: Sequence[ImageFacts], now: float, allow: Allow) -> Refusal | None:
    """An image that is here. Asked for by its id, each of its names is known, and one that is allowed is
    enough."""
    first: Refusal | None = None
    if not found:  # which is no reason to allow it
        return Refusal("images", 0, "nothing is known of it", "")
    for facts in found:
        refusal = judge_image(policy, facts, now, allow)
        if refusal is None:
            return None
        first = first or refusal
    return first


def is_id(text: str) -> bool:
    """Of an image, as manifests may write one: it is no name."""
    return is_digest(text) or _HEX_ID.fullmatch(text) is not None


def has_rules(policy: Policy) -> bool:
    """Whether any image may be refused."""
    return not policy.is_open and (policy.allow.images is not None or bool(policy.images))


def rule_of(policy: Policy, name: str) -> ImageRule | None:
    """The first that fits. By the host and the path of a name alone: a tag is whatever somebody calls it."""
    known = _host_and_path(name)
    return next((rule for rule in policy.images if _fits(rule.match, known)), None)


def _judge_content(rule: ImageRule, facts: ImageFacts, now: float) -> Refusal | None:
    if rule.architectures and facts.architecture not in rule.architectures:
        known = ", ".join(sorted(rule.architectures))
        return _refused(rule, f"it is for {facts.architecture or 'nobody knows what'}, not {known}", "")
    if rule.signed_by and not is_signed(facts.digests, facts.signatures, rule.signed_by, rule.identities):
        count = len(facts.signatures)
        found = f"none of its {count} signatures is" if count else "no signature of it is known here that is"
        hint = f"sign it with cosign, then `setpoint image pull {facts.name or 'NAME'}` brings the signature"
        return replace(_refused(rule, f"{found} by a key of the rule", hint), is_unsigned=True)
    old_at = facts.first_seen_at + rule.minimum_age_seconds
    if rule.minimum_age_seconds and now < old_at:
        text = f"this host first saw it {_span(now - facts.first_seen_at)} ago"
        hint = f"it may run in {_span(old_at - now)}"
        return _refused(rule, f"{text}, and {_span(rule.minimum_age_seconds)} is the least", hint, old_at)
    return None


def _refused(rule: ImageRule, text: str, hint: str, until: float | None = None) -> Refusal:
    return Refusal(f"images.{rule.name}", rule.line, text, hint, until)


def _is_listed(policy: Policy, allow: Allow | None, name: str) -> bool:
    """By hand it comes for no project: what one of them may run, may come."""
    if policy.allow.images is None:
        return True
    projects = (rule.allow for rule in policy.projects.values())
    rules = (policy.allow, *projects) if allow is None else (allow,)
    return any(is_in_list(rule.images, name) for rule in rules if rule.images is not None)


def is_in_list(patterns: tuple[str, ...], name: str) -> bool:
    """By its whole name, `docker.io/library/nginx:1.27`, or that without its tag."""
    try:
        reference = parse_reference(name)
    except Invalid:  # what is no name at all, pulls nothing; said by who reads it
        return False
    names = (reference.canonical, reference.repository)
    return any(fnmatch.fnmatchcase(each, pattern) for each in names for pattern in patterns)


def _fits(patterns: tuple[str, ...], known: str) -> bool:
    return any(fnmatch.fnmatchcase(known, pattern) for pattern in patterns)


def _host_and_path(name: str) -> str:
    """As a pull reaches it: hosts have no case, and 443 is what HTTPS means; "" for what is no name."""
    try:
        reference = parse_reference(name)
    except Invalid:
        return ""
    host = re.sub(r":0*443$", "", reference.domain.lower())
    return f"{DEFAULT_DOMAIN if host in _HUB_HOSTS else host}/{reference.path}"


def _span(seconds: float) -> str:
    """`3 days`, `5 h`, `10 min`, `7 s`."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit != "days"):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
