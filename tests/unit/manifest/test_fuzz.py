"""Whatever bytes come: the reader gives errors, and raises nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.manifest.objects import Revision
from agent.manifest.reader import Reader, read
from agent.manifest.service import FIELDS
from agent.manifest.topology import NETWORK_FIELDS, VOLUME_FIELDS

SAMPLES = [
    line.encode()
    for path in sorted((Path(__file__).parent / "cases").glob("*.txt"))
    for line in path.read_text().split("--- ")
    if "\nservices" in line or "\napiVersion" in line
]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["80:80", "a=b", "/a:/b", "./x:/y", "1g", "10s", "service:a", "${A:-b}", "$", "CMD", "-1", "0"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["a", "target", "type", "test", "limits"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


def flow(value: object) -> str:
    """A value as YAML in flow style, which JSON is."""
    return json.dumps(value, ensure_ascii=True)


def check(files: dict[str, bytes]) -> None:
    manifest = read(Revision("r", "s", files, base="/srv"))
    broken = {error.where.file for error in manifest.errors}
    assert {path for path in broken if path.endswith("yaml")} <= manifest.frozen_files
    assert not {found.where.file for found in manifest.objects.values()} & manifest.frozen_files
    for problem in (*manifest.errors, *manifest.warnings):
        assert problem.message
        assert problem.where.line > 0
        assert problem.where.column > 0


@QUICK
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    check({"a/compose.yaml": data, "a/.env": data, "b.yaml": data})


@QUICK
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_manifests(sample: bytes, data: st.DataObject) -> None:
    text = bytearray(sample.partition(b"\n")[2])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        change = data.draw(
            st.sampled_from([b"", b"\0", b"'", b"[", b"{", b":", b"\n", b"*a", b"&a ", b"- ", b"$", b"!x "])
        )
        text[at : at + data.draw(st.integers(0, 8))] = change
    check({"a/compose.yaml": bytes(text), "b.yaml": bytes(text)})


@QUICK
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), values, max_size=6))
def test_random_values_in_every_field(fields: dict[str, object]) -> None:
    check({"a/compose.yaml": f"services: {{a: {flow(fields)}, b: {{image: x}}}}".encode()})


@QUICK
@given(
    st.dictionaries(st.sampled_from(sorted(NETWORK_FIELDS)), values, max_size=4),
    st.dictionaries(st.sampled_from(sorted(VOLUME_FIELDS)), values, max_size=4),
)
def test_random_networks_and_volumes(network: dict[str, object], volume: dict[str, object]) -> None:
    check({"a/compose.yaml": f"networks: {{a: {flow(network)}}}\nvolumes: {{a: {flow(volume)}}}".encode()})


@QUICK
@given(st.text(max_size=200), st.text(max_size=60))
def test_random_variables(env: str, text: str) -> None:
    check(
        {
            "compose.yaml": f"services: {{a: {{image: x, command: [{flow(text)}]}}}}".encode(),
            ".env": env.encode("utf-8", "replace"),
        }
    )


def test_truncated_at_each_byte() -> None:
    whole = b"services:\n  web:\n    image: nginx:1.27\n    ports: ['80:80']\nvolumes:\n  data:\n"
    reader = Reader()
    for end in range(len(whole)):
        manifest = reader.read(Revision("r", "s", {"compose.yaml": whole[:end]}))
        assert manifest.objects or manifest.frozen_files or not manifest.errors


@pytest.mark.parametrize("first", ["apiVersion: setpoint/v1\n", "# a note\napiVersion: setpoint/v1\n"])
def test_half_an_envelope_takes_nothing_away(first: str) -> None:
    """However much of a file with one object is there: the object is read, or its file is frozen."""
    whole = (first + "kind: Container\nmetadata: {name: web}\nspec:\n  image: nginx\n").encode()
    reader = Reader()
    for end in range(len(whole)):
        manifest = reader.read(Revision("r", "s", {"a/web.yaml": whole[:end]}))
        assert manifest.objects or manifest.frozen_files == {"a/web.yaml"}


def test_paths_of_every_kind() -> None:
    names = [
        "",
        "/",
        "a//compose.yaml",
        "../compose.yaml",
        "a/\n/compose.yaml",
        "ä/compose.yaml",
        "\udcff/compose.yaml",
    ]
    read(Revision("r", "s", dict.fromkeys(names, b"services: {a: {image: x}}")))
