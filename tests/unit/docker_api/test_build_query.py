"""What a classic build's query comes to, and what of it is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from multidict import MultiDict

from agent.api.docker.build_logins import domain_of, read_logins
from agent.api.docker.build_query import read_query
from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.images.registry.credentials import Credential
from runtime.model import Ulimit


def read(*words: tuple[str, str]) -> Any:
    return read_query(MultiDict(words), "0" * 32, is_trusted=True)


def test_nothing_asked_for_is_a_tar_with_a_dockerfile() -> None:
    query = read()
    assert query.has_body
    assert (query.order.dockerfile, query.order.tags, query.order.network) == ("", (), "default")
    assert query.limits.memory_bytes is None and query.limits.shm_bytes is None
    assert not query.is_quiet


def test_every_word_that_means_something_is_in_the_order() -> None:
    query = read(
        ("dockerfile", "a/Dockerfile"), ("t", "lab/a:1"), ("t", "lab/b"), ("t", ""), ("q", "1"),
        ("nocache", "true"), ("pull", "yes"), ("rm", "1"), ("forcerm", "0"),
        ("buildargs", '{"A": "1", "B": null}'),
        ("labels", '{"x": "y"}'), ("networkmode", "host"), ("platform", "linux/amd64"), ("target", "test"),
        ("cachefrom", '["lab/cache"]'), ("buildid", "mine"),
    )  # fmt: skip
    order = query.order
    assert (order.dockerfile, order.tags, order.target) == ("a/Dockerfile", ("lab/a:1", "lab/b"), "test")
    assert (order.no_cache, order.pull, order.network) == (True, True, "host")
    assert (order.arguments, order.labels) == ({"A": "1"}, {"x": "y"})
    assert (order.platform, order.cache_from) == ("linux/amd64", ("lab/cache",))
    assert (query.is_quiet, query.build_id) == (True, "mine")


def test_what_steps_are_given() -> None:
    limits = read(
        ("memory", "67108864"), ("memswap", "-1"), ("cpushares", "512"), ("cpuperiod", "50000"),
        ("cpuquota", "25000"), ("cpusetcpus", "0-1"), ("cpusetmems", "0"), ("shmsize", "1048576"),
        ("ulimits", '[{"Name": "nofile", "Soft": 10, "Hard": 20}]'),
        ("extrahosts", "a:10.0.0.1"), ("extrahosts", "b=host-gateway"), ("extrahosts", "c:[::1]"),
    ).limits  # fmt: skip
    resources = limits.resources()
    assert (resources.memory_bytes, resources.memory_swap_bytes) == (67108864, -1)
    assert (resources.cpu_quota_us, resources.cpu_period_us, resources.cpu_shares) == (25000, 50000, 512)
    assert (resources.cpuset_cpus, resources.cpuset_mems, limits.shm_bytes) == ("0-1", "0", 1048576)
    assert limits.ulimits == (Ulimit("nofile", 10, 20),)
    assert limits.extra_hosts == (("a", "10.0.0.1"), ("b", "host-gateway"), ("c", "::1"))


@pytest.mark.parametrize(
    ("remote", "kind", "context"),
    [
        ("https://example.org/a.git#v1:web", "git", "https://example.org/a.git#v1:web"),
        ("git://example.org/a", "git", "git://example.org/a"),
        ("github.com/a/b", "git", "https://github.com/a/b"),
        ("https://example.org/a.tar.gz", "url", "https://example.org/a.tar.gz"),
    ],
)
def test_a_context_from_elsewhere(remote: str, kind: str, context: str) -> None:
    query = read(("remote", remote))
    assert (query.order.context_kind, query.order.context, query.has_body) == (kind, context, False)


@pytest.mark.parametrize(
    ("word", "value", "kind", "said"),
    [
        ("squash", "1", Invalid, "squash is only supported with experimental mode"),
        ("securityopt", "x", Invalid, "security options are not supported on linux"),
        ("isolation", "hyperv", Invalid, 'unsupported isolation: "hyperv"'),
        ("cgroupparent", "/x", Unsupported, "control group of their own"),
        ("version", "2", Unsupported, "docker buildx build, or DOCKER_BUILDKIT=0"),
        ("session", "x", Unsupported, "DOCKER_BUILDKIT=0"),
        ("outputs", '[{"Type": "local"}]', Unsupported, "docker save"),
        ("networkmode", "container:x", Unsupported, "default, none or host"),
        ("remote", "file:///etc", Invalid, "neither a repository nor a URL"),
        ("remote", "client-session", Invalid, "neither a repository nor a URL"),
        ("t", "lab/a@sha256:" + "0" * 64, Invalid, "build tag cannot contain a digest"),
        ("t", "UPPER", Invalid, ""),
        ("buildargs", "[]", Invalid, "not a JSON object"),
        ("buildargs", '{"a": 1}', Invalid, "not an object of strings"),
        ("buildargs", '{"a": "1", "a": "2"}', Invalid, "twice"),
        ("labels", '{"a": null}', Invalid, "not an object of strings"),
        ("cachefrom", "{}", Invalid, "not a list of strings"),
        ("cachefrom", "[" * 100_000, Invalid, "not JSON"),
        ("ulimits", '[{"Name": "nofile", "Soft": 3, "Hard": 2}]', Invalid, "soft limit"),
        ("ulimits", '[{"Name": "x y", "Soft": 1, "Hard": 2}]', Invalid, "invalid ulimit type"),
        ("ulimits", '[{"Name": "nofile", "Soft": true, "Hard": 2}]', Invalid, "Soft"),
        ("extrahosts", "a", Invalid, "invalid"),
        ("extrahosts", "a:here", Invalid, "invalid IP address"),
        ("memory", "1e9", Invalid, "not a whole number"),
        ("memory", "-2", Invalid, "not a whole number"),
        ("shmsize", "9" * 30, Invalid, "not a whole number"),
        ("dockerfile", "a\0b", Invalid, "not text"),
        ("nocahe", "1", Invalid, "no such option"),
    ],
)  # fmt: skip
def test_what_is_refused(word: str, value: str, kind: type[SetpointError], said: str) -> None:
    with pytest.raises(kind) as refused:
        read((word, value))
    assert said in str(refused.value)


def test_outputs_and_caches_that_are_none_are_taken() -> None:
    """As compose and docker-py send them."""
    query = read(
        ("outputs", "[]"), ("cachefrom", "null"), ("squash", "0"), ("labels", "{}"), ("version", "1")
    )
    assert query.order.cache_from == ()


def header(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode()


def test_logins_by_the_domain_that_references_have() -> None:
    packed = base64.b64encode(b"bob:pa:ss").decode()
    logins = read_logins(
        header({
            "https://index.docker.io/v1/": {"username": "ann", "password": "secret"},
            "registry.example.org:5000": {"auth": packed},
            "other.example.org": {"identitytoken": "token"},
            "none.example.org": {"username": "", "password": ""},
        })
    )  # fmt: skip
    assert logins == {
        "docker.io": Credential("ann", "secret"),
        "registry.example.org:5000": Credential("bob", "pa:ss"),
        "other.example.org": Credential("", "", "token"),
    }
    assert "secret" not in repr(logins)
    assert read_logins("") == {}


@pytest.mark.parametrize("text", ["!", header([]), header({"a": 1}), header({"a": {"auth": "/w=="}})])
def test_logins_that_are_none(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_logins(text)
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("index.docker.io", "docker.io"),
        ("https://a.example.org/v2/", "a.example.org"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_domains(host: str, domain: str) -> None:
    assert domain_of(host) == domain
