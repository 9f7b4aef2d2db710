"""Clients for Node, from the npm registry: dockerode and testcontainers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.host import Host

SOURCE = Path(__file__).with_name("node")
FILES = ("package.json", "package-lock.json", "dockerode.mjs", "testcontainers.mjs")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and what they need. No package's own script is run at its installation."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm (Debian package npm)")
    folder = tmp_path_factory.mktemp("node")
    for name in FILES:
        shutil.copy(SOURCE / name, folder)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    subprocess.run(words, cwd=folder, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("script", ["dockerode", "testcontainers"])
def test_a_client_for_node(packages: Path, host: Host, script: str) -> None:
    environment = {**host.environment, "TESTCONTAINERS_RYUK_DISABLED": "true", "HOME": os.fspath(packages)}
    done = subprocess.run(
        ["node", f"{script}.mjs"], cwd=packages, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert f"{script}: done" in done.stdout
