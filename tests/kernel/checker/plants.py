"""What is planted in an instance to be found: one context manager a thing, which takes it away at its end,
and the kind and the subject that the checker must give it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.checker import kernel
from agent.checker.disk import Bundle, read_disk
from runtime import syscalls
from runtime.fence import Fence
from runtime.layout import Layout
from runtime.network import firewall
from runtime.supervisor import records
from runtime.worker_caps import ways_in_of

ID = "f" * 64


@dataclass(frozen=True, slots=True)
class Plant:
    """subject: a piece of the finding's subject, with the instance's names filled in by `names`."""

    name: str
    put: Callable[[Layout], AbstractContextManager[None]]
    kind: str
    subject: str


def bundle(layout: Layout, name: str) -> Bundle:
    return next(each for each in read_disk(layout).bundles.values() if each.name == f"shop-{name}-1")


def bundle_path(layout: Layout) -> Path:
    return layout.containers / bundle(layout, "b").id


def config_path(layout: Layout) -> Path:
    return layout.run_containers / bundle(layout, "b").id / "config.json"


def names(layout: Layout) -> dict[str, str]:
    """What subjects may name in braces."""
    disk = read_disk(layout)
    return {
        "instance": layout.instance,
        "run": str(layout.run),
        "data": str(layout.data),
        "bundle": str(bundle_path(layout)),
        "run_of_b": str(config_path(layout).parent),
        "bridge": disk.networks["shop_other"].bridge,
        "id": ID,
        "veth": layout.link_name("ve", "planted"),
    }


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# --- in the kernel: links, mounts, namespaces, loop devices -------------------------------------------


@contextmanager
def veth(layout: Layout) -> Iterator[None]:
    name = names(layout)["veth"]
    run("ip", "link", "add", name, "type", "veth", "peer", "name", layout.link_name("vf", "planted"))
    run("ip", "link", "set", name, "alias", f"{layout.instance}/shop_other/x")
    yield
    run("ip", "link", "delete", name)


@contextmanager
def port_of_bridge(layout: Layout) -> Iterator[None]:
    """Without an alias."""
    name = names(layout)["veth"]
    run("ip", "link", "add", name, "type", "veth", "peer", "name", layout.link_name("vf", "planted"))
    run("ip", "link", "set", name, "master", names(layout)["bridge"])
    yield
    run("ip", "link", "delete", name)


@contextmanager
def namespace(layout: Layout) -> Iterator[None]:
    path = layout.netns / "planted"
    path.touch()
    syscalls.mount("/proc/self/ns/net", str(path), None, syscalls.MS_BIND)
    yield
    syscalls.umount2(str(path), syscalls.MNT_DETACH)
    path.unlink()


@contextmanager
def second_mount(layout: Layout) -> Iterator[None]:
    path = next(layout.netns.iterdir())
    syscalls.mount(str(path), str(path), None, syscalls.MS_BIND)
    yield
    syscalls.umount2(str(path), syscalls.MNT_DETACH)


@contextmanager
def mount(layout: Layout) -> Iterator[None]:
    path = layout.volumes / "shop_data"
    syscalls.mount("tmpfs", str(path), "tmpfs")
    yield
    syscalls.umount2(str(path), syscalls.MNT_DETACH)


@contextmanager
def loop_device(layout: Layout) -> Iterator[None]:
    path = layout.data / "planted.img"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    device = run("losetup", "--find", "--show", path)
    yield
    run("losetup", "-d", device)
    path.unlink()


@contextmanager
def table_element(layout: Layout) -> Iterator[None]:
    element = "published4 { tcp . 1234 : 10.9.9.9 . 80 }"
    run("nft", "add", "element", "inet", layout.nft_table, element)
    yield
    run("nft", "delete", "element", "inet", layout.nft_table, "published4 { tcp . 1234 }")


# --- control groups and processes ------------------------------------------------------------------------


def roots() -> list[str]:
    return list(kernel._hierarchies(Path("/proc/self/mountinfo").read_bytes()))


@contextmanager
def groups(layout: Layout) -> Iterator[None]:
    """In the last hierarchy that the containers have none in, and in the first."""
    made = [Path(root, layout.cgroup_parent, ID) for root in (roots()[0], roots()[-1])]
    for path in made:
        path.mkdir(parents=True)
    yield
    for path in made:
        path.rmdir()
        if not any(each.is_dir() for each in path.parent.iterdir()):
            path.parent.rmdir()


@contextmanager
def process_in_group(layout: Layout) -> Iterator[None]:
    path = Path(roots()[0], layout.cgroup_parent, ID)
    path.mkdir(parents=True)
    with sleeping() as pid:
        (path / "cgroup.procs").write_text(str(pid))
        yield
    _remove_group(path)


def _remove_group(path: Path) -> None:
    deadline = time.monotonic() + 5
    while True:  # a process that has just died is in it for a moment
        try:
            path.rmdir()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
    if not any(each.is_dir() for each in path.parent.iterdir()):
        path.parent.rmdir()


@contextmanager
def sleeping(*arguments: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", *arguments]) as child:
        try:
            yield child.pid
        finally:
            child.kill()


@contextmanager
def orphan_worker(layout: Layout) -> Iterator[None]:
    """A load whose agent is no more: its parent is init."""
    sleeper = f'{sys.executable} -c "import time; time.sleep(1000)" runtime.images.worker "$0"'
    words = ("sh", "-c", f"{sleeper} >&- 2>&- & echo $!")
    pid = int(run(*words, layout.instance))
    yield
    os.kill(pid, signal.SIGKILL)


@contextmanager
def work_for_nobody(layout: Layout) -> Iterator[None]:
    """What an agent that is no more had begun, in the control groups of its workers."""
    fence = Fence(layout.copy_cgroup)
    ways_in = ways_in_of(fence.environment())
    with sleeping() as pid:
        for file in ways_in:
            Path(file).write_text(str(pid))
        yield
    fence.close()


@contextmanager
def second_supervisor(layout: Layout) -> Iterator[None]:
    with sleeping("--socket", str(layout.supervisor_socket), "--run", "x"):
        yield


@contextmanager
def second_init(layout: Layout) -> Iterator[None]:
    """A first process of another pid namespace in a container's control group."""
    group = next(each.path for each in _groups(layout) if each.name == bundle(layout, "a").id and each.pids)
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "1000"]) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.001)
        Path(group, "cgroup.procs").write_text(found[0])
        yield
        os.kill(int(found[0]), signal.SIGKILL)


def _groups(layout: Layout) -> list[kernel.Group]:
    return list(kernel.read_groups(layout, Path("/proc/self/mountinfo").read_bytes()))


def groups_of(layout: Layout, name: str) -> list[kernel.Group]:
    """A container's, in every hierarchy that it has one in."""
    return [each for each in _groups(layout) if each.name == bundle(layout, name).id]


@contextmanager
def process_elsewhere(layout: Layout) -> Iterator[None]:
    """A container's first process in no control group of its own, in one hierarchy."""
    life = bundle(layout, "b").life
    group = next(each for each in groups_of(layout, "b") if life is not None and life.pid in each.pids)
    assert life is not None
    Path(group.path).parents[1].joinpath("cgroup.procs").write_text(str(life.pid))
    yield
    Path(group.path, "cgroup.procs").write_text(str(life.pid))


@contextmanager
def second_replica(layout: Layout) -> Iterator[None]:
    """A bundle of the same replica under another id, with a process that lives."""
    original = layout.containers / bundle(layout, "b").id
    data = json.loads((original / "container.json").read_text())
    data["config"]["id"] = ID
    made, run_directory = layout.containers / ID, layout.run_containers / ID
    made.mkdir()
    run_directory.mkdir()
    (made / "container.json").write_text(json.dumps(data))
    with sleeping() as pid:
        state = {"name": ID, "pid": pid, "start_time": records.start_time(pid), "boot_id": records.boot_id()}
        (run_directory / "state.json").write_text(json.dumps(state))
        yield
    shutil.rmtree(made)
    shutil.rmtree(run_directory)


# --- on disk ---------------------------------------------------------------------------------------------


def stray(path: str) -> Callable[[Layout], AbstractContextManager[None]]:
    """A file, or with a slash at its end a directory, that nothing explains."""

    @contextmanager
    def put(layout: Layout) -> Iterator[None]:
        place = Path(path.format(**names(layout)))
        missing = [each for each in (place, *place.parents) if not each.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir()
        else:
            place.write_text("{}")
        yield
        if missing[-1].is_dir():
            shutil.rmtree(missing[-1])
        else:
            missing[-1].unlink()

    return put


def gone(path: Callable[[Layout], Path]) -> Callable[[Layout], AbstractContextManager[None]]:
    """Something that was there is not."""

    @contextmanager
    def put(layout: Layout) -> Iterator[None]:
        place, aside = path(layout), layout.data_root / f"{layout.instance}-aside"
        shutil.move(place, aside)
        yield
        shutil.move(aside, place)

    return put


@contextmanager
def lease(layout: Layout) -> Iterator[None]:
    """A sandbox's record, and so an address, without a container."""
    path = next((layout.run / "sandboxes").iterdir())
    data = json.loads(path.read_text()) | {"id": "planted", "ports": []}
    data["endpoints"] = [each | {"link": "vegone", "ipv4": each["ipv4"] + 99} for each in data["endpoints"]]
    made = path.with_name("planted.json")
    made.write_text(json.dumps(data))
    yield
    made.unlink()


@contextmanager
def dead_process(layout: Layout) -> Iterator[None]:
    """A record of a process that is no more."""
    path = layout.run_containers / bundle(layout, "b").id / "state.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"start_time": 1}))
    yield
    path.write_text(text)


@contextmanager
def half_created(layout: Layout) -> Iterator[None]:
    with dead_process(layout), row("statuses", "b", phase="Creating")(layout):
        yield


# --- in the database --------------------------------------------------------------------------------------


def row(table: str, name: str, **changes: Any) -> Callable[[Layout], AbstractContextManager[None]]:
    """A row changed; without changes, taken out."""

    @contextmanager
    def put(layout: Layout) -> Iterator[None]:
        with closing(sqlite3.connect(layout.database, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            kept = dict(
                connection.execute(
                    f"SELECT * FROM {table} WHERE name = ? AND kind = 'container'", [name]
                ).fetchone()
            )
            connection.execute(f"DELETE FROM {table} WHERE name = ? AND kind = 'container'", [name])
            if changes:
                _insert(
                    connection,
                    table,
                    kept | {key: _value(value, kept[key]) for key, value in changes.items()},
                )
            yield
            connection.execute(f"DELETE FROM {table} WHERE name = ? AND kind = 'container'", [name])
            _insert(connection, table, kept)

    return put


def _value(change: Any, old: Any) -> Any:
    """A mapping goes into the JSON that is there."""
    return json.dumps(json.loads(old) | change) if isinstance(change, dict) else change


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    marks = ", ".join("?" for _ in values)
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


# --- otherwise than it was made ---------------------------------------------------------------------------


@contextmanager
def limit(layout: Layout) -> Iterator[None]:
    files = ("memory.limit_in_bytes", "memory.max")
    paths = [
        Path(group.path, name)
        for group in _groups(layout)
        for name in files
        if group.name == bundle(layout, "a").id
    ]
    path = next(path for path in paths if path.exists())
    text = path.read_text()
    path.write_text(str(24 << 20))
    yield
    path.write_text(text)


@contextmanager
def element_gone(layout: Layout, sets: str = "published") -> Iterator[None]:
    found = next(each for each in _elements(layout) if each.set.startswith(sets))
    run_script(firewall.change(layout.nft_table, [found], []))
    yield
    run_script(firewall.change(layout.nft_table, [], [found]))


def guard_element_gone(layout: Layout) -> AbstractContextManager[None]:
    return element_gone(layout, "guarded")


@contextmanager
def rule(layout: Layout) -> Iterator[None]:
    words = ("rule", "inet", layout.nft_table, "forward")
    run("nft", "insert", *words, "counter", "comment", '"planted"')
    yield
    listed = run("nft", "-a", "list", "chain", "inet", layout.nft_table, "forward")
    line = next(line for line in listed.splitlines() if "planted" in line)
    run("nft", "delete", *words, "handle", line.split()[-1])


@contextmanager
def table_gone(layout: Layout, family: str = "inet") -> Iterator[None]:
    kept = _elements(layout)
    run("nft", "delete", "table", family, layout.nft_table)
    yield
    run_script(firewall.replace_tables(layout.nft_table, kept))


def guard_gone(layout: Layout) -> AbstractContextManager[None]:
    return table_gone(layout, "bridge")


def _elements(layout: Layout) -> set[firewall.Element]:
    return firewall.listed_elements(kernel.list_table(layout) or [])


def run_script(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


@contextmanager
def bridge_down(layout: Layout) -> Iterator[None]:
    bridge = names(layout)["bridge"]
    run("ip", "link", "set", bridge, "down")
    yield
    run("ip", "link", "set", bridge, "up")


@contextmanager
def hosts_file(layout: Layout) -> Iterator[None]:
    path = layout.run / "hosts" / bundle(layout, "b").config.sandbox.id
    text = path.read_text()
    path.write_text("nothing\n")
    yield
    path.write_text(text)


@contextmanager
def volume_unmounted(layout: Layout) -> Iterator[None]:
    life = bundle(layout, "a").life
    assert life is not None
    enter = ("nsenter", "-t", life.pid, "-m")
    run(*enter, "umount", "/data")
    yield
    source = layout.volumes / "shop_data" / "_data"
    # By descriptor: the source is in another mount namespace than the target.
    tree = syscalls.open_tree(-100, str(source), syscalls.OPEN_TREE_CLONE)
    pid = os.fork()
    if not pid:
        namespace = os.open(f"/proc/{life.pid}/ns/mnt", os.O_RDONLY)
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
        syscalls.move_mount(tree, "", -100, "/data", syscalls.MOVE_MOUNT_F_EMPTY_PATH)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(tree)
