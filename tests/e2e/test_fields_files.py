"""Fields that say which files a container sees: root, tmpfs, volumes, binds, devices, shared memory."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import write_image
from tests.e2e.project import BASE, Project
from tests.e2e.story import Story
from tests.unit.images import craft

COMPOSE = (
    BASE
    + """
services:
  read-only: {<<: *base, read_only: true, tmpfs: /scratch, volumes: ["data:/data"]}
  tmpfs: {<<: *base, tmpfs: ["/t:size=64k,mode=750,uid=33,gid=100,exec", /plain, "/ro:ro"]}
  tmpfs-long:
    <<: *base
    volumes: [{type: tmpfs, target: /deep/er/t, tmpfs: {size: 1m, mode: 0700}}]
  writer:
    <<: *base
    volumes:
      - data:/data
      - cache:/cache:nocopy
      - /anonymous
      - type: volume
        source: data
        target: /inner
        volume: {subpath: a/b}
    depends_on: {maker: {condition: service_completed_successfully}}
  maker: {<<: *base, command: [mkdir, -p, /data/a/b], volumes: ["data:/data"]}
  reader: {<<: *base, volumes: ["data:/data:ro", "cache:/srv/kept"]}
  binds:
    <<: *base
    volumes:
      - ./relative:/relative
      - {host}/tree:/tree:ro
      - {host}/tree:/rw
      - {host}/made/by/it:/made
      - {host}/file:/etc/configured:ro
      - type: bind
        source: {host}/shared
        target: /shared
        bind: {propagation: rshared, create_host_path: false}
      - {host}/shared:/slave:rslave
      - {host}/shared:/private
  filled: {image: "full:latest", command: [sleep, "1000"], stop_signal: SIGKILL, volumes: ["kept:/srv/kept"]}
  not-filled:
    image: full:latest
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    volumes: ["empty:/srv/kept:nocopy", "{host}/empty:/srv/hidden"]
  undeclared: {image: "full:latest", command: [sleep, "1000"], stop_signal: SIGKILL}
  devices:
    <<: *base
    devices: ["/dev/zero:/dev/nothing:r", /dev/fuse, {source: /dev/full, target: /dev/sub/full}]
  shm: {<<: *base, shm_size: 1m}
  plain: {<<: *base}
volumes:
  data: {}
  cache: {name: my.cache, labels: {for: speed}}
  kept:
  empty:
"""
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directories to bind; tree has a mount of its own below, shared is a shared mount."""
    path = tmp_path_factory.mktemp("host")
    for name in ("tree/below", "shared", "empty"):
        (path / name).mkdir(parents=True)
    (path / "file").write_text("configured\n")
    mount("-t", "tmpfs", "below", path / "tree/below")
    mount("--bind", path / "shared", path / "shared")
    mount("--make-shared", path / "shared")
    yield path
    for name in ("shared", "tree/below"):
        subprocess.run(["umount", "-l", path / name], check=True)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


@pytest.fixture(scope="module")
def project(
    shared_story: Story, host: Path, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    layer = craft.tar(
        craft.directory("srv"),
        craft.directory("srv/kept", mode=0o750, uid=33, gid=100),
        craft.entry("srv/kept/page", b"from the image\n", mode=0o640, uid=33),
        craft.symlink("srv/kept/link", "/etc/passwd"),
        craft.directory("srv/hidden"),
        craft.entry("srv/hidden/x", b"x"),
    )
    archive = write_image(
        tmp_path_factory.mktemp("image") / "full.tar", busybox_archive, "full:latest", layer,
        Volumes={"/srv/kept": {}},
    )  # fmt: skip
    shared_story.setpoint("image", "load", archive)
    found = Project(shared_story, "files")
    found.apply(COMPOSE.replace("{host}", str(host)), {"relative/note.txt": "beside it\n"})
    yield found


def refuses(project: Project, name: str, path: str) -> bool:
    project.sh(name, f"touch {path}", code=1)
    return "Read-only file system" in project.story.said


# --- the root -----------------------------------------------------------------------------------


def test_read_only(project: Project) -> None:
    assert "ro" in project.mounts("read-only")["/"][0]
    assert refuses(project, "read-only", "/x")
    assert refuses(project, "read-only", "/etc/x")
    project.sh(
        "read-only", "touch /scratch/x /data/from-read-only /dev/shm/x /run/x || true; touch /scratch/y"
    )
    assert "rw" in project.mounts("plain")["/"][0]


# --- tmpfs --------------------------------------------------------------------------------------


def test_tmpfs(project: Project) -> None:
    mounts = project.mounts("tmpfs")
    flags, kind, options = mounts["/t"]
    assert kind == "tmpfs"
    assert {"rw", "nosuid", "nodev"} <= flags and "noexec" not in flags
    assert {"size=64k", "mode=750", "uid=33", "gid=100"} <= options
    assert {"nosuid", "nodev", "noexec"} <= mounts["/plain"][0]  # Docker's defaults
    assert "ro" in mounts["/ro"][0]
    assert project.sh("tmpfs", "stat -c %a:%u:%g /t; stat -c %a /plain") == "750:33:100\n1777\n"


def test_tmpfs_in_the_long_form(project: Project) -> None:
    flags, kind, options = project.mounts("tmpfs-long")["/deep/er/t"]
    assert kind == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= flags
    assert {"size=1024k", "mode=700"} <= options


# --- volumes ------------------------------------------------------------------------------------


def test_named_volumes_are_shared_and_lie_in_the_data_directory(project: Project) -> None:
    project.sh("writer", "echo words >/data/words; echo fast >/cache/note")
    assert project.sh("reader", "cat /data/words /srv/kept/note") == "words\nfast\n"
    volumes = {v["name"]: v for v in json.loads(project.story.setpoint("volume", "ls", "-o", "json"))}
    assert {"files_data", "my.cache", "files_kept"} <= volumes.keys()
    assert (project.story.layout.volumes / "files_data").is_dir()


def test_a_volume_can_be_read_only(project: Project) -> None:
    assert refuses(project, "reader", "/data/x")
    assert "ro" in project.mounts("reader")["/data"][0]


def test_a_part_of_a_volume(project: Project) -> None:
    project.sh("writer", "touch /inner/in-b; test -e /data/a/b/in-b")


def test_an_anonymous_volume_stays_with_its_replica(project: Project) -> None:
    project.sh("writer", "touch /anonymous/mark")
    assert "/anonymous" in project.mounts("writer")
    names = [v["name"] for v in json.loads(project.story.setpoint("volume", "ls", "-o", "json"))]
    assert any(name.startswith("files_writer-1_") for name in names)


def test_an_empty_volume_takes_what_the_image_has_there(project: Project) -> None:
    shown = project.sh("filled", "cd /srv/kept; cat page; stat -c %a:%u:%g . page; readlink link")
    assert shown == "from the image\n750:33:100\n640:33:0\n/etc/passwd\n"
    assert project.sh("not-filled", "ls -A /srv/kept /srv/hidden").split() == ["/srv/hidden:", "/srv/kept:"]


def test_a_volume_that_the_image_declares_outlives_the_container(project: Project) -> None:
    """Nobody named it, and its data would be lost with the container."""
    assert "/srv/kept" in project.mounts("undeclared")
    assert project.sh("undeclared", "cat /srv/kept/page") == "from the image\n"


# --- binds --------------------------------------------------------------------------------------


def test_binds(project: Project, host: Path) -> None:
    assert project.sh("binds", "cat /relative/note.txt /etc/configured") == "beside it\nconfigured\n"
    assert (host / "made/by/it").is_dir()
    project.sh("binds", "echo w >/rw/written; echo m >/made/m")
    assert (host / "tree/written").read_text() == "w\n"
    assert project.sh("binds", "cat /tree/written") == "w\n"


def test_a_read_only_bind_is_so_all_the_way_down(project: Project, host: Path) -> None:
    assert refuses(project, "binds", "/tree/x")
    assert refuses(project, "binds", "/etc/configured")
    assert refuses(project, "binds", "/tree/below/x")
    project.sh("binds", "touch /rw/below/x")
    assert (host / "tree/below/x").exists()


def test_propagation(project: Project, host: Path) -> None:
    mounts = project.mounts("binds")
    assert any(word.startswith("shared:") for word in mounts["/shared"][2])
    assert any(word.startswith("master:") for word in mounts["/slave"][2])
    assert not any(word.startswith(("shared:", "master:")) for word in mounts["/private"][2])
    (host / "shared/late").mkdir()
    mount("-t", "tmpfs", "late", host / "shared/late")
    try:
        (host / "shared/late/mark").write_text("")
        script = "for d in shared slave private; do test -e /$d/late/mark && echo $d; done; true"
        assert project.sh("binds", script).split() == ["shared", "slave"]
    finally:
        subprocess.run(["umount", host / "shared/late"], check=True)
    assert "late" not in Path("/proc/self/mountinfo").read_text()


def test_a_bind_without_a_source_says_so(project: Project, host: Path) -> None:
    other = Project(project.story, "nosource")
    bind = "{type: bind, source: /no/such/place, target: /x, bind: {create_host_path: false}}"
    other.apply(f"{BASE}services:\n  a: {{<<: *base, volumes: [{bind}]}}\n", unready=("a",))
    found = other.object("a")
    assert found["phase"] == "Stalled"
    assert "/no/such/place" in found["message"] and "create_host_path" in found["message"]
    assert not Path("/no/such").exists()
    project.story.commit({"nosource/compose.yaml": None})
    project.story.setpoint("sync")


# --- devices, shared memory ---------------------------------------------------------------------


def test_devices(project: Project) -> None:
    nothing = os.stat(project.root("devices", "/dev/nothing"))
    assert stat.S_ISCHR(nothing.st_mode) and nothing.st_rdev == os.makedev(1, 5)
    assert os.stat(project.root("devices", "/dev/sub/full")).st_rdev == os.makedev(1, 7)
    assert project.sh("devices", "head -c3 /dev/nothing | wc -c").strip() == "3"
    project.sh("devices", ": <>/dev/fuse")
    project.sh("plain", "mknod /fuse c 10 229; : <>/fuse", code=1)
    assert "Operation not permitted" in project.story.said
    assert not project.root("plain", "/dev/fuse").exists()


def test_the_usual_devices_are_there(project: Project) -> None:
    names = set(os.listdir(project.root("plain", "/dev")))
    assert names == {
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    } - {"console", "core"}  # fmt: skip


def test_shm_size(project: Project) -> None:
    assert "size=1024k" in project.mounts("shm")["/dev/shm"][2]
    assert "size=65536k" in project.mounts("plain")["/dev/shm"][2]
    project.sh("shm", "dd if=/dev/zero of=/dev/shm/x bs=64k count=32", code=1)
    assert "No space left" in project.story.said
