"""Who is told who we are, when that is said for one request."""

from __future__ import annotations

from runtime.images.registry.credentials import ANYBODY, Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin, asked_as

KNOWN, GIVEN = Credential("known", "here"), Credential("given", "once")
MIRROR, REGISTRY = Origin(Endpoint("mirror.lan"), KNOWN), Origin(Endpoint("lab.example"), KNOWN)


def test_only_the_registry_itself_hears_of_it() -> None:
    assert asked_as(GIVEN, (MIRROR, REGISTRY)) == (MIRROR, Origin(Endpoint("lab.example"), GIVEN))


def test_nothing_was_said() -> None:
    assert asked_as(None, (MIRROR, REGISTRY)) == (MIRROR, REGISTRY)
    assert asked_as(GIVEN, ()) == ()


def test_anybody_is_nobody_that_is_known_here() -> None:
    asked = asked_as(ANYBODY, (MIRROR, REGISTRY))
    assert [origin.credential for origin in asked] == [None, None]
    assert [origin.endpoint for origin in asked] == [MIRROR.endpoint, REGISTRY.endpoint]
