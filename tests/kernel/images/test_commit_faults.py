"""A commit that is cut off at any system call leaves an image whole or absent, and its base as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import NotFound
from runtime.images.container_commit import Commit
from runtime.images.images import Images
from runtime.layout import Layout
from tests.kernel.images.test_faults import KILLED_AT_STEP
from tests.kernel.images.trees import describe
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, tar

BASE = tar(directory("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), entry("old", b"1"))
COMMIT = '.commit(Commit("web", sys.argv[4], sys.argv[5], "made:1", ("CMD made",), at=1.0))'
SCRIPT = KILLED_AT_STEP.replace(".load(Path(sys.argv[4]))", COMMIT).replace(
    "from runtime.layout", "from runtime.images.container_commit import Commit\nfrom runtime.layout"
)


def killed(step: int, layout: Layout, upper: Path, base: str) -> subprocess.CompletedProcess[str]:
    words = [str(step), layout.instance, str(layout.data_root), str(upper), base]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )


def test_killed_at_any_system_call(layout: Layout, images: Images, tmp_path: Path) -> None:
    archive = craft.write_tar(tmp_path / "base.tar", craft.image(BASE, name="base:1"))
    (base,) = images.load(archive)
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/passwd").write_text("changed")
    (upper / "new").write_bytes(bytes(3_000_000))
    (upper / "new2").write_bytes(b"x")
    total = 100_000
    spare = Layout("tspare", layout.data_root, layout.run_root)
    Images(spare).load(archive)
    done = killed(total, spare, upper, base.id)
    assert done.returncode == 0, done.stderr
    calls = total - int(done.stdout)
    assert calls > 30
    for step in sorted({*range(0, calls, max(1, calls // 12)), *range(calls - 14, calls)}):
        assert killed(step, layout, upper, base.id).returncode == -signal.SIGKILL
        whole_or_absent(layout, base.id, upper)
    done = killed(total, layout, upper, base.id)
    assert done.returncode == 0, done.stderr
    assert whole_or_absent(layout, base.id, upper)
    assert not list((layout.images / "ingest").iterdir())
    other = Images(spare).get("made:1")
    mine = Images(layout).get("made:1")
    assert mine is not None
    assert mine == other  # the same time, files and changes: the same image


def whole_or_absent(layout: Layout, base: str, upper: Path) -> bool:
    """Whether the image is there."""
    images = Images(layout)
    below = images.get("base:1")
    assert below is not None
    assert below.id == base
    assert images.layer_directories(base)
    made = images.get("made:1")
    if made is None:
        return False
    assert made.command == ("/bin/sh", "-c", "made")
    layer = images.layer_directories(made.id)[-1]
    assert describe(layer, times=False) == describe(upper, times=False)
    Images(layout).commit(Commit("web", str(upper), base, "again:1", at=2.0))  # the store goes on
    images.remove("again:1", in_use=())
    return True


def test_a_container_that_was_removed_meanwhile(layout: Layout, images: Images, tmp_path: Path) -> None:
    """Nothing of it is left, and it is no bug."""
    (base,) = images.load(craft.write_tar(tmp_path / "base.tar", craft.image(BASE, name="base:1")))
    with pytest.raises(NotFound, match="its files are gone"):
        images.commit(Commit("web", str(tmp_path / "removed"), base.id, "made:1", at=1.0))
    assert not list((layout.images / "ingest").iterdir())
    assert images.get("made:1") is None
