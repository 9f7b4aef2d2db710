"""Names of an instance: none of another program's is taken, and none of its directories removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.cleanup import remove_instance
from runtime.errors import Conflict, Invalid
from runtime.layout import Layout


@pytest.mark.parametrize("name", ["docker", "filter", "systemd", "", "A", "-a", "a/b", "..", "a" * 32])
def test_a_name_that_is_not_ours_to_take_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        Layout(name)


@pytest.mark.parametrize("place", ["run", "data"])
def test_a_directory_that_another_program_filled_is_left_alone(tmp_path: Path, place: str) -> None:
    layout = Layout("tforeign", data_root=tmp_path / "data", run_root=tmp_path / "run")
    theirs = (layout.run if place == "run" else layout.data) / "base"
    theirs.mkdir(parents=True)
    with pytest.raises(Conflict, match="nothing of Setpoint's"):
        remove_instance(layout, with_data=True)
    assert theirs.is_dir()
