"""Files of ops/ that no program reads here: they name only what exists, and no address."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from agent.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ["up", "down", "test", "check", "bench"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself_and_changes_nothing(name: str) -> None:
    done = subprocess.run(
        [ROOT / "ops" / name, "--help"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.startswith(f"Usage: ops/{name}")
    assert done.stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrong_word_is_an_error(name: str) -> None:
    if name == "bench":
        pytest.skip("its words are read after it has made its namespaces, which needs root")
    done = subprocess.run([ROOT / "ops" / name, "--wrong"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-dev.txt"])
def test_pins_have_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[a-z0-9-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+$", text, re.MULTILINE)
    assert len(pins) == text.count("==")
    assert "://" not in text
    assert "index" not in text


def test_nothing_is_pinned_twice() -> None:
    names = [
        set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f).read_text(), re.MULTILINE))
        for f in ("constraints.txt", "constraints-dev.txt")
    ]
    assert not names[0] & names[1]


def metric_names() -> set[str]:
    names = set()
    for line in Metrics("test").registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(line.type, ("",))
        names |= {line.name + suffix for suffix in suffixes}
    return names


@pytest.mark.parametrize("name", ["alerts.yml", "grafana/setpoint.json"])
def test_alerts_and_dashboard_name_only_metrics_that_there_are(name: str) -> None:
    text = (ROOT / "ops" / name).read_text()
    text = (
        "\n".join(re.findall(r"expr: .*", text))
        if name.endswith(".yml")
        else json.dumps([t["expr"] for panel in json.loads(text)["panels"] for t in panel["targets"]])
    )
    named = set(re.findall(r"setpoint_[a-z_]+", text))
    assert len(named) > 5
    assert named <= metric_names()
