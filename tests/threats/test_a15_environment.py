"""A15, CVE-2026-57231, CVE-2020-14370: variables of the host or of another container inside."""

from __future__ import annotations

import json
import os

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Invalid
from runtime.images.config import parse_config
from tests.kernel.runtime.conftest import Box
from tests.native import run, shell, until

CANARIES = [f"CANARY_{number}" for number in range(50)]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CANARIES:
        monkeypatch.setenv(name, "secret")


def test_a15_none_of_the_host_is_inside(box: Box, variables: None) -> None:
    assert os.environ["CANARY_7"] == "secret"
    box.config["process"]["env"] += [*CANARIES, "=x", "", "CANARY_1"]
    launched = box.start("sleep", "1000")
    seen = box.exec(launched, "sh", "-c", "env; cat /proc/*/environ").output
    assert "PATH=/bin" in seen
    assert "CANARY" not in seen and "secret" not in seen


async def test_a15_none_by_the_engine(variables: None, engine: NativeEngine) -> None:
    script = "env >/seen; cat /proc/*/environ >>/seen; touch /done; sleep 1000"
    config = shell(engine, "box", script, environment={"OWN": "1"})
    await run(engine, config)
    upper = engine.layout.containers / config.id / "upper"
    await until((upper / "done").exists)
    result = await engine.exec(config.id, ["env"], timeout_seconds=5)
    seen = (upper / "seen").read_bytes() + result.output
    assert b"OWN=1" in seen
    assert b"CANARY" not in seen and b"secret" not in seen


@pytest.mark.parametrize("entry", ["CANARY_1", "CANARY_*", "=x", "", "A=\0B"])
def test_a15_an_entry_of_an_image_that_asks_for_one_is_refused(entry: str) -> None:
    document = {"config": {"Env": [entry]}, "rootfs": {"type": "layers", "diff_ids": []}}
    with pytest.raises(Invalid):
        parse_config(json.dumps(document).encode(), "sha256:" + "0" * 64)
