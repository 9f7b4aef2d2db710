"""Fixtures for every folder: an instance of one's own, the busybox image, and the rule that nothing is
left behind. Tests that need root and the real kernel are skipped without it, with that reason.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from runtime.layout import Layout
from tests import leaks

ROOT_FOLDERS = ("kernel", "contract", "api", "e2e", "threats", "faults")
HANG_SECONDS, SLOW_SECONDS = int(os.environ.get("SETPOINT_HANG_SECONDS", "120")), 600
REPOSITORY = Path(__file__).resolve().parent.parent

# How long Hypothesis takes over an example says nothing on a machine that has other work.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# A shell's background has it ignored, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is in a folder that needs root is marked so."""
    skip = pytest.mark.skip(reason="needs root and the real kernel: run ops/test as root")
    for item in items:
        parts = item.path.relative_to(REPOSITORY / "tests").parts
        if parts[0] in ROOT_FOLDERS:
            item.add_marker(pytest.mark.root)
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test with the real kernel that leaves a process of its own behind. What an instance left
    is found by `instance`, by name, for others run beside us."""
    if request.node.get_closest_marker("root") is None:
        yield
        return
    before = leaks.descendants()
    yield
    left = leaks.descendants() - before
    if left:
        shown = ", ".join(f"{pid} {leaks.command_of(pid)}" for pid in sorted(left))
        pytest.fail(f"the test left processes behind: {shown}")


@pytest.fixture(autouse=True)
def _ends_in_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with the real kernel that hangs fails, and its fixtures still clean up."""
    if request.node.get_closest_marker("root") is None:
        yield
        return
    seconds = SLOW_SECONDS if request.node.get_closest_marker("slow") else HANG_SECONDS

    def on_alarm(_number: int, _frame: object) -> None:
        pytest.fail(f"the test hangs: {seconds} s are over")  # a TimeoutError may be caught by what it tests

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def _cleans_up_after_killed_runs() -> None:
    leaks.clean_abandoned()


@pytest.fixture
def instance(_cleans_up_after_killed_runs: None) -> Iterator[Layout]:
    """The names of an instance that nobody else has. Fails the test when anything of it is left."""
    layout = Layout(f"t{secrets.token_hex(4)}")
    claimed = leaks.claim(layout)
    yield layout
    left = leaks.find_leaks(layout)
    # Of an instance that a test made beside this one, by a longer name.
    left += [f"directory {path}" for path in layout.run_root.glob(f"{layout.instance}?*/")]
    leaks.clean(layout)
    leaks.release(layout, claimed)
    if left:
        pytest.fail("the test left behind:\n" + "\n".join(left))


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small image (busybox:latest) as an OCI archive."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    subprocess.run(
        [sys.executable, REPOSITORY / "ops" / "busybox-image", path], check=True, capture_output=True
    )
    return path
