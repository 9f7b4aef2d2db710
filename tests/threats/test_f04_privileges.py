"""F4, CVE-2026-33997: privileges compared one short. Here they are sets: each subset of what may be allowed
is compared with each that is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.routes import ROUTES
from agent.api.sockets.scope import EXPIRES_LABEL, SOCKET_LABEL, Scope, expires_at, scope_of_spec
from agent.manifest.socket_limits import allow_of, limits_of
from agent.manifest.spec import ContainerSpec, SocketSpec
from agent.policy.judge import judge
from agent.policy.judge_socket import judge_socket
from agent.policy.permissions import ALL, GROUPS, PERMISSIONS, expanded, needed
from agent.policy.policy import CONFINEMENTS, NAMESPACES, Allow, Bind, Policy
from runtime.security import CAPABILITY_NUMBERS, DEFAULT_CAPABILITIES
from store.records import Key

CONTAINER, SOCKET = Key("@api", "container", "x"), Key("ops", "socket", "ci")
BEYOND = sorted(CAPABILITY_NUMBERS.keys() - DEFAULT_CAPABILITIES)
MODES = {"network": "network_mode", "pid": "pid", "ipc": "ipc", "uts": "uts"}


def subsets(names: list[str]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(names))


@given(subsets(sorted(ALL)))
def test_f4_exactly_what_is_allowed_may_be_asked_for(allowed: frozenset[str]) -> None:
    scope = scope_of_spec(SOCKET, SocketSpec(allow=tuple(sorted(allowed))))
    for (method, path), permission in PERMISSIONS.items():
        assert scope.permits(needed(method, path)) is (permission == "" or permission in allowed)
    for method, path, _ in ROUTES:
        if needed(method, path) is None:
            assert not scope.permits(needed(method, path))


@given(subsets(sorted(GROUPS)))
def test_f4_a_word_allows_what_it_stands_for_and_no_more(words: frozenset[str]) -> None:
    assert expanded(words) == frozenset().union(*(GROUPS[word] for word in words))


@given(subsets(BEYOND), subsets(BEYOND))
def test_f4_capabilities(allowed: frozenset[str], asked: frozenset[str]) -> None:
    spec = ContainerSpec(image="x", cap_add=tuple(sorted(asked)))
    found = judge(Policy(allow=Allow(capabilities=allowed)), CONTAINER, spec)
    assert {violation.text.removeprefix("capability ") for violation in found} == asked - allowed


@given(subsets(sorted(MODES)), subsets(sorted(MODES)))
def test_f4_namespaces(allowed: frozenset[str], asked: frozenset[str]) -> None:
    spec = ContainerSpec.model_validate({"image": "x", **{MODES[name]: "host" for name in asked}})
    found = judge(Policy(allow=Allow(namespaces=allowed)), CONTAINER, spec)
    assert len(found) == len(asked - allowed)


RULES = st.builds(
    Allow,
    privileged=st.booleans(),
    namespaces=subsets(list(NAMESPACES)),
    capabilities=subsets(BEYOND),
    unconfined=subsets(list(CONFINEMENTS)),
    binds=st.lists(
        st.builds(Bind, st.sampled_from(["/srv", "/srv/a", "/srv/ab", "/"]), st.booleans(), st.booleans()),
        max_size=3,
    ).map(tuple),
)


@given(RULES, RULES)
def test_f4_a_socket_hands_on_what_its_writer_may_have(own: Allow, handed: Allow) -> None:
    found = {rule for rule, *_ in judge_socket(own, SocketSpec(allow=("read",), limits=limits_of(handed)))}
    assert ("privileged" in found) is (handed.privileged and not own.privileged)
    assert ("namespaces" in found) is bool(handed.namespaces - own.namespaces)
    assert ("capabilities" in found) is bool(handed.capabilities - own.capabilities)
    assert ("unconfined" in found) is bool(handed.unconfined - own.unconfined)
    inside = all(
        any(
            o.covers(h.path) and (h.read_only or not o.read_only) and (o.shared or not h.shared)
            for o in own.binds
        )
        for h in handed.binds
    )
    assert ("binds" in found) is not inside


@given(RULES)
def test_f4_limits_are_kept_as_they_are(rules: Allow) -> None:
    assert allow_of(limits_of(rules)) == rules


@pytest.mark.parametrize(
    "path", ["/srv/data/..", "/srv/data/../x", "/srv/database", "/srv/dat", "/srv", "/srv/data/a/../../x"]
)
def test_f4_beside_a_directory_is_not_below_it(path: str) -> None:
    assert not Bind("/srv/data").covers(path)
    assert Bind("/srv/data").covers("/srv/data/a") and Bind("/srv/data").covers("/srv/data")


LABELS = st.dictionaries(
    st.sampled_from(["team", "io.setpoint.socket", "x"]), st.sampled_from(["ci", "", "ops/ci", "c"])
)


@given(LABELS)
def test_f4_a_scope_is_one_label_as_a_whole(labels: dict[str, str]) -> None:
    scope = scope_of_spec(SOCKET, SocketSpec(allow=("read",), label="team=ci"))
    assert scope.has(labels) is (labels.get("team") == "ci")
    own = scope_of_spec(SOCKET, SocketSpec(allow=("read",)))
    assert own.has(labels) is (labels.get("io.setpoint.socket") == "ops/ci")


@given(LABELS, st.integers(1, 10**9))
def test_f4_what_is_made_bears_the_label_whatever_was_said(labels: dict[str, str], seconds: int) -> None:
    scope = Scope("ops/ci", frozenset(), "team", "ci", Allow(), float(seconds))
    made = scope.labelled(labels | {EXPIRES_LABEL: "9" * 15, SOCKET_LABEL: "other/one"})
    assert scope.has(made) and made[SOCKET_LABEL] == "ops/ci"
    assert expires_at(made) == int(made[EXPIRES_LABEL]) < 9 * 10**14
    endless = Scope("ops/ci", frozenset(), "team", "ci", Allow(), None)
    assert expires_at(endless.labelled({EXPIRES_LABEL: "1"})) is None


@pytest.mark.parametrize("text", ["", "-1", "1e9", "٣", " 1", "1" * 30, "soon", "0x10"])
def test_f4_what_is_no_time_is_none(text: str) -> None:
    assert expires_at({SOCKET_LABEL: "ops/ci", EXPIRES_LABEL: text}) is None
    assert expires_at({EXPIRES_LABEL: "1"}) is None
