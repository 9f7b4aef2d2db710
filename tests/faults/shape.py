"""What an instance is made of in the kernel and on disk, in words that are the same for every run of the same
manifests: no numbers of processes, no times, no contents of logs. Two runs that end alike have equal shapes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.layout import Layout
from tests import leaks

# Whole trees that are somebody else's to judge, and files that come and go.
_UNSEEN = ("images", "seccomp")
_PASSING = re.compile(r"(setpoint\.db-(wal|shm)|agent\.log.*|setpoint\.ballast|.*\.spool|log\.\d+)")


def shape(layout: Layout) -> Counter[str]:
    """Lines, each as often as it is so."""
    found: Counter[str] = Counter()
    for name, root in (("data", layout.data), ("run", layout.run)):
        found.update(f"{name} {path}" for path in _paths(root, root))
    found.update(f"mount {point}" for point in leaks.mounts(layout))
    found.update(f"link {alias}" for alias in _aliases(layout))
    found.update(f"cgroup {each}" for each in _cgroups(layout))
    found.update(f"nft {each}" for each in _firewall(layout))
    return found


def differences(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """One line a thing that is there too often or not often enough."""
    lines = []
    for each in sorted({*before, *after}):
        had, has = before.get(each, 0), after.get(each, 0)
        if had != has:
            lines.append(
                f"{'leaked' if has > had else 'lost'} {each}" + (f" ({had} -> {has})" if had else "")
            )
    return lines


def _paths(directory: Path, root: Path) -> Iterator[str]:
    """Below data and run; what a container or a volume holds is its own."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            path = Path(entry.path).relative_to(root)
            if path.parts[0] in _UNSEEN or _PASSING.fullmatch(entry.name):
                continue
            yield str(path)
            if entry.is_dir(follow_symlinks=False) and entry.name not in ("upper", "work", "_data", "log"):
                yield from _paths(Path(entry.path), root)


def _aliases(layout: Layout) -> Iterator[str]:
    for name in leaks.link_names(layout):
        with contextlib.suppress(OSError):
            kind = "bridge" if Path(f"/sys/class/net/{name}/bridge").exists() else "veth"
            yield f"{kind} {Path(f'/sys/class/net/{name}/ifalias').read_text().strip()}"


def _cgroups(layout: Layout) -> Iterator[str]:
    """Containers' own; how a container divides its own is its affair."""
    for path in leaks.cgroups(layout):
        if path.parent.name == layout.cgroup_parent:
            pids = (path / "cgroup.procs").read_text().split()
            yield f"{path} {'with' if pids else 'without'} processes"
        elif path.name == layout.cgroup_parent:
            yield str(path)


def _firewall(layout: Layout) -> Iterator[str]:
    """Rules, and the elements of sets and maps, without the addresses that a run happened to give."""
    done = subprocess.run(
        ["nft", "-j", "-s", "list", "table", "inet", layout.nft_table], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    for each in json.loads(done.stdout)["nftables"] if done.returncode == 0 else ():
        for kind, value in each.items():
            if kind == "rule":
                yield f"rule in {value['chain']}"
            elif kind in ("set", "map"):
                yield from [f"{kind} {value['name']}"] * (1 + len(value.get("elem", ())))
            elif kind != "metainfo":
                yield f"{kind} {value['name']}"
