"""B5: what no count refuses is refused by what it costs. Whatever reads what strangers made is in control
groups of its own, behind the containers, and has so much memory, so many processes and so much time."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from runtime import cgroups
from runtime.cleanup import remove_instance
from runtime.engine import NativeEngine
from runtime.errors import Invalid, Temporary
from runtime.fence import Fence
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.worker_caps import LEAST_MEMORY_BYTES, Caps, ways_in_of
from tests.kernel.build.building import build
from tests.native import PATIENCE_SECONDS, another_engine, config_of, native_engine, until
from tests.unit.images import craft

ENTRIES, SOME = 400_000, 4_000  # 20 s of work at least: the same names again and again
WINDOW_LOG = 27  # 128 MiB: the most that a decoder may take

Fenced = Callable[..., IsolatedImages]


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small layer, packed, that is within every count."""
    some = b"".join(craft.entry(f"{number % 97}/{number}", b"") for number in range(SOME))
    path = tmp_path_factory.mktemp("endless") / "layer.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(ENTRIES // SOME):
            file.write(some)
        file.write(craft.END)
    return path


@pytest.fixture
def fenced(instance: Layout, tmp_path: Path) -> Iterator[Fenced]:
    """Images in a store of their own, with control groups of the instance."""
    fences: list[Fence] = []

    def make(**caps: float) -> IsolatedImages:
        fences.append(Fence(instance.image_cgroup, Caps(**caps)))  # type: ignore[arg-type]
        return IsolatedImages(
            Layout(instance.instance, tmp_path / "data", tmp_path / "run"), fence=fences[-1]
        )

    yield make
    for fence in fences:
        fence.close()
    assert not cgroups.existing(f"/{instance.image_cgroup}")


def load(images: IsolatedImages, layer: Path, folder: Path) -> None:
    """By processes that only unpack."""
    packed = layer.read_bytes()
    config = craft.config([gzip.decompress(packed)])
    manifest = craft.manifest(config, [packed])
    parts = craft.layout(craft.index(craft.manifest_entry(manifest, "bomb:1")), config, manifest, packed)
    images.load(craft.write_tar(folder / "image.tar", parts))


def import_it(images: IsolatedImages, layer: Path, _folder: Path) -> None:
    """By the worker itself."""
    images.import_rootfs(layer, "bomb:1")


def group_limits(name: str) -> dict[str, str]:
    """What the kernel says of a group's limits, by file."""
    found = {}
    files = ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.shares", "cpu.weight")
    for directory in cgroups.existing(f"/{name}"):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                found[file] = Path(directory, file).read_text().strip()
    return found


def is_inside(pid: int, name: str) -> bool:
    """In each hierarchy that limits something, and nowhere else below it."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    found = {controller: path for _, controller, path in (line.split(":", 2) for line in lines)}
    hierarchies = cgroups.hierarchies()
    wanted = {"memory", "pids", "cpu"}
    names = {name for name in wanted if name in hierarchies.v1} | ({""} if wanted & hierarchies.v2 else set())
    return bool(names) and all(found[each] == f"/{name}" for each in names)


@pytest.mark.parametrize("take", [load, import_it])
@pytest.mark.parametrize(
    ("caps", "reason", "option"),
    [
        ({"cpu_seconds": 1}, "it took more than 1 s of processor time", "--worker-time"),
        ({"unpack_seconds": 1}, "it took longer than 1 s to unpack", "--unpack-time"),
    ],
    ids=["processor", "clock"],
)
def test_b5_a_layer_has_so_much_time(
    fenced: Fenced, endless: Path, tmp_path: Path, take: Callable[..., None],
    caps: dict[str, float], reason: str, option: str,
) -> None:  # fmt: skip
    images = fenced(**caps)
    with pytest.raises(Invalid) as caught:
        take(images, endless, tmp_path)
    assert caught.value.reason == reason and option in caught.value.hint
    assert images.list() == () and not list((tmp_path / "data").glob("*/images/ingest/*"))


def test_b5_workers_have_so_much_memory(fenced: Fenced, tmp_path: Path) -> None:
    """Within the address space of one process, and more than all of them may take."""
    block = os.urandom(1 << 20)
    packer = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(
            3, window_log=WINDOW_LOG, enable_ldm=True
        )
    )
    layer = craft.tar(craft.entry("blocks", block * 140))
    packed = packer.compress(layer)
    assert len(packed) < 10 << 20
    (tmp_path / "layer.tar.zst").write_bytes(packed)
    images = fenced(memory_bytes=LEAST_MEMORY_BYTES)
    with pytest.raises(Temporary, match=r"may take 0\.125 GiB of memory together .*--worker-memory"):
        images.import_rootfs(tmp_path / "layer.tar.zst", "bomb:1")
    assert images.list() == () and not list((tmp_path / "data").glob("*/images/ingest/*"))


def test_b5_workers_are_so_many_processes(fenced: Fenced, tmp_path: Path) -> None:
    images = fenced(processes=2)
    with pytest.raises(Temporary, match="no more processes may work on images now"):
        images.load(craft.write_tar(tmp_path / "image.tar", craft.image(craft.tar(craft.entry("x", b"x")))))


@pytest.fixture
async def engine(instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    async with native_engine(instance, busybox_archive) as made:
        yield made


def workers(module: str, marker: str = "") -> list[int]:
    """Of this test run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if module in words and (marker in words or not marker):
                found.append(int(path.parent.name))
    return found


async def test_b5_images_are_read_in_groups_of_their_own(engine: NativeEngine, tmp_path: Path) -> None:
    """A load that gets no bytes, from a FIFO."""
    layout, fifo = engine.layout, tmp_path / "fifo"
    os.mkfifo(fifo)
    loading = asyncio.create_task(asyncio.to_thread(engine.images.load, fifo))

    def found() -> list[int]:
        return [pid for pid in workers("runtime.images.worker", layout.instance)
                if is_inside(pid, layout.image_cgroup)]  # fmt: skip

    assert len(await until(lambda: pids if len(pids := found()) > 1 else None)) > 1  # with its children
    limits = group_limits(layout.image_cgroup)
    caps = Caps()
    assert limits.get("memory.limit_in_bytes", limits.get("memory.max")) == str(caps.memory_bytes)
    assert limits["pids.max"] == str(caps.processes)
    on_v1 = "cpu.shares" in limits
    weight, expected = ("cpu.shares", 500 * (os.cpu_count() or 1)) if on_v1 else ("cpu.weight", 50)
    assert limits[weight] == str(expected)
    engine.images.give_up()
    with pytest.raises(Temporary):
        await loading


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 16):
        yield data[at : at + (1 << 16)]


async def test_b5_copies_are_made_in_groups_of_their_own(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "true")
    await engine.create(config)
    inside: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        group = engine.layout.copy_cgroup
        inside.append(bool(await until(lambda: len(cgroups.list_pids(f"/{group}")) == 2)))
        inside.extend(is_inside(pid, group) for pid in cgroups.list_pids(f"/{group}"))
        yield craft.tar(craft.entry("x", b"x"))

    await engine.copies.put(config.id, "/tmp", pieces())
    assert inside == [True, True, True]  # the one that forks, and the one for this copy


async def test_b5_a_copy_has_so_much_processor_time(
    instance: Layout, busybox_archive: Path, endless: Path
) -> None:
    made = NativeEngine(instance, caps=Caps(cpu_seconds=1))
    await made.open()
    try:
        await asyncio.to_thread(made.images.load, busybox_archive)
        config = config_of(made, "one", "true")
        await made.create(config)
        with pytest.raises(Invalid, match="copy one: it took more than 1 s of processor time"):
            await made.copies.put(config.id, "/tmp", _pieces(endless.read_bytes()))
    finally:
        await made.close()
        await asyncio.to_thread(remove_instance, instance, with_data=True)


async def test_b5_what_an_agent_left_is_ended_by_the_next(engine: NativeEngine) -> None:
    layout = engine.layout
    fence = Fence(layout.build_cgroup)
    ways_in = ways_in_of(fence.environment())
    join = 'for file in "$@"; do echo 0 >"$file"; done; exec sleep 1000'
    with subprocess.Popen(["sh", "-c", join, "sh", *ways_in]) as left:
        await until(lambda: is_inside(left.pid, layout.build_cgroup))
        await engine.close()
        async with another_engine(layout):
            assert left.wait(PATIENCE_SECONDS) == -9
            assert not cgroups.existing(f"/{layout.build_cgroup}")


def test_b5_groups_that_somebody_removed_are_made_again(instance: Layout) -> None:
    fence = Fence(instance.copy_cgroup)
    before = fence.environment()
    cgroups.delete(f"/{instance.copy_cgroup}")
    assert fence.environment() == before
    assert group_limits(instance.copy_cgroup)["pids.max"] == str(Caps().processes)
    fence.close()
    assert not cgroups.existing(f"/{instance.copy_cgroup}")


async def test_b5_a_build_has_so_much_processor_time(
    instance: Layout, busybox_archive: Path, endless: Path, tmp_path: Path
) -> None:
    """And is in groups of its own. What takes the time is in a thread of a stage."""
    made = NativeEngine(instance, caps=Caps(cpu_seconds=1))
    await made.open()
    try:
        await asyncio.to_thread(made.images.load, busybox_archive)
        (tmp_path / "context").mkdir()
        (tmp_path / "context/layer.tar.gz").write_bytes(endless.read_bytes())
        building = asyncio.create_task(
            build(made, tmp_path / "context", "FROM busybox\nADD layer.tar.gz /x/\n", tags=("bomb:1",))
        )
        await until(lambda: workers_in(instance.build_cgroup))
        with pytest.raises(Invalid, match="build image bomb:1: it took more than 1 s of processor time"):
            await building
    finally:
        await made.close()
        await asyncio.to_thread(remove_instance, instance, with_data=True)


def workers_in(group: str) -> bool:
    pids = cgroups.list_pids(f"/{group}")
    return bool(pids) and all(is_inside(pid, group) for pid in pids)
