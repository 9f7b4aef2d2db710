"""H6: who may commit, load or tag is not who says which images run. Ways round the rule for images, all
refused: other ways to write a host, names that are given here, ids, and archives that name themselves."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from agent.manifest.objects import Revision
from agent.manifest.reader import read
from agent.policy.gate import Gate
from runtime.errors import Invalid
from runtime.images.images import Images
from runtime.layout import Layout
from tests.bad_registry import config_of, started, tar_of
from tests.threats.registries import store_in

DIGEST = "sha256:" + "a" * 64
POLICY = """\
apiVersion: setpoint/v1
kind: Policy
images:
  evil: {match: ["evil.example/*", "docker.io/evil/*"], deny: true}
  ours: {match: ["ours.example/*"], pinned: true}
"""
DENIED = [
    name + more
    for name in (
        "evil.example/x", "evil.example/a/b/c", "Evil.Example/x", "EVIL.EXAMPLE/x", "evil.example:443/x",
        "evil.example:0443/x", "Evil.example:443/a/x", "docker.io/evil/x", "evil/x", "index.docker.io/evil/x",
        "Index.Docker.Io/evil/x", "registry-1.docker.io/evil/x", "registry-1.docker.io:443/evil/x",
        "DOCKER.IO/evil/x",
    )
    for more in ("", ":1", f"@{DIGEST}", f":1@{DIGEST}")
]  # fmt: skip


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    if os.geteuid() != 0:
        pytest.skip("a policy is root's")
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    path.chmod(0o644)
    return Gate(path)


@pytest.fixture
def images(tmp_path: Path, gate: Gate) -> Images:
    return Images(Layout("th6", tmp_path / "data", tmp_path / "run"), gate)


def archive_of(folder: Path, *names: str) -> Path:
    """What `docker save` writes, of an image that calls itself whatever it likes."""
    layer = tar_of({"etc/word": b"hello"})
    entry = {"Config": "c.json", "RepoTags": list(names), "Layers": ["l.tar"]}
    files = {
        "manifest.json": json.dumps([entry]).encode(),
        "c.json": json.dumps(config_of(layer)).encode(),
        "l.tar": layer,
    }
    path = folder / "image.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return path


@pytest.mark.parametrize("name", DENIED)
def test_h6_however_the_name_is_written(name: str, gate: Gate, images: Images, tmp_path: Path) -> None:
    revision = Revision("1", "t", {"shop/compose.yaml": f"services:\n  a:\n    image: {name}\n".encode()})
    manifest = gate.admit(read(revision), revision)
    assert [(error.where.line, "rule images.evil" in error.message) for error in manifest.errors] == [
        (3, True)
    ]
    with pytest.raises(Invalid, match=r"rule images\.evil"):
        images.pull(name, [])  # before anybody is asked
    if "@" in name:
        return
    root = tmp_path / "root.tar"
    root.write_bytes(tar_of({"etc/word": b"x"}))
    with pytest.raises(Invalid, match=r"rule images\.evil"):
        images.import_rootfs(root, name)
    with pytest.raises(Invalid, match=r"rule images\.evil"):
        images.load(archive_of(tmp_path, "good.example/x:1", name if ":1" in name else f"{name}:1"))
    assert images.list() == ()


def test_h6_a_name_given_here_is_none_from_there(gate: Gate, images: Images, tmp_path: Path) -> None:
    with started() as registry:
        images = Images(Layout("tbad", tmp_path / "data", tmp_path / "run"), gate)
        store = store_in(tmp_path, registry)
    with pytest.raises(Invalid, match=r"rule images\.evil"):
        images.tag(store.kept, "evil.example/x:1")
    assert images.get("evil.example/x:1") is None
    images.tag(store.kept, "ours.example/x:1")  # it has a name at hand, and may not run by it
    with pytest.raises(Invalid, match="it has no digest"):
        images.admitted("run", "ours.example/x:1")
    image = images.get("ours.example/x:1")
    assert image is not None
    assert images.admitted("run", f"ours.example/x@{image.digest}").id == image.id
    assert images.admitted("run", image.id).id == image.id
    images.remove(store.kept, in_use=())
    assert images.admitted("run", image.id).id == image.id  # its id is as exact as its digest


def test_h6_an_id_of_what_is_denied(gate: Gate, tmp_path: Path) -> None:
    """It came before the rule, and has no name but that."""
    free = Images(Layout("th6", tmp_path / "data", tmp_path / "run"))
    (image,) = free.load(archive_of(tmp_path, "evil.example/x:1"))
    images = Images(Layout("th6", tmp_path / "data", tmp_path / "run"), gate)
    for name in (
        image.id,
        image.id[7:],
        image.id[7:19],
        "evil.example/x:1",
        f"evil.example/x@{image.digest}",
    ):
        with pytest.raises(Invalid, match=r"rule images\.evil"):
            images.admitted("run", name)
