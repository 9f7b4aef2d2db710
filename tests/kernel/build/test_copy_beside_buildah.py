"""COPY and ADD beside buildah: the same Dockerfile and the same context come to the same tree.

Where buildah is known to differ from BuildKit, whose rules we follow, the case says what BuildKit's tree is.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from tests.kernel.build.building import build, tree_of, write
from tests.kernel.images.trees import Facts, describe

pytestmark = pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
Buildah = Callable[..., str]
EMPTY = hashlib.sha256(b"").hexdigest()
LIMITS = (
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=4096:4096",
)  # its own are over those of many hosts


def _archive(packing: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{packing}") as tar:
        for name, mode, owner in (("d", 0o750, 3), ("d/f", 0o640, 4), ("top", 0o644, 0)):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name == "d" else tarfile.REGTYPE
            info.mode, info.uid, info.gid = mode, owner, owner
            info.size = 0 if name == "d" else 4
            tar.addfile(info, None if name == "d" else io.BytesIO(b"data"))
        link = tarfile.TarInfo("l")
        link.type, link.linkname = tarfile.SYMTYPE, "d/f"
        tar.addfile(link)
    return buffer.getvalue()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    context = write(
        tmp_path / "context",
        {
            "a.txt": "a", "b.txt": "bb", "c.md": "c", "dir/one": "1", "dir/sub/two": "2", "dir/empty/": "",
            "other/x.go": "x", "other/y.go": "y", "[odd]": "odd", "with space": "s", "deep/p/q/r/file": "f",
            "deep/p/z.txt": "z", "plain.tar": _archive(""), "packed.tar.gz": _archive("gz"),
            "packed.tar.xz": _archive("xz"), "packed.tar.bz2": _archive("bz2"), "not.tar.gz": "no archive",
        },
    )  # fmt: skip
    (context / "dir" / "link").symlink_to("one")
    (context / "link-to-dir").symlink_to("dir")
    (context / "link-to-file").symlink_to("a.txt")
    (context / "dir" / "sub").chmod(0o750)
    (context / "dir" / "one").chmod(0o755)
    os.link(context / "dir" / "one", context / "dir" / "same")
    os.chown(context / "b.txt", 12, 34)
    return context


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Buildah]:
    options = ["--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(tmp_path)}

    def buildah(*words: str | Path) -> str:
        done = subprocess.run(
            ["buildah", *options, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield buildah
    buildah("rm", "--all")


def _of_buildah(buildah: Buildah, context: Path, text: str, archive: Path) -> Facts:
    dockerfile = context.parent / "Dockerfile"
    dockerfile.write_text(text.replace("FROM busybox", f"FROM oci-archive:{archive}"))
    buildah("bud", "--layers=false", *LIMITS, "-t", "built", "-f", dockerfile, context)
    name = buildah("from", "--pull-never", "localhost/built")
    facts = describe(Path(buildah("mount", name)), times=False)
    facts.pop(".")
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):  # it leaves the places of its own mounts
        if facts.get(name, ())[4:5] == ((0, EMPTY),):
            del facts[name]
    return facts


CASES = {
    "a-file-to-a-file": "COPY a.txt /x/y/z",
    "a-file-to-a-directory": "COPY a.txt /x/",
    "a-file-to-what-is-a-directory": "COPY dir /x\nCOPY a.txt /x/sub",
    "a-directory-is-its-content": "COPY dir /x",
    "a-directory-into-one-that-is-there": "COPY dir /x\nCOPY other /x",
    "over-what-is-there": "COPY a.txt /x/one\nCOPY dir /x/",
    "several": "COPY a.txt b.txt dir /x/",
    "relative-to-the-working-directory": "WORKDIR /w/x\nCOPY a.txt .\nCOPY b.txt ./sub/b",
    "globs": "COPY *.txt /x/\nCOPY o*/*.g? /y/\nCOPY [abc].md /z/",
    "globs-of-directories": "COPY d* /x/",
    "odd-names": 'COPY [ "with space", "/x/" ]\nCOPY [[]odd] /y/',
    "links-are-followed-at-the-top-alone": "COPY link-to-file /x/\nCOPY dir /y",
    "a-link-to-a-directory": "COPY link-to-dir /x",
    "a-link-in-the-image": "FROM busybox\nRUN mkdir /real && ln -s real /via && ln -s /real/new /dangling\n"
    "COPY a.txt /via/\nCOPY dir /via/d\nCOPY b.txt /via/d/one",
    "owners": "COPY --chown=7 a.txt /x/a\nCOPY --chown=7:8 dir /y/z\nCOPY --chown=:9 b.txt /v",
    "owners-by-name": "FROM busybox\nCOPY --chown=nobody a.txt /x/\nCOPY --chown=nobody:mail dir /y",
    "modes": "COPY --chmod=0600 a.txt /x\nCOPY --chmod=0711 dir/sub/two /y/two",
    "from-a-stage": "FROM busybox AS one\nRUN mkdir -p /o/p && echo 1 >/o/p/f && chown 5:6 /o/p/f"
    " && chmod 4711 /o/p/f && ln -s p /o/l\nFROM scratch\nCOPY --from=one /o /x/\nCOPY --from=0 /o/p/f /y/",
    "archives": "ADD plain.tar /a/\nADD packed.tar.gz /b\nADD packed.tar.xz packed.tar.bz2 /c/\n"
    "ADD not.tar.gz /d/\nCOPY plain.tar /e/",
    "archives-over-what-is-there": "COPY dir /a/d\nADD plain.tar /a",
    "volumes-and-users-change-nothing": "USER 55\nVOLUME /x\nCOPY a.txt /x/\nWORKDIR /y",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_the_tree_is_buildahs(
    engine: NativeEngine, context: Path, buildah: Buildah, busybox_archive: Path, tmp_path: Path, case: str
) -> None:
    steps = CASES[case]
    text = f"{steps}\n" if steps.startswith("FROM") else f"FROM scratch\n{steps}\n"
    built = await build(engine, context, text)
    ours = tree_of(engine, built.found, tmp_path / "root")
    theirs = _of_buildah(buildah, context, text, busybox_archive)
    assert {name: ours.get(name) for name in ours | theirs} == {
        name: theirs.get(name) for name in ours | theirs
    }
