"""H6: a build is no way round the rules for images: its base, what it copies from, and its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.policy.gate import Gate
from runtime.engine import NativeEngine
from runtime.errors import Invalid
from tests.kernel.build.building import build

POLICY = """\
apiVersion: setpoint/v1
kind: Policy
images:
  evil: {match: ["evil.example/*"], deny: true}
  pinned: {match: ["docker.io/library/busybox"], pinned: true}
"""


@pytest.fixture
def policed(engine: NativeEngine, tmp_path: Path) -> NativeEngine:
    if os.geteuid() != 0:
        pytest.skip("a policy is root's")
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    path.chmod(0o644)
    for name in ("free.example/box:1", "evil.example/base:1"):  # they came before the rules
        engine.images.tag("busybox", name)
    engine.images._gate._admission = Gate(path)
    return engine


@pytest.mark.parametrize(
    ("dockerfile", "tag", "rule"),
    [
        ("FROM busybox\nLABEL a=b\n", "lab/a:1", "images.pinned"),
        ("FROM evil.example/base:1\nLABEL a=b\n", "lab/a:1", "images.evil"),
        ("FROM free.example/box:1\nCOPY --from=busybox /bin/sh /x\n", "lab/a:1", "images.pinned"),
        ("FROM free.example/box:1\nLABEL a=b\n", "evil.example/a:1", "images.evil"),
        ("FROM scratch\nLABEL a=b\n", "evil.example/a:1", "images.evil"),
    ],
)
async def test_h6_a_build_goes_through_the_gate(
    policed: NativeEngine, dockerfile: str, tag: str, rule: str
) -> None:
    before = {image.id for image in policed.images.list()}
    with pytest.raises(Invalid, match=rf"rule {rule}\)"):
        await build(policed, None, dockerfile, tags=(tag,))
    assert policed.images.get(tag) is None
    assert {image.id for image in policed.images.list()} == before


async def test_h6_what_the_rules_allow_is_built(policed: NativeEngine) -> None:
    busybox = policed.images.get("free.example/box:1")
    assert busybox is not None
    dockerfile = f"FROM busybox@{busybox.digest}\nLABEL a=b\n"
    built = await build(policed, None, dockerfile, tags=("lab/a:1",))
    assert built.found.labels["a"] == "b"
