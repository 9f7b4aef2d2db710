"""The same operations in docker's container and in ours: diff, export and commit say the same of them."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.images.container_commit import Commit
from tests.engines import HAS_DOCKER, Engine, dockerd
from tests.native import ended, run, shell

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_DOCKER, reason="docker is not installed"),
]

# The image has /bin, /etc, /home, /root, /tmp, /usr, /var and little in them.
SCRIPT = """
set -e
mkdir -p /new/below; echo x >/new/below/file; ln /new/below/file /new/hard; ln -s /etc/none /new/link
echo '#' >>/etc/group; chmod 600 /etc/group; chown 7:8 /new/below/file
rm /bin/vi; rm /usr/bin/awk; echo mine >/usr/bin/awk; chmod 755 /usr/bin/awk
mkfifo /tmp/pipe; rmdir /home 2>/dev/null || true; mkdir /root/.ssh; chmod 700 /root/.ssh
touch /tmp/gone; rm /tmp/gone; mkdir /var/once; rmdir /var/once
mkdir /usr/local2; touch -d '2001-02-03 04:05:06' /usr/local2/old; chmod 1777 /usr/local2
rm -r /var/spool/cron; mkdir /var/spool/cron; touch /var/spool/cron/x; rm -r /var/www; touch /var/www
mv /usr/bin/tty /usr/bin/tty2; dd if=/dev/zero of=/tmp/sparse bs=1 seek=100000 count=1 2>/dev/null
"""


OF_DOCKER = (".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/mtab")  # made by it in each container
OF_EVERYBODY = (
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
)  # with docker they are programs, by their mode


@pytest.fixture(scope="module")
def docker(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With the busybox image, and a container called `box` in which the script has run."""
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    packed = tmp_path_factory.mktemp("packed") / "busybox.tar"
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci-archive:{busybox_archive}", f"docker-archive:{packed}:busybox:latest"],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        with dockerd(folder) as engine:
            engine("load", "-q", "-i", packed)
            engine("run", "--name", "box", "--network", "none", "busybox:latest", "sh", "-c", SCRIPT)
            yield engine
            engine("rm", "-f", "box")
    finally:
        shutil.rmtree(folder)


async def box(engine: NativeEngine) -> str:
    config = shell(engine, "box", SCRIPT)
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    return config.id


async def test_diff(docker: Engine, engine: NativeEngine) -> None:
    theirs = docker("diff", "box").stdout.splitlines()
    ours = [f"{kind} {path}" for kind, path in await engine.files.changes(await box(engine))]
    assert ours == sorted(theirs, key=lambda line: line[2:])
    assert "D /bin/vi" in ours
    assert "C /usr/bin/awk" in ours


async def test_export(docker: Engine, engine: NativeEngine, tmp_path: Path) -> None:
    docker("export", "-o", tmp_path / "theirs.tar", "box")
    data = b"".join([piece async for piece in engine.files.export(await box(engine))])
    theirs = facts((tmp_path / "theirs.tar").read_bytes())
    ours = facts(data)
    for name in OF_DOCKER:
        theirs.pop(name, None)
    for name in OF_EVERYBODY:
        assert ours.pop(name)[5] == theirs.pop(name)[5] == 0
    assert ours == theirs


async def test_commit(docker: Engine, engine: NativeEngine, tmp_path: Path) -> None:
    docker("commit", "box", "committed:1")
    docker("save", "-o", tmp_path / "theirs.tar", "committed:1")
    image = await engine.files.commit(await box(engine), Commit("", "", "", "committed:1"))
    archive = engine.images.save([image.id], "docker-archive")
    (tmp_path / "ours.tar").write_bytes(b"".join(archive.chunks()))
    assert last_layer(tmp_path / "ours.tar") == last_layer(tmp_path / "theirs.tar")


async def test_docker_makes_the_same_files_of_our_image(
    docker: Engine, engine: NativeEngine, tmp_path: Path
) -> None:
    more = "touch /$(printf 'no\\377utf8') /ž; ln /tmp/pipe /tmp/pipe2; chmod 4755 /new/hard"
    config = shell(engine, "box", f"{SCRIPT}\n{more}")
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    ours = facts(b"".join([piece async for piece in engine.files.export(config.id)]))
    await engine.files.commit(config.id, Commit("", "", "", "ours:1", ("CMD sh",)))
    archive = engine.images.save(["ours:1"], "docker-archive")
    (tmp_path / "ours.tar").write_bytes(b"".join(archive.chunks()))
    docker("load", "-i", tmp_path / "ours.tar")
    docker("create", "--name", "ours", "--network", "none", "ours:1")
    docker("export", "-o", tmp_path / "theirs.tar", "ours")
    docker("rm", "ours")
    theirs = facts((tmp_path / "theirs.tar").read_bytes())
    for name in OF_DOCKER:
        theirs.pop(name, None)
    for name in OF_EVERYBODY:
        assert ours.pop(name)[5] == theirs.pop(name)[5] == 0
    assert ours == theirs
    assert os.fsdecode(b"no\xffutf8") in ours


def last_layer(archive: Path) -> dict[str, tuple[object, ...]]:
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        name = json.loads(manifest.read())[0]["Layers"][-1]
        layer = tar.extractfile(name)
        assert layer is not None
        data = layer.read()
    return facts(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def facts(data: bytes) -> dict[str, tuple[object, ...]]:
    """All but times, and which name of a file comes first."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [member for member in archive if member.name not in ("", ".")]
        sizes = {member.name: member.size for member in members if not member.islnk()}
        return {
            member.name: (
                0 if member.issym() or "/.wh." in f"/{member.name}" else member.mode, member.uid, member.gid,
                "" if member.islnk() or member.isreg() else member.type,
                member.linkname if member.issym() else "",
                sizes.get(member.linkname if member.islnk() else member.name),
            )
            for member in members
        }  # fmt: skip
