"""The gate of images: which rule an image has, what it says, and where a refusal points to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.policy.gate import Gate
from agent.policy.images import judge_any, judge_image, judge_name, rule_of
from agent.policy.policy import OPEN, Policy
from agent.policy.read import BadPolicy, read_policy
from runtime.errors import Invalid, Temporary
from runtime.images.facts import ImageFacts
from tests.signing import public, simple

HEAD = "apiVersion: setpoint/v1\nkind: Policy\n"
KEY = ec.generate_private_key(ec.SECP256R1())
DIGEST = "sha256:" + "a" * 64
HOUR = 3600.0
PEM = "\n".join(f"          {line}" for line in public(KEY).splitlines())
RULES = f"""{HEAD}images:
  ours:
    match: [registry.example.com/shop/*, "registry.example.com:5000/shop/*"]
    identities: [registry.example.com/shop/*]
    signed_by:
      - |
{PEM}
  hub:
    match: [docker.io/*]
    pinned: true
    minimum_age: 72h
    architectures: [amd64]
  free:
    match: [free.example/*]
  rest: {{match: ["*"], deny: true}}
"""


def line_of(rule: str) -> int:
    return 1 + next(n for n, line in enumerate(RULES.splitlines()) if line.strip().startswith(f"{rule}:"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(RULES.encode(), "/etc/setpoint/policy.yaml")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("nginx", "hub"), ("docker.io/library/nginx:1.27", "hub"), ("index.docker.io/library/nginx", "hub"),
        ("registry-1.docker.io/library/nginx", "hub"), ("Docker.IO/library/nginx", "hub"),
        ("docker.io:443/library/nginx", "hub"),
        ("registry.example.com/shop/web", "ours"), ("REGISTRY.example.com/shop/web:2", "ours"),
        ("registry.example.com:443/shop/web", "ours"), ("registry.example.com:0443/shop/web", "ours"),
        ("registry.example.com:5000/shop/web", "ours"), ("registry.example.com:5001/shop/web", "rest"),
        ("registry.example.com/lab/web", "rest"), ("docker.io.evil.example/x", "rest"),
        ("evil.example/docker.io/x", "rest"), ("free.example/a/b/c@" + DIGEST, "free"), ("", "rest"),
        ("NOT A NAME", "rest"),
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_host_and_path(policy: Policy, name: str, rule: str) -> None:
    found = rule_of(policy, name)
    assert found is not None and found.name == rule


def test_a_refusal_points_at_its_rule(policy: Policy) -> None:
    refusal = judge_name(policy, "evil.example/x")
    assert refusal is not None
    assert refusal.message(policy, "evil.example/x") == (
        f"image evil.example/x is not allowed by /etc/setpoint/policy.yaml:{line_of('rest')}"
        " (rule images.rest): its registry is denied"
    )
    nameless = judge_image(policy, ImageFacts(""), 0.0)
    assert nameless is not None and nameless.message(policy, "").startswith("image without a name is not")


@pytest.mark.parametrize(
    ("name", "is_exact", "text"),
    [
        ("nginx", False, "it has no digest"), ("nginx:1.27", False, "it has no digest"),
        (f"nginx@{DIGEST}", False, ""), (f"nginx:1.27@{DIGEST}", False, ""), ("nginx", True, ""),
        ("evil.example/x", True, "its registry is denied"), ("free.example/x", False, ""),
    ],
)  # fmt: skip
def test_what_a_name_says(policy: Policy, name: str, is_exact: bool, text: str) -> None:
    refusal = judge_name(policy, name, is_exact=is_exact)
    assert (refusal.text if refusal else "") == text


def hub(age: float = 100 * HOUR, architecture: str = "amd64") -> ImageFacts:
    return ImageFacts(f"docker.io/library/nginx@{DIGEST}", (DIGEST,), architecture, (), 1000.0 * HOUR - age)


@pytest.mark.parametrize(
    ("facts", "text", "until"),
    [
        (hub(), "", None),
        (hub(72 * HOUR), "", None),
        (hub(71 * HOUR), "this host first saw it 3 days ago, and 3 days is the least", 1001 * HOUR),
        (hub(5 * HOUR), "this host first saw it 5 h ago, and 3 days is the least", 1067 * HOUR),
        (hub(600), "this host first saw it 10 min ago", None),
        (hub(0), "this host first saw it 0 s ago", None),
        (hub(-5 * HOUR), "this host first saw it 0 s ago", None),  # the clock was set back: it is young
        (hub(architecture="arm64"), "it is for arm64, not amd64", None),
        (hub(architecture=""), "it is for nobody knows what, not amd64", None),
    ],
)
def test_what_an_image_is(policy: Policy, facts: ImageFacts, text: str, until: float | None) -> None:
    refusal = judge_image(policy, facts, 1000 * HOUR)
    assert (refusal is None) == (text == "")
    if refusal is not None:
        assert refusal.text.startswith(text) and refusal.line == line_of("hub")
        assert until is None or refusal.until == until
        assert (refusal.until is None) == ("is for" in text)


def test_who_signed_it(policy: Policy) -> None:
    name = "registry.example.com/shop/web"
    signed = simple(KEY, DIGEST, name)
    elsewhere = simple(KEY, DIGEST, "registry.example.com/lab/web")
    stranger = simple(ec.generate_private_key(ec.SECP256R1()), DIGEST, name)
    said = {
        (signed,): "",
        (stranger, signed): "",
        (): "no signature of it is known here that is by a key of the rule",
        (stranger,): "none of its 1 signatures is by a key of the rule",
        (elsewhere, stranger): "none of its 2 signatures is by a key of the rule",
    }
    for signatures, text in said.items():
        refusal = judge_image(policy, ImageFacts(name, (DIGEST,), "amd64", signatures), 0.0)
        assert (refusal.text if refusal else "") == text
        assert refusal is None or (refusal.rule, refusal.until) == ("images.ours", None)


def test_by_its_id_one_name_that_is_allowed_is_enough(policy: Policy) -> None:
    bad, good = ImageFacts("evil.example/x", is_exact=True), ImageFacts("free.example/x", is_exact=True)
    assert judge_any(policy, (bad, good), 0.0, policy.allow) is None
    assert judge_any(policy, (), 0.0, policy.allow) is not None
    refusal = judge_any(policy, (bad, bad), 0.0, policy.allow)
    assert refusal is not None and refusal.rule == "images.rest"


def test_a_project_has_its_own_list() -> None:
    text = f"{HEAD}allow:\n  images: [docker.io/library/*]\nprojects: {{shop: {{images: [lab.example/*]}}}}\n"
    policy = read_policy(text.encode(), "p")
    lab, hub = ImageFacts("lab.example/x"), ImageFacts("docker.io/library/nginx:latest")
    for facts, allow, is_allowed in (
        (lab, None, True), (lab, policy.allow, False), (lab, policy.allowed("shop", ""), True),
        (hub, policy.allowed("shop", ""), True), (ImageFacts("x.example/x"), None, False),
    ):  # fmt: skip
        refusal = judge_image(policy, facts, 0.0, allow)
        assert (refusal is None) == is_allowed
        assert refusal is None or (refusal.rule, refusal.line) == ("images", 4)


def test_without_rules_everything_may() -> None:
    for policy in (OPEN, Policy()):
        assert judge_image(policy, ImageFacts("evil.example/x"), 0.0) is None
    some = read_policy(f"{HEAD}images: {{a: {{match: [a.example/*], deny: true}}}}\n".encode(), "p")
    assert judge_image(some, ImageFacts("b.example/x"), 0.0) is None


BAD = [
    ("images: [a]", "p:3:9"),
    ("images: {a: {deny: true}}", "match is missing"),
    ("images: {a: {match: [nginx]}}", '"nginx" names no host'),
    ("images: {a: {match: ['docker.io/library/nginx:1']}}", "is not a host and a path"),
    ("images: {a: {match: ['docker.io/nginx@sha256:1']}}", "is not a host and a path"),
    ("images: {a: {match: ['Docker.io/*']}}", "is not a host and a path"),
    ("images: {a: {match: ['*'], architectures: [AMD64]}}", "as in an image"),
    ("images: {a: {match: ['*'], minimum_age: 3 days}}", "is not a duration"),
    (
        "images: {a: {match: ['*'], signed_by: [cosign.pub]}}",
        'p:3:40: images: "a": signed_by: item 1',
    ),
    ("images: {a: {match: ['*'], identities: [x]}}", "identities say nothing without signed_by"),
    ("images: {a: {match: ['*'], sign: [x]}}", 'unknown field "sign"'),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_errors_have_their_place(text: str, said: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        read_policy(f"{HEAD}{text}\n".encode(), "p")
    assert said in "\n".join(caught.value.problems)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    path = tmp_path / "policy.yaml"
    path.write_text(RULES)
    path.chmod(0o644)
    yield Gate(path)


def test_the_gate_raises_what_the_judge_says(gate: Gate) -> None:
    assert gate.has_image_rules()
    assert gate.wants_signatures("registry.example.com/shop/web")
    assert not gate.wants_signatures("nginx")
    assert not Gate(None).wants_signatures("nginx")
    with pytest.raises(Invalid, match=r"rule images\.rest"):
        gate.check_image("pull image", "evil.example/x")
    gate.check_image("pull image", "free.example/x")
    gate.admit_image("load image", ImageFacts("free.example/x"))
    with pytest.raises(Temporary, match=r"rule images\.hub") as caught:
        gate.admit_image("load image", hub(age=1000 * HOUR - 4e9))
    assert caught.value.retry_after_seconds > 72 * HOUR
    with pytest.raises(Invalid, match=r"rule images\.ours"):
        gate.admit_image("tag image", ImageFacts("registry.example.com/shop/web", (DIGEST,)))
    assert gate.path is not None
    gate.path.write_text("a: [")
    with pytest.raises(Invalid, match="the policy cannot be read"):
        gate.admit_image("load image", ImageFacts("free.example/x"))
