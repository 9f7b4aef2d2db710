"""H2, CVE-2022-39253 and kin: git's configuration, from a home directory or from a hostile server's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.source.git_program import run
from agent.source.source import Unreadable
from tests.unit.source.support import commit, make_repository


def test_h2_the_users_configuration_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitconfig").write_text("[canary]\n\tname = here\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    repository = make_repository(tmp_path / "repository")
    assert "canary" not in run(["config", "--list", "--show-origin"], directory=repository)


@pytest.mark.parametrize("protocols", ["", "https:ssh"])
def test_h2_a_protocol_that_starts_programs_is_refused(tmp_path: Path, protocols: str) -> None:
    """Also where a repository that is allowed sends git on to it (insteadOf, submodules)."""
    trap = tmp_path / "trap"
    repository = make_repository(tmp_path / "repository")
    commit(repository, a_yaml="1")
    for url in (f"ext::touch {trap}", f"file://{repository}"):
        with pytest.raises(Unreadable, match="not allowed"):
            run(["ls-remote", url], directory=repository, protocols=protocols)
    assert not trap.exists()
