"""The document of our own API: made of the table, and nothing of it unsaid."""

from __future__ import annotations

import dataclasses
import json
import time

import jsonschema
import pytest

from agent.api.native_routes import ROUTES
from agent.api.openapi.document import document_of
from agent.client import Client
from runtime.errors import Invalid


def test_every_route_says_what_it_does_and_every_word_of_it_what_it_is_for() -> None:
    document = document_of(ROUTES, "1")
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(ROUTES)
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    for operation in operations:
        assert 0 < len(operation["summary"]) <= 110, operation["operationId"]
        assert all(word["description"] for word in operation["parameters"])
        assert {"200", "101"} & operation["responses"].keys()


def test_a_route_whose_handler_says_nothing_is_no_route() -> None:
    async def silent(request: object) -> None: ...

    row = dataclasses.replace(ROUTES[0], handler=silent)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="GET /status: its handler does not say what it does"):
        document_of([row], "1")


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    document = document_of(ROUTES, "1")
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text
    assert text.count('"$ref"') == sum(text.count(f'"#/components/schemas/{name}"') for name in schemas)


def test_it_is_served_with_the_version_of_the_agent(client: Client) -> None:
    document = client.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == client.version()["version"]


def test_a_word_that_a_route_does_not_know_is_refused_with_those_that_it_does(client: Client) -> None:
    with pytest.raises(Invalid, match=r"lmit.*not a word of this query.*it knows key, project"):
        client.get("/events", {"lmit": 3})
    with pytest.raises(Invalid, match="neither yes nor no"):
        client.get("/events", {"follow": "perhaps"})


def test_followed_events_end_at_their_until_though_nothing_happens(client: Client) -> None:
    until = time.time() + 0.3
    followed = list(client.follow_events(until=until))
    assert until <= time.time()
    assert followed == client.events(until=until)
