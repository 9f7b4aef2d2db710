"""What the other tests of the policy do not reach: files that are none, names that are none, odd places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.manifest.objects import Object, Where
from agent.manifest.spec import ContainerSpec, ImageSpec
from agent.policy.gate import MAX_BYTES, Gate
from agent.policy.images import is_id, is_in_list
from agent.policy.judge import judge
from agent.policy.place import Places
from agent.policy.policy import OPEN, STRICT, Allow, ImageRule, Policy
from agent.policy.read import BadPolicy, read_policy
from runtime.errors import Invalid
from runtime.images.facts import ImageFacts
from store.records import Key

HEAD = "apiVersion: setpoint/v1\nkind: Policy\n"
WEB, DECLARED = Key("shop", "container", "web"), Where("f.yaml", 3, 9)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a policy is root's")


def spec(**fields: object) -> ContainerSpec:
    return ContainerSpec.model_validate({"image": "nginx", **fields})


@as_root
def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(HEAD + "#" * MAX_BYTES)
    path.chmod(0o644)
    for bad, said in ((path, "over 1048576 bytes"), (path / "below", "Not a directory")):
        gate = Gate(bad)
        with pytest.raises(BadPolicy, match=said):
            gate.policy()
        assert gate.known() is STRICT
        assert gate.has_image_rules()  # nothing new comes until it can be read
        with pytest.raises(Invalid, match="the policy cannot be read"):
            gate.admit_image("load image", ImageFacts("docker.io/library/nginx:1"))
    path.write_text(HEAD)
    gate = Gate(path)
    gate.check(Object(WEB, spec(), DECLARED, "h"))
    assert not gate.has_image_rules()


def test_images_that_are_named_by_their_id() -> None:
    digest = "sha256:" + "a" * 64
    policy = Policy(
        "p", Allow(images=("docker.io/library/*",)), images=(ImageRule("r", ("*",), pinned=True),)
    )
    assert [each for each in (digest, "a" * 64, "nginx", "a" * 63) if is_id(each)] == [digest, "a" * 64]
    assert judge(policy, WEB, spec(image=digest)) == ()
    refused = judge(policy, WEB, spec(image="nginx"))
    assert [(each.rule, each.because) for each in refused] == [("images.r", "it has no digest")]
    assert refused[0].message(policy) == "image nginx is not allowed by p (rule images.r): it has no digest"
    assert not is_in_list(("*",), "NO NAME")
    assert judge(OPEN, WEB, spec(image="nginx")) == ()


def test_all_capabilities_and_odd_paths() -> None:
    policy = Policy("p", Allow(capabilities=frozenset(("ALL",)), devices=("/dev/*",)))
    assert judge(policy, WEB, spec(cap_add=["SYS_ADMIN", "ALL"])) == ()
    device = {"source": "/dev/../etc/x", "target": "/dev/x"}
    assert [each.rule for each in judge(policy, WEB, spec(devices=[device]))] == ["devices"]


def test_what_is_no_range_of_ports() -> None:
    with pytest.raises(BadPolicy, match="not a range of ports"):
        read_policy(f"{HEAD}allow: {{ports: [http]}}\n".encode(), "p")


@pytest.mark.parametrize(
    "data",
    [
        b"a: [",
        b"- a\n---\nx\n",
        b"apiVersion: setpoint/v1\nmetadata: {name: other}\nspec: {image: x}\n",
        b"a: 1\n",
    ],
)
def test_a_place_that_is_not_found_is_the_object_s(data: bytes) -> None:
    assert Places(data).find(WEB, DECLARED, ("image",)) == DECLARED


def test_places_within_a_service() -> None:
    places = Places(
        b"services:\n  web:\n    ports: ['80']\n    sysctls: {a: 1}\n    volumes: x\n    cap_add: [A]\n"
    )
    for place, at in (
        (("ports", (0, 1)), (3, 13)),
        (("ports", (0, 2)), (3, 5)),
        (("ports", 7), (3, 5)),
        (("sysctls", "a"), (4, 15)),
        (("sysctls", "b"), (4, 5)),
        (("volumes", "x"), (5, 5)),
        (("cap_add", "A"), (6, 15)),
        (("cap_add", "B"), (6, 5)),
        (("nothing",), (3, 9)),
    ):
        found = places.find(WEB, DECLARED, place)
        assert (found.line, found.column) == at, place


def test_an_image_of_its_own_is_judged_as_one_of_a_container() -> None:
    policy = Policy("p", images=(ImageRule("r", ("docker.io/*",), deny=True),))
    key = Key("shop", "image", "web")
    refused = judge(policy, key, ImageSpec.model_validate({"image": "nginx"}))
    assert [each.rule for each in refused] == ["images.r"]
    assert judge(policy, key, ImageSpec.model_validate({"image": "free.example/x"})) == ()


def test_a_build_on_the_host_s_network() -> None:
    build = {"context": "shop/web", "tree": "git:1", "network": "host"}
    (refused,) = judge(Policy("p"), WEB, spec(image="setpoint.local/web:1", build=build))
    assert (refused.rule, refused.place) == ("namespaces", ("build", "network"))
    allowed = Policy("p", Allow(namespaces=frozenset(("network",))))
    assert judge(allowed, WEB, spec(image="setpoint.local/web:1", build=build)) == ()


def test_what_is_built_has_no_digest() -> None:
    policy = Policy("p", images=(ImageRule("r", ("*",), pinned=True),))
    build = {"context": "shop/web", "tree": "git:1"}
    assert judge(policy, WEB, spec(image="setpoint.local/web:1", build=build)) == ()
    assert judge(policy, WEB, spec(image="setpoint.local/web:1")) != ()
