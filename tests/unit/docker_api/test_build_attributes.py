"""What BuildKit's client asks for, and what of it is refused with what works in its place."""

from __future__ import annotations

import json

import pytest

from agent.api.docker.buildkit.attributes import (
    GATEWAY_SIGN,
    Asked,
    check_cache_exports,
    read_attributes,
    read_exporters,
)
from agent.api.docker.buildkit.named_contexts import MAX_NAMED
from agent.api.docker.buildkit.solve import patterns_of
from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.model import Ulimit


def read(found: dict[str, str]) -> Asked:
    return read_attributes(found, "0" * 32, ("lab/a:1",), is_trusted=False)


def test_every_attribute_that_means_something() -> None:
    asked = read({
        "filename": "a/Dockerfile", "target": "test", "build-arg:A": "1", "label:x": "y",
        "platform": "linux/x86_64", "no-cache": "", "force-network-mode": "none", "shm-size": "1024",
        "image-resolve-mode": "pull", "ulimit": "nofile=1:2,nproc=3", "vcs:revision": "abc",
        "add-hosts": f"a=10.0.0.1,b={GATEWAY_SIGN}",
    })  # fmt: skip
    order, limits = asked.order, asked.limits
    assert (asked.dockerfile, order.target, order.tags) == ("a/Dockerfile", "test", ("lab/a:1",))
    assert (order.arguments, order.labels, order.platform) == ({"A": "1"}, {"x": "y"}, "linux/amd64")
    assert (order.no_cache, order.network, order.pull) == (True, "none", True)
    assert limits.shm_bytes == 1024
    assert limits.ulimits == (Ulimit("nofile", 1, 2), Ulimit("nproc", 3, 3))
    assert limits.extra_hosts == (("a", "10.0.0.1"), ("b", "host-gateway"))
    assert order.asks_caller and asked.is_local and not order.is_trusted


def test_nothing_but_a_file_name() -> None:
    asked = read({"image-resolve-mode": "local", "filename": ""})
    assert (asked.dockerfile, asked.order.no_cache, asked.order.pull) == ("Dockerfile", False, False)


def test_times_and_caches() -> None:
    imports = [{"Type": "registry", "Attrs": {"ref": "lab/c"}}]
    found = {"build-arg:SOURCE_DATE_EPOCH": "7", "cache-from": "lab/b,lab/c"}
    asked = read({**found, "cache-imports": json.dumps(imports)})
    assert asked.order.epoch == 7
    assert asked.order.cache_from == ("lab/b", "lab/c")


def test_contexts_from_elsewhere() -> None:
    asked = read({"context": "https://example.org/a.git#main", "dockerfilekey": "dockerfile"})
    assert (asked.order.context_kind, asked.is_local, asked.has_own_dockerfile) == ("git", False, True)
    assert read({"context": "https://example.org/a.tar"}).order.context_kind == "url"
    asked = read({"context": "http://buildkit-session/abc123"})
    assert (asked.upload, asked.order.context_kind, asked.is_local) == ("abc123", "none", False)


def test_what_is_beside_the_context() -> None:
    asked = read({"context:base": "docker-image://busybox:1", "context:more": "local:more-files"})
    assert asked.order.contexts == {"base": ("image", "busybox:1")}
    assert asked.shared == {"more": "more-files"}
    many = {f"context:n{number}": "local:x" for number in range(MAX_NAMED + 1)}
    for bad in ({"context:../x": "local:x"}, {"context:x": "docker-image://UPPER"}, many):
        with pytest.raises(Invalid):
            read(bad)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("attest:provenance", "mode=min", "--provenance=false"),
        ("context:base", "oci-layout://x@sha256:1", "docker-image://NAME"),
        ("input:base", "x", "docker-image://IMAGE"),
        ("no-cache", "test", "--no-cache for all of it"),
        ("platform", "linux/amd64,linux/arm64", "one build for each"),
        ("multi-platform", "true", "--platform with one platform"),
        ("cgroup-parent", "/x", "control group of their own"),
        ("hostname", "x", "leave it out"),
        ("requestid", "frontend.outline", "--check"),
        ("force-network-mode", "sandbox", "default, none or host"),
        ("cache-imports", '[{"Type": "gha", "Attrs": {}}]', "type=registry"),
        ("something-new", "x", "leave it out"),
    ],
)
def test_what_is_refused_says_what_works(name: str, value: str, hint: str) -> None:
    with pytest.raises(Unsupported) as refused:
        read({name: value})
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", "file:///etc"), ("add-hosts", "a=b"), ("shm-size", "x"), ("ulimit", "nofile"),
        ("cache-imports", "{"), ("cache-imports", "[1]"), ("cache-imports", "[" * 100_000),
        ("platform", "a b"), ("build-arg:SOURCE_DATE_EPOCH", "yesterday"), ("cache-from", "UPPER"),
    ],
)  # fmt: skip
def test_what_is_wrong(name: str, value: str) -> None:
    with pytest.raises(Invalid):
        read({name: value})


def test_the_image_is_named_canonically() -> None:
    found = read_exporters([("moby", {"name": "lab/a,lab/a:latest,localhost:5000/b:1", "push": "true"})])
    assert found == ("docker.io/lab/a:latest", "localhost:5000/b:1")
    assert read_exporters([]) == ()


@pytest.mark.parametrize(
    "exporter",
    [
        ("local", {}), ("tar", {}), ("oci", {}), ("moby", {"compression": "zstd"}),
        ("moby", {"annotation.a": "b"}),
        ("moby", {"name": "lab/a@sha256:" + "0" * 64}), ("moby", {"name": "UPPER"}),
    ],
)  # fmt: skip
def test_outputs_that_are_no_image_here(exporter: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(SetpointError):
        read_exporters([exporter])


def test_caches_that_are_written() -> None:
    check_cache_exports([("inline", {})])
    with pytest.raises(Unsupported) as refused:
        check_cache_exports([("registry", {"ref": "lab/a"})])
    assert "--cache-to NAME" in refused.value.hint


def test_ignored_patterns_as_the_client_takes_them() -> None:
    text = "\ufeff# comment\n\n *.log \r\n/build/\n!keep/./me\n!/x\n"
    assert patterns_of(text) == ("*.log", "build", "!keep/me", "!x")
