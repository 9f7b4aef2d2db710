"""What a Socket hands on is what who wrote it may have itself: each rule, its place and its words; and the
words of its permissions."""

from __future__ import annotations

from typing import Any

import pytest

from agent.manifest.socket_limits import allow_of, limits_of
from agent.manifest.spec import SocketSpec
from agent.policy.judge import judge
from agent.policy.permissions import ALL, READ, expanded, needed
from agent.policy.policy import Allow, Bind, Policy, PortRange
from store.records import Key

CI = Key("ops", "socket", "ci")
OWN = Allow(
    namespaces=frozenset({"network"}),
    capabilities=frozenset({"CAP_NET_ADMIN"}),
    devices=("/dev/dri",),
    binds=(Bind("/srv/ci"), Bind("/etc/ssl", read_only=True), Bind("/mnt/media", shared=True)),
    unconfined=frozenset({"apparmor"}),
)
ALL_OF_IT = Allow(
    privileged=True,
    namespaces=frozenset({"pid", "network"}),
    capabilities=frozenset({"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}),
    devices=("/dev/dri/card0", "/dev/sda"),
    binds=(Bind("/srv/ci", read_only=True), Bind("/mnt/media", shared=True)),
    unconfined=frozenset({"seccomp"}),
    ports=(PortRange(8000, 8999, "127.0.0.1", "tcp"),),
    sysctls=("net.core.*",),
    images=(),
    external=("proxy",),
)


@pytest.mark.parametrize("allow", [Allow(), OWN, ALL_OF_IT, Allow(ports=(), images=("a/*",))])
def test_limits_are_kept_as_plain_json_and_are_the_same_again(allow: Allow) -> None:
    limits = limits_of(allow)
    assert allow_of(limits) == allow
    assert (
        allow_of(SocketSpec.model_validate_json(SocketSpec(limits=limits).model_dump_json()).limits) == allow
    )


def test_what_is_kept_names_only_what_is_said() -> None:
    assert limits_of(Allow()) == {}
    assert limits_of(Allow(ports=(PortRange(1, 2),), unconfined=frozenset({"seccomp", "apparmor"}))) == {
        "unconfined": ["apparmor", "seccomp"],
        "ports": [{"first": 1, "last": 2, "address": "", "protocol": ""}],
    }


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Allow(), []),
        (OWN, []),
        (Allow(privileged=True), [("privileged", "privileged through a socket")]),
        (Allow(namespaces=frozenset({"pid", "network"})), [("namespaces", "pid through a socket")]),
        (
            Allow(capabilities=frozenset({"CAP_SYS_ADMIN", "CAP_NET_ADMIN"})),
            [("capabilities", "CAP_SYS_ADMIN through a socket")],
        ),
        (Allow(unconfined=frozenset({"seccomp"})), [("unconfined", "seccomp through a socket")]),
        (Allow(devices=("/dev/dri/card0", "/dev/dri")), []),
        (Allow(devices=("/dev/driver",)), [("devices", "device /dev/driver through a socket")]),
        (Allow(binds=(Bind("/srv/ci/a"), Bind("/etc/ssl/certs", read_only=True))), []),
        (Allow(binds=(Bind("/srv"),)), [("binds", "bind mount of /srv through a socket")]),
        (Allow(binds=(Bind("/etc/ssl"),)), [("binds", "bind mount of /etc/ssl through a socket")]),
        (Allow(binds=(Bind("/srv/ci", shared=True),)), [("binds", "bind mount of /srv/ci through a socket")]),
        (Allow(binds=(Bind("/mnt/media/a", shared=True),)), []),
    ],
)  # fmt: skip
def test_a_socket_hands_on_no_more_than_its_author_may_have(
    limits: Allow, said: list[tuple[str, str]]
) -> None:
    spec = SocketSpec(allow=("read",), limits=limits_of(limits))
    found = judge(Policy("p", OWN), CI, spec)
    assert [(each.rule, each.text) for each in found] == said
    assert [each.place for each in found] == [("limits", rule) for rule, _ in said]


def test_who_may_have_all_capabilities_hands_on_any() -> None:
    spec = SocketSpec(allow=("read",), limits=limits_of(Allow(capabilities=frozenset({"CAP_SYS_ADMIN"}))))
    assert judge(Policy("p", Allow(capabilities=frozenset({"ALL"}))), CI, spec) == ()
    assert judge(Policy("p"), CI, spec) != ()


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("", True),
        ("/srv/ci/docker.sock", True),
        ("/etc/ssl/docker.sock", False),
        ("/run/docker.sock", False),
        ("/srv/ci/../docker.sock", False),
    ],
)
def test_a_socket_lies_where_its_author_may_write(path: str, is_allowed: bool) -> None:
    found = judge(Policy("p", OWN), CI, SocketSpec(allow=("read",), path=path))
    refused = [("binds", ("path",), f"a socket at {path}")]
    assert [(each.rule, each.place, each.text) for each in found] == ([] if is_allowed else refused)


def test_a_refusal_names_the_rule_and_what_would_do() -> None:
    (found,) = judge(Policy("p", OWN), CI, SocketSpec(path="/run/x.sock"))
    assert found.message(Policy("p")) == "a socket at /run/x.sock is not allowed by p (rule binds)"
    assert found.hint == "add /run/x.sock to binds there, or remove it here"


@pytest.mark.parametrize(
    ("words", "stands_for"),
    [
        (["write"], ALL),
        (["read"], READ),
        (["volumes:*"], {f"volumes:{verb}" for verb in ("read", "create", "change", "remove")}),
        (["volumes", "images:pull"], {*expanded(["volumes:*"]), "images:pull"}),
        ([], set()),
    ],
)
def test_words_stand_for_permissions(words: list[str], stands_for: Any) -> None:
    assert expanded(words) == stands_for


@pytest.mark.parametrize("word", ["fly", "containers:fly", "fly:*", "read:*", "containers:", ":read", ""])
def test_a_word_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word.replace('*', '[*]')}$"):
        expanded(["read", word])


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/_ping", ""),
        ("POST", "/containers/create", "containers:create"),
        ("DELETE", "/containers/create", None),
        ("POST", "/swarm/init", None),
        ("POST", "/containers/{id}/json", None),
    ],
)
def test_a_path_that_nobody_placed_is_given_to_nobody(method: str, path: str, permission: str | None) -> None:
    assert needed(method, path) == permission
