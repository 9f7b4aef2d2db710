"""The leak fixture itself: each thing that a test may leave behind is found by the instance's name, and
cleaned away; what is another's is not touched.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import syscalls
from runtime.layout import Layout
from tests import leaks


@pytest.fixture
def stranger() -> Iterator[Layout]:
    """An instance that is not under the fixture's eyes, with a neighbour whose name begins like its own."""
    layout = Layout(f"t{secrets.token_hex(4)}")
    yield layout
    leaks.clean(layout)


def test_what_a_killed_run_left_is_cleaned_by_the_next(stranger: Layout) -> None:
    claimed = leaks.claim(stranger)
    _cgroup(stranger)
    leaks.clean_abandoned()
    assert leaks.find_leaks(stranger)  # its run lives
    os.close(claimed)  # as the kernel does it
    assert stranger.instance in leaks.clean_abandoned()
    assert leaks.find_leaks(stranger) == []
    assert not (leaks.CLAIMS / stranger.instance).exists()


def _mount(layout: Layout) -> None:
    layout.run.mkdir()
    syscalls.mount("tmpfs", str(layout.run), "tmpfs")


def _netns(layout: Layout) -> None:
    layout.netns.mkdir(parents=True)
    (layout.netns / "one").touch()
    syscalls.mount("/proc/self/ns/net", str(layout.netns / "one"), None, syscalls.MS_BIND)


def _bridge(layout: Layout) -> None:
    name = layout.link_name("br", "net")
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", name, "alias", f"{layout.instance}/net"], check=True)


def _cgroup(layout: Layout) -> None:
    (next(leaks._cgroup_roots()) / layout.cgroup_parent / "one").mkdir(parents=True)


def _table(layout: Layout) -> None:
    subprocess.run(["nft", "add", "table", "inet", layout.nft_table], check=True)


def _guard(layout: Layout) -> None:
    subprocess.run(["nft", "add", "table", "bridge", layout.nft_table], check=True)


@pytest.mark.parametrize(
    ("leave", "found"),
    [
        (_mount, "mount"), (_netns, "mount"), (_bridge, "link"), (_cgroup, "cgroup"),
        (_table, "nft table inet"), (_guard, "nft table bridge"),
    ],
)  # fmt: skip
def test_each_leak_is_found_and_cleaned(
    stranger: Layout, leave: Callable[[Layout], None], found: str
) -> None:
    assert leaks.find_leaks(stranger) == []
    leave(stranger)
    assert any(line.startswith(found) for line in leaks.find_leaks(stranger))
    assert leaks.find_leaks(Layout(stranger.instance[:-1])) == []
    leaks.clean(stranger)
    assert leaks.find_leaks(stranger) == []


def test_a_process_is_found_and_killed(stranger: Layout) -> None:
    group = next(leaks._cgroup_roots()) / stranger.cgroup_parent
    group.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as child:
        (group / "cgroup.procs").write_text(str(child.pid))
        assert [line for line in leaks.find_leaks(stranger) if line.startswith(f"process {child.pid} ")]
        assert child.pid in leaks.descendants()
        leaks.clean(stranger)
        assert child.wait(5) == -9
    assert leaks.find_leaks(stranger) == []


def test_the_fixture_goes_red(tmp_path: Path) -> None:
    """A test that leaves a table and a child behind fails twice, and what it left is gone."""
    source = """
import os, subprocess
def test_leaves_things(instance):
    subprocess.run(["nft", "add", "table", "inet", instance.nft_table], check=True)
    subprocess.Popen(["sleep", "1000"])
    print("instance", instance.nft_table)
"""
    repository = Path(__file__).resolve().parents[2]
    # Inside tests/kernel: the fixtures go by the folder.
    path = repository / "tests" / "kernel" / f"test_{secrets.token_hex(4)}_leaking.py"
    path.write_text(source)
    try:
        done = subprocess.run(
            [repository / ".venv/bin/pytest", "-p", "no:cacheprovider", "-rA", str(path)],
            cwd=repository, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        path.unlink()
    assert done.returncode == 1
    assert "the test left behind" in done.stdout and "nft table inet t" in done.stdout
    assert "the test left processes behind" in done.stdout and "sleep 1000" in done.stdout
    name = done.stdout.split("instance ")[1].split()[0]
    assert name not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
