"""What registries say they have: tags page by page, the hub's search, a catalog; and what is not believed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Invalid, NotFound, Temporary
from runtime.images import remote
from runtime.images.registry import listing
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from tests.bad_registry import Answer, BadRegistry
from tests.bad_registry import started as bad
from tests.registry import Registry, make_image, started


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with started(folder / "registry", login=("me", "s3cret")) as registry:
        for name in ("lab/app:1", "lab/app:2", "lab/app:3", "lab/other:1", "top:1"):
            registry.put(
                f"oci:{make_image(folder / re.sub('[/:]', '-', name), [{'n': name.encode()}])}", name
            )
        yield registry


@pytest.fixture
def fake() -> Iterator[BadRegistry]:
    with bad() as registry:
        yield registry


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.images.registry.repository.time.sleep", lambda seconds: None)


def ask(what: str, subject: str, host: str, login: bool = True, **more: Any) -> list[dict[str, Any]]:
    known = Credential("me", "s3cret") if login else None
    origin = Origin(Endpoint(host, is_insecure=True), known)
    return [asdict(each) for each in remote.ask(what, subject, [origin], more)]


def tags(host: str, path: str, most: int = 100) -> list[str]:
    return [each["name"] for each in ask("tags", f"{host}/{path}", host, most=most)]


def found(word: str, host: str, domain: str = "", most: int = 100) -> list[str]:
    return [each["name"] for each in ask("search", word, host, domain=domain or host, most=most)]


def test_tags_page_by_page(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(tags(registry.host, "lab/app")) == ["1", "2", "3"]
    monkeypatch.setattr(listing, "PAGE", 1)
    assert len(tags(registry.host, "lab/app", most=2)) == 2
    with pytest.raises(NotFound):
        tags(registry.host, "lab/none")


def test_a_catalog_is_searched_here(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    host = registry.host
    assert sorted(found("", host)) == [f"{host}/{path}" for path in ("lab/app", "lab/other", "top")]
    assert found("OTHER", host) == [f"{host}/lab/other"]
    monkeypatch.setattr(listing, "PAGE", 1)
    assert sorted(found("lab", host)) == [f"{host}/lab/app", f"{host}/lab/other"]
    with pytest.raises(Invalid, match="does not let us in"):
        ask("search", "", host, login=False, domain=host, most=10)


def test_the_search_that_the_hub_has(fake: BadRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is as index.docker.io's API has it (docker/docs, "Search", v1)."""
    results = [
        {"name": "postgres", "description": "a  database\n", "star_count": 9, "is_official": True},
        {"name": "me/pg", "description": None, "star_count": "many", "is_official": "yes"},
        {"name": "../../etc"}, {"name": "UPPER"}, {"name": 7}, "no object", {"name": "x" * 5000},
    ]  # fmt: skip
    fake.answer("/v1/search", Answer(body=json.dumps({"results": results}).encode()))
    monkeypatch.setattr(listing, "HUB_HOST", fake.host)
    monkeypatch.setattr(listing, "HUB_SEARCH_HOST", fake.host)
    hub = ask("search", "pg sql", fake.host, domain="docker.io", most=10)
    assert hub == [
        {"name": "postgres", "description": "a database", "stars": 9, "is_official": True},
        {"name": "me/pg", "description": "", "stars": -1, "is_official": False},
    ]
    assert fake.seen[-1].path == "/v1/search?q=pg+sql&n=10"


def test_the_hub_is_asked_where_its_search_is() -> None:
    assert (listing.HUB_HOST, listing.HUB_SEARCH_HOST) == ("registry-1.docker.io", "index.docker.io")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"tags": 7}', b'{"tags": [7, null, "..", "a b"]}', b"<html>"]
)
def test_what_is_no_list_of_tags(body: bytes, fake: BadRegistry) -> None:
    fake.answer("/v2/lab/app/tags/list", Answer(body=body))
    assert tags(fake.host, "lab/app") == []


def test_pages_without_an_end_have_one(fake: BadRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGES", 5)
    link = {"Link": '</v2/lab/app/tags/list?n=1&last=1>; rel="next"'}
    fake.answer("/v2/lab/app/tags/list", Answer(headers=link, body=b'{"tags": ["1"]}'))
    assert len(tags(fake.host, "lab/app")) == 5 and len(fake.seen) == 5


def test_a_next_page_elsewhere_hears_no_password(fake: BadRegistry) -> None:
    with bad() as other:
        other.answer("/x", Answer(body=b'{"tags": ["2"]}'))
        link = {"Link": f'<http://{other.host}/x>; rel="next"'}
        asked = Answer(401, {"WWW-Authenticate": 'Basic realm="lab"'})
        fake.answer("/v2/lab/app/tags/list", asked, Answer(headers=link, body=b'{"tags": ["1"]}'))
        assert tags(fake.host, "lab/app") == ["1", "2"]
        assert [each.authorization for each in other.seen] == [""]


def test_an_endless_list(fake: BadRegistry) -> None:
    fake.answer("/v2/lab/app/tags/list", Answer(body=b"[" + b"1," * (3 << 20)))
    with pytest.raises(Invalid, match="a list of more than"):
        tags(fake.host, "lab/app")


def test_what_a_name_means_without_a_pull(registry: Registry, fake: BadRegistry) -> None:
    name = f"{registry.host}/lab/app:1"
    digest = ask("digest", name, registry.host)[0]["digest"]
    described = ask("describe", name, registry.host)[0]
    assert described["digest"] == digest and described["config"]["architecture"] == "amd64"
    assert [layer["size_bytes"] for layer in described["layers"]] == [described["size_bytes"]]
    image = fake.put_image()
    fake.answer(image.manifest_path, Answer(500), Answer(500), Answer(503))
    with pytest.raises(Temporary):
        ask("digest", image.name, fake.host)


def test_a_registry_that_says_no_digest_by_head(fake: BadRegistry, tmp_path: Path) -> None:
    from tests.bad_registry import digest_of, document

    image = fake.put_image()
    answer = document(image.manifest)
    fake.answer(
        image.manifest_path,
        Answer(headers={"Content-Type": answer.headers["Content-Type"]}, body=image.manifest),
    )
    assert ask("digest", image.name, fake.host)[0]["digest"] == digest_of(image.manifest)
