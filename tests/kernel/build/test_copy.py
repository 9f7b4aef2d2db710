"""COPY and ADD where buildah goes other ways, or none: the trees are BuildKit's, or what its manual says."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Invalid
from tests.kernel.build.building import build, tree_of, write
from tests.kernel.build.test_copy_beside_buildah import _archive

FILES = {
    "a.txt": "a", "b.txt": "b", "c.md": "c", "dir/one": "1", "dir/sub/two": "2", "deep/p/q/file": "f",
    "deep/p/z.txt": "z", "t.tar": _archive(""),
}  # fmt: skip
CASES = {
    "COPY --parents dir/sub/two deep/p/z.txt /x/": {"x/dir/sub/two", "x/deep/p/z.txt"},
    "COPY --parents deep/./p/z.txt /x/": {"x/p/z.txt"},
    "COPY --parents ./deep/./p/*/file /x/": {"x/p/q/file"},
    "COPY --parents deep/**/file /x/": {"x/deep/p/q/file"},
    "COPY --parents **/*.txt /x/": {"x/a.txt", "x/b.txt", "x/deep/p/z.txt"},
    "COPY --exclude=*.txt --exclude=deep --exclude=t.tar . /x/": {"x/c.md", "x/dir/one", "x/dir/sub/two"},
    "COPY --exclude=sub dir /x/": {"x/one"},
    "COPY --exclude=**/two dir /x": {"x/one"},
    "COPY --exclude=a* *.txt /x/": {"x/b.txt"},
    "COPY nothing* a.txt /x/": {"x/a.txt"},
    "COPY <<one <<\"two\" /x/\n1 $HOME\none\n2 $HOME\ntwo": {"x/one", "x/two"},
}  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Path:
    context = write(tmp_path / "context", FILES)
    (context / "dir").chmod(0o2710)
    return context


@pytest.mark.parametrize("step", CASES)
async def test_files_that_are_chosen(engine: NativeEngine, context: Path, tmp_path: Path, step: str) -> None:
    built = await build(engine, context, f"FROM scratch\nENV HOME=/h\n{step}\n")
    tree = tree_of(engine, built.found, tmp_path / "root")
    assert {name for name, facts in tree.items() if str(facts[0]).startswith("0o100")} == CASES[step]


async def test_link_layers_stand_alone(engine: NativeEngine, context: Path, tmp_path: Path) -> None:
    """They follow no link of what is below, and are there already when that is another one."""
    text = "FROM busybox\nRUN echo {} > /x; ln -s /real /via\nCOPY --link --chown=nobody a.txt /via/\n"
    first = await build(engine, context, text.format(1))
    second = await build(engine, context, text.format(2))
    assert len(second.ended("cached")) == 1 and second.found.layers[-1] == first.found.layers[-1]
    tree = tree_of(engine, second.found, tmp_path / "root")
    assert "real" not in tree and tree["via/a.txt"][1] == 65534


async def test_owners_and_modes(engine: NativeEngine, context: Path, tmp_path: Path) -> None:
    text = (
        "FROM busybox AS one\nRUN mkdir -p /o/p && echo 1 >/o/p/f && chown -R 5:6 /o && chmod 2711 /o/p\n"
        "FROM scratch\nCOPY --from=one /o /x/\nCOPY --from=one --chown=9 /o/p /y/\n"
        "ADD --chown=7:8 t.tar /a/\nCOPY --chmod=u=rwX,go=rX dir /m\nCOPY --chmod=4755 a.txt /s\n"
    )
    built = await build(engine, context, text)
    tree = tree_of(engine, built.found, tmp_path / "root")
    wanted = {
        "x": ("0o40755", 0, 0), "x/p": ("0o42711", 5, 6), "y": ("0o40755", 9, 9), "y/f": ("0o100644", 9, 9),
        "a": ("0o40755", 7, 8), "a/d": ("0o40750", 3, 3), "a/d/f": ("0o100640", 4, 4),
        "m/sub": ("0o40755", 0, 0), "m/one": ("0o100644", 0, 0), "s": ("0o104755", 0, 0),
    }  # fmt: skip
    assert {name: tree[name][:3] for name in wanted} == wanted


@pytest.mark.parametrize("step", ["COPY a.txt /d", "COPY dir /d/one"])
async def test_a_file_and_a_directory_do_not_replace_each_other(
    engine: NativeEngine, context: Path, step: str
) -> None:
    place = "/d/one/x" if "a.txt" in step else "/d/one"
    text = f"FROM scratch\nCOPY a.txt {place}\n{step if 'dir' in step else 'COPY dir /d/one/x'}\n"
    with pytest.raises(Invalid, match="cannot replace"):
        await build(engine, context, text)
