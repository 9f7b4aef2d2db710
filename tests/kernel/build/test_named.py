"""Directories and images that a build is given beside its context, and what it is for."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Invalid, SetpointError, Unsupported
from runtime.images.images import host_platform
from tests.kernel.build.building import build, root_of, tree_of, write

TEXT = """\
FROM base
COPY own /own
COPY --from=shared . /shared/
RUN --mount=type=bind,from=packed,target=/packed cat /packed/* > /seen
"""


@pytest.fixture
def given(tmp_path: Path) -> dict[str, tuple[str, str]]:
    shared = write(tmp_path / "shared", {"a": "a", "b.log": "b", ".dockerignore": "*.log\n", "in/c": "c"})
    (shared / "out").symlink_to("/etc/passwd")
    packed = write(tmp_path / "packed", {"one": "packed"})
    with tarfile.open(tmp_path / "packed.tar", "w") as tar:
        tar.add(packed, ".")
    return {
        "base": ("image", "busybox"),
        "shared": ("directory", str(shared)),
        "packed": ("tar", str(tmp_path / "packed.tar")),
        "unused": ("directory", str(tmp_path / "nowhere")),
    }


async def test_files_of_directories_and_a_base_in_place_of_a_name(
    engine: NativeEngine, given: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    context = write(tmp_path / "context", {"own": "own"})
    built = await build(engine, context, TEXT, contexts=given)
    with root_of(engine, built.found, tmp_path / "root") as root:
        assert (root / "seen").read_text() == "packed" and (root / "own").read_text() == "own"
    tree = tree_of(engine, built.found, tmp_path / "root")
    shared = {name for name in tree if name.startswith("shared/")}
    # Its own .dockerignore holds; a link stays one.
    assert shared == {"shared/a", "shared/.dockerignore", "shared/in", "shared/in/c", "shared/out"}
    again = await build(engine, context, TEXT, contexts=given)
    assert not again.ended("done") and again.found.id == built.found.id
    write(tmp_path / "shared", {"b.log": "another"})
    assert not (await build(engine, context, TEXT, contexts=given)).ended("done")
    write(tmp_path / "shared", {"in/c": "another"})
    assert len((await build(engine, context, TEXT, contexts=given)).ended("done")) == 2


async def test_no_path_leads_out_of_a_directory(
    engine: NativeEngine, given: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    for source in ("out", "../packed/one"):
        with pytest.raises(SetpointError, match="no such file"):
            await build(engine, None, f"FROM scratch\nCOPY --from=shared {source} /x\n", contexts=given)


async def test_a_directory_is_no_base(engine: NativeEngine, given: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(Invalid, match="no base"):
        await build(engine, None, "FROM shared\n", contexts=given)


async def test_an_image_for_another_processor_is_refused_before_anything_is_done(
    engine: NativeEngine,
) -> None:
    """One of FROM scratch, too: it would say of itself that it is for this machine."""
    host = host_platform()
    other = "linux/s390x" if host.architecture != "s390x" else "linux/amd64"
    with pytest.raises(Unsupported, match=f"this machine runs {host.os}/{host.architecture}"):
        await build(engine, None, "FROM scratch\nCMD a\n", platform=other)
    with pytest.raises(Invalid, match="no platform"):
        await build(engine, None, "FROM scratch\nCMD a\n", platform="a b")
    same = await build(engine, None, "FROM scratch\nCMD a\n", platform=f"{host.os}/{host.architecture}")
    assert same.found.architecture == host.architecture
