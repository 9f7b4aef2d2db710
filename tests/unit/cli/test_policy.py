"""`setpoint policy` and what `validate` says by a policy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a policy is root's")


def test_the_first_one_is_in_order_and_refuses(run: Run, tmp_path: Path) -> None:
    file, manifests = tmp_path / "etc" / "policy.yaml", tmp_path / "shop"
    assert run("policy", "init", str(file))[0] == 0
    code, out, _ = run("policy", "check", str(file))
    assert code == 0 and "nothing that reaches the host" in out
    code, _, err = run("policy", "init", str(file))
    assert code == 1 and "there is one" in err
    manifests.mkdir()
    (manifests / "compose.yaml").write_text("services:\n  web:\n    image: nginx\n    pid: host\n")
    assert run("validate", str(manifests))[0] == 0
    code, _, err = run("validate", str(manifests), "--policy", str(file))
    assert (
        code == 1
        and f'compose.yaml:4:5: service "web": the host\'s pid namespace is not allowed by {file}' in err
    )


def test_one_with_errors_is_told_with_its_lines(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("apiVersion: setpoint/v1\nkind: Policy\nallow: {binds: [x]}\n")
    code, _, err = run("policy", "check", str(file))
    assert code == 1 and f"{file}:3:17" in err


def test_the_rules_for_images_in_words(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "apiVersion: setpoint/v1\nkind: Policy\nimages:\n"
        '  hub: {match: ["docker.io/*"], pinned: true, minimum_age: 72h, architectures: [amd64]}\n'
        "  ours: {match: [ours.example/*, lab.example/*]}\n"
        '  rest: {match: ["*"], deny: true}\n'
    )
    code, out, _ = run("policy", "check", str(file))
    assert code == 0
    assert out.splitlines()[2:] == [
        "images hub: docker.io/*: by digest, seen 72 h ago, for amd64",
        "images ours: ours.example/*, lab.example/*: may come",
        "images rest: *: denied",
    ]


def test_what_init_writes_beside_is_a_rule_once_it_is_one(run: Run, tmp_path: Path) -> None:
    """The lines that are there to be taken in, are right as they stand (but the key)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from agent.cli.policy import TEMPLATE
    from tests.signing import public

    file = tmp_path / "policy.yaml"
    text = (
        TEMPLATE[TEMPLATE.index("# images:\n#   ours") :].replace("\n#", "\n").replace("# images", "images")
    )
    pem = "\n".join(
        "         " + line for line in public(ec.generate_private_key(ec.SECP256R1())).splitlines()
    )
    begin, end = text.index("         -----BEGIN"), text.index("   hub:")
    file.write_text(f"apiVersion: setpoint/v1\nkind: Policy\n{text[:begin]}{pem}\n{text[end:]}")
    code, out, _ = run("policy", "check", str(file))
    assert code == 0 and "images ours: registry.example.org/*: signed by one of 1 keys" in out
