"""`import docker`: what a daemon says is not believed further than its user reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.import_docker import Daemon, check_source
from runtime.errors import Invalid
from tests.unit.cli.conftest import Run

DATA = "/var/lib/docker/volumes/data/_data"


def test_a_volume_of_roots_daemon_is_copied() -> None:
    check_source("data", DATA, 0)


@pytest.mark.parametrize(
    "path", ["", "/etc", "data/_data", "/var/lib/docker/volumes/other/_data", "/../data/_data"]
)
def test_a_directory_that_is_no_volumes_is_not(path: str) -> None:
    with pytest.raises(Invalid):
        check_source("data", path, 0)


def test_a_users_daemon_does_not_have_roots_files_copied() -> None:
    with pytest.raises(Invalid, match="not root's"):
        check_source("data", DATA, 1000)


def test_an_engine_does_not_import_from_itself(tmp_path: Path) -> None:
    own, link = tmp_path / "setpoint.sock", tmp_path / "docker.sock"
    own.touch()
    link.symlink_to(own)
    assert Daemon(f"unix://{link}").is_at(str(own))
    assert not Daemon(f"unix://{tmp_path}/other.sock").is_at(str(own))


def test_no_daemon_is_told_in_words(run: Run, tmp_path: Path) -> None:
    code, _, err = run("import", "docker", "--host", f"unix://{tmp_path}/none.sock")
    assert code == 1 and f"{tmp_path}/none.sock: No such file or directory" in err
    assert run("import")[2].startswith(
        "error: setpoint import: the following arguments are required: docker\n"
    )
