"""Manifests, indexes and configs from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.images import documents
from runtime.images.config import parse_config, parse_time
from runtime.images.documents import (
    Descriptor,
    Platform,
    choose_platform,
    parse_descriptor,
    parse_index,
    parse_json,
    parse_manifest,
)
from tests.unit.images import craft

AMD64 = Platform("linux", "amd64")
DIGEST = "sha256:" + "0" * 64


def manifest(**changes: Any) -> bytes:
    value = json.loads(craft.manifest(craft.config([b"x"]), [b"x"]))
    value.update(changes)
    return json.dumps({key: item for key, item in value.items() if item is not ...}).encode()


def config(**inner: Any) -> bytes:
    return craft.config([], **inner)


# --- manifests --------------------------------------------------------------------------------


def test_manifest() -> None:
    found = parse_manifest(manifest(), documents.OCI_MANIFEST, "x")
    assert [layer.digest for layer in found.layers] == [craft.digest(b"x")]
    assert parse_manifest(manifest(mediaType=...), documents.OCI_MANIFEST, "x") == found
    assert parse_manifest(manifest(), "", "x") == found


@pytest.mark.parametrize("data", [
    b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 50_000, b"NaN",
    b'{"a":NaN}',
    b'{"a":Infinity}', b"{}", b"9" * 5000,
    manifest(schemaVersion=1), manifest(schemaVersion=...), manifest(mediaType=documents.OCI_INDEX),
    manifest(mediaType=documents.DOCKER_MANIFEST), manifest(mediaType=7), manifest(mediaType=[]),
    manifest(manifests=[]), manifest(layers=...), manifest(layers={}), manifest(layers=[1]),
    manifest(layers=[{}]),
    manifest(config=...), manifest(config=[]), manifest(config={}),
    manifest(layers=[craft.descriptor(documents.OCI_LAYER, b"")] * 129),
    *(manifest(layers=[{"mediaType": documents.OCI_LAYER, "size": 1, "digest": digest}]) for digest in (
        "", "sha256:", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha512:" + "0" * 128, "../../etc/passwd",
        "sha256:../" + "0" * 61, 7, None, DIGEST + "\n", DIGEST + "/x",
    )),
    *(manifest(layers=[{"mediaType": documents.OCI_LAYER, "size": size, "digest": DIGEST}]) for size in (
        -1, 1.5, "1", None, True, 1 << 60, 10**400,
    )),
])  # fmt: skip
def test_refused_manifests(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_manifest(data, documents.OCI_MANIFEST, "x")


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.layer.v1.tar+encrypted", "text/plain", ""])
def test_unknown_layers(kind: str) -> None:
    with pytest.raises(Unsupported):
        parse_manifest(manifest(layers=[craft.descriptor(kind, b"")]), documents.OCI_MANIFEST, "x")


def test_a_chart_is_no_image() -> None:
    data = manifest(config=craft.descriptor("application/vnd.cncf.helm.config.v1+json", b""))
    with pytest.raises(Unsupported, match="not a container image"):
        parse_manifest(data, documents.OCI_MANIFEST, "x")


@pytest.mark.parametrize("changes", [{"layers": []}, {"config": {}}, {"manifests": {}}, {"mediaType": "x/y"}])
def test_refused_indexes(changes: dict[str, object]) -> None:
    data = json.dumps({**json.loads(craft.index()), **changes}).encode()
    with pytest.raises(Invalid):
        parse_index(data, "", "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "config",
    "layers",
    "manifests",
    "mediaType",
    "schemaVersion",
    "digest",
    "size",
    "platform",
    "annotations",
]


@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.sampled_from(KEYS), json_values)
def test_any_document_is_read_or_refused(extra: dict[str, object], key: str, value: object) -> None:
    data = json.dumps({**json.loads(manifest()), **extra, key: value}).encode()
    for parse in (parse_manifest, parse_index):
        try:
            parse(data, "", "x")
        except SetpointError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        assert isinstance(parse_json(data, "x"), dict)
    except Invalid:
        return


# --- platforms --------------------------------------------------------------------------------


def offered(*platforms: str) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor("m", f"sha256:{number:064}", 1, Platform(*text.split("/")) if text else None)
        for number, text in enumerate(platforms)
    )


@pytest.mark.parametrize(("host", "there", "chosen"), [
    ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
    ("linux/amd64", ["windows/amd64", "linux/amd64"], 1),
    ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
    ("linux/amd64", ["", "linux/amd64"], 1),
    ("linux/amd64", ["", "linux/arm64"], 0),
    ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v8"], 1),
    ("linux/arm64/v8", ["linux/arm64"], 0),
    ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v7"], 1),
    ("linux/arm/v7", ["linux/arm/v6"], 0),
    ("linux/amd64", ["unknown/unknown", "linux/amd64"], 1),
])  # fmt: skip
def test_platform(host: str, there: list[str], chosen: int) -> None:
    entries = offered(*there)
    assert choose_platform(entries, Platform(*host.split("/")), "x") == entries[chosen]


@pytest.mark.parametrize(
    "there", [[], ["linux/arm64"], ["linux/arm/v7"], ["unknown/unknown"], ["windows/amd64"]]
)
def test_no_platform(there: list[str]) -> None:
    host = Platform("linux", "arm", "v6") if there == ["linux/arm/v7"] else AMD64
    with pytest.raises(Unsupported, match="made for"):
        choose_platform(offered(*there), host, "x")


# --- configs ----------------------------------------------------------------------------------


def test_config() -> None:
    info = parse_config(
        config(
            Entrypoint=["/init"], Cmd=["a", "b"], Env=["A=b=c", "EMPTY="], WorkingDir="srv/../app/",
            User="1000:1000",
            Volumes={"/data": {}, "/a//b/": {}}, ExposedPorts={"80/tcp": {}, "53": {}, "x": {},
            "70000/tcp": {}},
            Labels={"a": "b", "setpoint.owner": "root"}, StopSignal="SIGINT",
            Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000, "Retries": 3,
            "Timeout": 0},
        ),
        DIGEST,
    )  # fmt: skip
    assert (info.entrypoint, info.command) == (("/init",), ("a", "b"))
    assert info.environment == ("A=b=c", "EMPTY=")
    assert (info.working_dir, info.user, info.stop_signal) == ("/app", "1000:1000", "SIGINT")
    assert info.volumes == ("/data", "/a/b")
    assert info.exposed_ports == ("80/tcp", "53/tcp")
    assert info.labels == {"a": "b"}
    assert info.healthcheck == {"Test": ("CMD-SHELL", "true"), "Interval": 30_000_000_000, "Retries": 3}
    assert info.created_at == pytest.approx(1577934245.678901)
    assert info.architecture == "amd64"


def test_an_empty_config() -> None:
    info = parse_config(b"{}", DIGEST)
    assert (info.os, info.layers, info.healthcheck, info.labels) == ("linux", (), None, {})
    assert parse_config(b'{"config":null,"rootfs":null}', DIGEST) == info


@pytest.mark.parametrize("inner", [
    *({"Env": entries} for entries in (["FOO"], ["=x"], [""], ["FOO*"], ["A=\0"], [7], [None], "A=b",
    {"A": "b"})),
    *({"Volumes": {path: {}}} for path in (
        "", "/", "..", "/../../etc/passwd", "relative", "/a/../b", "/proc/1", "/proc", "/sys/kernel",
        "/dev/sda", "//",
        "/./", "/a\0b", "/" + "x" * 5000, "\ud800",
    )),
    {"Volumes": ["/data"]}, {"Volumes": "/data"},
    {"Cmd": "sh"}, {"Cmd": [1]}, {"Cmd": ["a\0"]}, {"Cmd": ["\ud800"]}, {"Entrypoint": {"a": 1}},
    {"Labels": {"a": 1}}, {"Labels": ["a"]}, {"Labels": {"a": None, "b": []}},
    {"User": 0}, {"User": "a\0b"}, {"WorkingDir": ["/"]}, {"StopSignal": 9},
    {"Healthcheck": []}, {"Healthcheck": {"Test": "true"}}, {"Healthcheck": {"Test": ["true"]}},
    {"Healthcheck": {"Test": ["CMD-SHELL"]}}, {"Healthcheck": {"Test": ["CMD", "x"], "Interval": "30s"}},
    {"Healthcheck": {"Test": ["CMD", "x"], "Interval": -1}}, {"Healthcheck": {"Test": ["CMD", "x"],
    "Retries": 1.5}},
    {"Healthcheck": {"Test": ["CMD", "x"], "Timeout": 2**63}}, {"Healthcheck": {"Test": ["CMD", "x"],
    "Retries": True}},
    {"Cmd": ["x"] * 20_000}, {"Labels": {str(number): "x" for number in range(20_000)}},
])  # fmt: skip
def test_refused_configs(inner: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        parse_config(config(**inner), DIGEST)
    assert caught.value.hint
    str(caught.value).encode()


@pytest.mark.parametrize("rootfs", [[], {"diff_ids": "x"}, {"diff_ids": ["x"]}, {"diff_ids": [DIGEST] * 129}])
def test_refused_layers(rootfs: object) -> None:
    with pytest.raises(Invalid):
        parse_config(json.dumps({"rootfs": rootfs}).encode(), DIGEST)


@pytest.mark.parametrize(("text", "seconds"), [
    ("1970-01-01T00:00:00Z", 0.0), ("2020-01-02T03:04:05Z", 1577934245.0), ("2020-01-02T04:04:05+01:00",
    1577934245.0),
    ("2020-01-02T03:04:05", 1577934245.0), ("2020-01-02T03:04:05.5Z", 1577934245.5),
    ("0001-01-01T00:00:00Z", None),
    ("", 0.0), ("yesterday", 0.0), (None, 0.0), (7, 0.0), ("9" * 1000, 0.0),
])  # fmt: skip
def test_time(text: object, seconds: float | None) -> None:
    found = parse_time(text)
    assert isinstance(found, float)
    assert seconds is None or found == seconds


@given(json_values)
def test_any_config_is_read_or_refused(value: object) -> None:
    for key in ("Env", "Cmd", "Volumes", "Labels", "Healthcheck", "ExposedPorts", "User", "WorkingDir"):
        try:
            parse_config(config(**{key: value}), DIGEST)
        except Invalid:
            continue


def test_descriptor_keeps_only_text_in_annotations() -> None:
    found = parse_descriptor(
        {
            "mediaType": "a/b",
            "digest": DIGEST,
            "size": 0,
            "annotations": {"a": "b", "c": 1},
            "platform": {"os": 1},
        },
        "x",
    )
    assert found == Descriptor("a/b", DIGEST, 0, Platform("", ""), {"a": "b"})
