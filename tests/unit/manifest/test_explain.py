"""Every field is described, every example is read, and the schema takes what the reader takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.manifest import (
    parse_build,
    parse_mounts,
    parse_network,
    parse_ports,
    parse_run,
    parse_secrets,
    parse_socket,
)
from agent.manifest.descriptions import (
    ATTACHMENT,
    BUILD,
    BUILD_SECRET,
    CONTAINER,
    DEPENDENCY,
    DEPLOY,
    HEALTHCHECK,
    MOUNT,
    NETWORK,
    PORT,
    QUOTA,
    SECRET,
    SHARE,
    SOCKET,
    VOLUME,
    Description,
)
from agent.manifest.explain import explain
from agent.manifest.objects import Revision
from agent.manifest.reader import read
from agent.manifest.schema import compose_schema, envelope_schema
from agent.manifest.service import FIELDS, LACKING, OWN_FIELDS
from agent.manifest.topology import NETWORK_FIELDS, VOLUME_FIELDS
from runtime.errors import NotFound


@pytest.mark.parametrize(
    ("described", "read"),
    [
        (CONTAINER, FIELDS),
        (NETWORK, NETWORK_FIELDS),
        (VOLUME, VOLUME_FIELDS),
        (HEALTHCHECK, parse_run.HEALTHCHECK_FIELDS),
        (DEPENDENCY, parse_run.DEPENDENCY_FIELDS),
        (DEPLOY, parse_run.DEPLOY_FIELDS),
        (ATTACHMENT, parse_network.ATTACHMENT_FIELDS),
        (PORT, parse_ports.LONG_FIELDS),
        (MOUNT, parse_mounts.LONG_FIELDS),
        (BUILD, parse_build.FIELDS),
        (BUILD_SECRET, parse_secrets.ITEM_FIELDS),
        (SECRET, parse_secrets.SECTION_FIELDS),
        (SOCKET, parse_socket.FIELDS),
        (QUOTA, parse_socket.QUOTA),
        (SHARE, parse_socket.SHARE),
    ],
)
def test_every_field_is_described(described: dict[str, Description], read: dict[str, Any]) -> None:
    assert set(described) == set(read)
    assert all(field.text.endswith(".") and field.example for field in described.values())


def test_own_fields_are_said_to_be_so() -> None:
    assert all("Setpoint's own" in CONTAINER[name].text for name in OWN_FIELDS)
    assert not LACKING & set(FIELDS)


def document(kind: str, name: str, example: str) -> dict[str, Any]:
    """A compose file around one field's example."""
    field = yaml.safe_load(example)
    if kind == "build":
        return {"services": {"a": {"build": field}}}
    if kind == "container":
        services = {"a": {"image": "x"} | field, "db": {"image": "y", "network_mode": "none"}}
        if "memswap_limit" in field:
            services["a"]["mem_limit"] = "64m"
        return {"services": services}
    return {f"{kind}s": {"a": field}}


EXAMPLES = [
    pytest.param(kind, name, field.example, id=f"{kind}.{name}")
    for kind, fields in (
        ("container", CONTAINER),
        ("build", BUILD),
        ("network", NETWORK),
        ("volume", VOLUME),
    )
    for name, field in fields.items()
]


@pytest.mark.parametrize(("kind", "name", "example"), EXAMPLES)
def test_every_example_is_read_and_fits_the_schema(kind: str, name: str, example: str) -> None:
    content = document(kind, name, example)
    data = yaml.safe_dump(content, default_style=None).encode()
    assert read(Revision("r", "s", {"compose.yaml": data}, base="/srv")).errors == ()
    jsonschema.validate(content, compose_schema())


def test_the_schemas_are_schemas() -> None:
    for schema in (compose_schema(), envelope_schema()):
        jsonschema.Draft202012Validator.check_schema(schema)


def good_cases() -> list[str]:
    """The files of the cases that have no errors."""
    found = []
    for path in sorted((Path(__file__).parent / "cases").glob("*.txt")):
        for case in path.read_text().split("=== "):
            if "--- errors" not in case:
                parts = [part.partition("\n") for part in case.split("--- ")[1:]]
                found += [text for name, _, text in parts if name.endswith(("compose.yaml", "compose.yml"))]
    return found


@pytest.mark.parametrize("text", good_cases())
def test_the_schema_takes_what_the_reader_takes(text: str) -> None:
    class Texts(yaml.SafeLoader):
        """Merge keys, and every plain value that YAML 1.1 would turn into a date or a sexagesimal as text."""

    Texts.yaml_implicit_resolvers = {
        first: [
            (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":int", ":bool"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    jsonschema.validate(yaml.load(text, Texts), compose_schema())


@pytest.mark.parametrize(
    "content",
    [
        {"services": {"a": {}}},
        {"services": {"a": {"image": "x", "prots": []}}},
        {"services": {"a": {"image": "x", "healthcheck": {"tset": "x"}}}},
        {"services": {"a b": {"image": "x"}}},
        {"configs": {}},
    ],
)
def test_the_schema_refuses(content: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, compose_schema())


def test_the_envelope_schema() -> None:
    validator = jsonschema.Draft202012Validator(envelope_schema())
    good = {
        "apiVersion": "setpoint/v1",
        "kind": "Container",
        "metadata": {"name": "a"},
        "spec": {"image": "x"},
    }
    assert validator.is_valid(good)
    assert validator.is_valid(good | {"kind": "Volume", "spec": None})
    assert not validator.is_valid(good | {"kind": "Pod"})
    assert validator.is_valid(good | {"kind": "Socket", "spec": {"allow": ["read"], "time_to_live": "2h"}})
    assert not validator.is_valid(good | {"kind": "Socket", "spec": {"path": "/run/x.sock"}})
    assert not validator.is_valid(good | {"spec": {}})


def test_explain() -> None:
    kinds = ["container", "image", "metadata", "network", "socket", "volume"]
    assert [name for name, _ in explain().fields] == kinds
    assert "containers: read, create" in str(explain("socket.allow"))
    assert str(explain("Container.healthcheck.http")).startswith(
        "container.healthcheck.http\n\n  A GET request"
    )
    assert explain("healthcheck.tcp").path == "container.healthcheck.tcp"
    assert "keep" in dict(explain("volume").fields)
    assert "  retries " in str(explain("container.healthcheck"))


@pytest.mark.parametrize(
    ("path", "hint"),
    [("container.prots", 'did you mean "ports"?'), ("pod", ""), ("volume.keep.x", ""), ("healthchek", "")],
)
def test_explain_what_is_not_there(path: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        explain(path)
    assert caught.value.hint == hint


def test_what_has_no_example_shows_none() -> None:
    assert str(explain("volume")).startswith(
        "volume\n\n  A directory that outlives its containers.\n\n  driver "
    )
