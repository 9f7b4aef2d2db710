"""What there is in a registry: the tags of a repository, and repositories by a word.

    tags      /v2/NAME/tags/list, page by page (OCI distribution-spec, "Listing Tags")
    search    /v1/search?q=WORD, as the hub has it; where there is none /v2/_catalog, filtered here

Called by `remote`. Answers are bounded in number and length, and names that are none are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import urllib3

from runtime.errors import Invalid, NotFound, SetpointError
from runtime.images.content import MAX_DOCUMENT_BYTES
from runtime.images.reference import DEFAULT_DOMAIN, parse_reference
from runtime.images.registry.endpoints import HUB_HOST
from runtime.images.registry.origin import Origin
from runtime.images.registry.repository import Repository, Request
from runtime.images.registry.said import json_object, untrusted
from runtime.images.registry.told import FoundRepository
from runtime.images.registry.transport import explained

HUB_SEARCH_HOST = "index.docker.io"
PAGE = 1000
MAX_PAGES = 100
MAX_DESCRIPTION = 300
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NEXT = re.compile(r'<([^>]{1,4096})>\s*;\s*rel="?next"?')


def list_tags(repository: Repository, most: int) -> tuple[str, ...]:
    """At most so many, in the registry's order."""
    found: list[str] = []
    for page in _pages(repository, f"{repository.url}/tags/list?n={PAGE}"):
        found += [each for each in _texts(page.get("tags")) if _TAG.fullmatch(each)]
        if len(found) >= most:
            break
    return tuple(found[:most])


def search(domain: str, word: str, origin: Origin, most: int) -> tuple[FoundRepository, ...]:
    """Repositories whose names (or, where the registry knows them, descriptions) have a word in them; all of
    a small registry for ""."""
    if origin.endpoint.host == HUB_HOST:
        origin = replace(origin, endpoint=replace(origin.endpoint, host=HUB_SEARCH_HOST))
    scope = "" if domain == DEFAULT_DOMAIN else "registry:catalog:*"
    repository = Repository(origin.endpoint, "", origin.credential, scope=scope or "registry:search:*")
    try:
        try:
            return _search_by_word(repository, origin, domain, word, most)
        except (NotFound, Invalid):  # docker-registry says no by a page that is no JSON
            if domain == DEFAULT_DOMAIN:
                raise
        return _search_catalog(repository, origin, domain, word, most)
    except NotFound:
        raise NotFound("search images", domain, "that registry tells nobody what it has") from None
    finally:
        repository.close()


def _search_by_word(
    repository: Repository, origin: Origin, domain: str, word: str, most: int
) -> tuple[FoundRepository, ...]:
    url = f"{origin.endpoint.url}/v1/search?" + urlencode({"q": word, "n": min(most, 100)})
    page, _ = _page(repository, url)
    results = page.get("results")
    if not isinstance(results, list):
        raise NotFound("search images", domain, "it knows no search")
    found = (_to_found(each, domain) for each in results if isinstance(each, dict))
    return tuple(each for each in found if each is not None)[:most]


def _search_catalog(
    repository: Repository, origin: Origin, domain: str, word: str, most: int
) -> tuple[FoundRepository, ...]:
    found: list[FoundRepository] = []
    for page in _pages(repository, f"{origin.endpoint.url}/v2/_catalog?n={PAGE}"):
        names = (each for each in _texts(page.get("repositories")) if word.lower() in each)
        found += [FoundRepository(name) for each in names if (name := _familiar(domain, each))]
        if len(found) >= most:
            break
    return tuple(found[:most])


def _to_found(value: dict[str, Any], domain: str) -> FoundRepository | None:
    name = _familiar(domain, value.get("name"))
    stars, text = value.get("star_count"), value.get("description")
    if not name:
        return None
    words = " ".join(text.split())[:MAX_DESCRIPTION] if isinstance(text, str) else ""
    count = stars if isinstance(stars, int) and not isinstance(stars, bool) else -1
    return FoundRepository(name, words, count, value.get("is_official") is True)


def _familiar(domain: str, path: object) -> str:
    """The name to pull it by, "" for what is no name."""
    if not isinstance(path, str):
        return ""
    try:
        return parse_reference(f"{domain}/{path}").familiar_repository
    except SetpointError:
        return ""


# --- pages ------------------------------------------------------------------------------------


def _pages(repository: Repository, url: str) -> Iterator[dict[str, Any]]:
    for _ in range(MAX_PAGES):
        page, answer = _page(repository, url)
        yield page
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            return
        url = repository.next_url(url, following[1])


def _page(repository: Repository, url: str) -> tuple[dict[str, Any], urllib3.BaseHTTPResponse]:
    answer = repository.again(lambda: repository.ask(Request("GET", url)))
    try:
        with explained(repository.subject):
            data = answer.read(MAX_DOCUMENT_BYTES + 1)
    finally:
        answer.close()
    if len(data) > MAX_DOCUMENT_BYTES:
        raise untrusted(repository.subject, f"a list of more than {MAX_DOCUMENT_BYTES} bytes")
    return dict(json_object(data)), answer


def _texts(value: object) -> Sequence[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
