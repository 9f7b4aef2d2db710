"""Leaked: a thing of ours in the kernel, on disk or in the database that belongs to nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.checker.disk import below
from agent.checker.finding import Finding
from agent.checker.rows import desired_of
from agent.checker.seen import Seen
from agent.manifest.spec import ContainerSpec
from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY
from runtime.build_steps import LABEL as BUILD
from runtime.network import firewall
from store.records import Key

_START = "a start of the agent removes it"


def find_leaked(seen: Seen) -> Iterator[Finding]:
    yield from _mounts(seen)
    yield from _links(seen)
    yield from _groups(seen)
    yield from _elements(seen)
    yield from _sandboxes(seen)
    yield from _files(seen)
    yield from _workers(seen)
    yield from _containers(seen)
    yield from _networks(seen)
    yield from _rows(seen)


def _mounts(seen: Seen) -> Iterator[Finding]:
    layout = seen.layout
    explained = {str(layout.run), *(str(layout.netns / id) for id in seen.disk.sandboxes)}
    if seen.disk.bundles or seen.disk.is_there:
        explained |= {str(layout.volumes / name / "_data") for name in seen.disk.volumes}
    counted: dict[str, int] = {}
    for point in seen.kernel.mounts:
        counted[point] = counted.get(point, 0) + 1
    for point, count in counted.items():
        if point not in explained:
            yield Finding("leaked", f"mount {point}", "nothing of ours needs it", f"umount {point}")
        elif count > 1 and below([layout.run], point):
            yield Finding("leaked", f"mount {point}", f"it is mounted {count} times", f"umount {point}")


def _links(seen: Seen) -> Iterator[Finding]:
    explained = {network.bridge for network in seen.disk.networks.values()}
    for sandbox in seen.disk.sandboxes.values():
        explained |= {endpoint.link for endpoint in sandbox.endpoints}
    for name, link in seen.kernel.links.items():
        if name not in explained:
            text = f"no network or sandbox has it ({link.alias or 'on a bridge of ours'})"
            yield Finding("leaked", f"link {name}", text, f"ip link delete {name}")


def _groups(seen: Seen) -> Iterator[Finding]:
    for group in seen.kernel.groups:
        if not group.name:
            if not seen.disk.is_there:
                yield Finding(
                    "leaked", f"cgroup {group.path}", "its instance is no more", f"rmdir {group.path}"
                )
            if group.is_of_agent and not seen.has_agent:
                for pid in group.pids:
                    yield Finding(
                        "leaked", f"process {pid}", f"it works in {group.path} for no agent", _START
                    )
            continue
        bundle = seen.disk.bundles.get(group.name)
        if bundle is None:
            yield Finding("leaked", f"cgroup {group.path}", "no container has it", _START)
        if group.pids and (bundle is None or not bundle.is_live):
            for pid in group.pids:
                yield Finding(
                    "leaked", f"process {pid}", f"it lives in {group.path}, whose container does not"
                )


def _elements(seen: Seen) -> Iterator[Finding]:
    table = seen.layout.nft_table
    if seen.kernel.listing is None:
        return
    if not seen.disk.is_there:
        for family in firewall.families_of(seen.kernel.listing):
            hint = f"nft delete table {family} {table}"
            yield Finding("leaked", f"nft table {family} {table}", "its instance is no more", hint)
        return
    for element in firewall.listed_elements(seen.kernel.listing) - seen.wires.elements:
        yield Finding(
            "leaked",
            f"nft element {element}",
            f"it is in table {table}, and no network or port has it",
            _START,
        )


def _sandboxes(seen: Seen) -> Iterator[Finding]:
    """The record is the lease of its addresses and ports."""
    used = {bundle.config.sandbox.id for bundle in seen.disk.bundles.values()}
    for id, record in seen.disk.sandboxes.items():
        if id not in used:
            held = [address for each in record.endpoints for address in (each.ipv4, each.ipv6) if address]
            addresses = ", ".join(map(_address, held))
            text = f"no container is in it{f', and it holds {addresses}' if addresses else ''}"
            yield Finding("leaked", f"sandbox {id}", text, "a running agent removes it: setpoint sync")


def _address(value: int) -> str:
    from runtime.network.addresses import text_of

    return text_of(value)


def _files(seen: Seen) -> Iterator[Finding]:
    for path, why in {**seen.disk.strays, **seen.images.strays}.items():
        hint = "setpoint system prune" if below([seen.layout.images], path) else _START
        yield Finding("leaked", f"{'directory' if Path(path).is_dir() else 'file'} {path}", why, hint)
    for device, file in seen.kernel.loops.items():
        yield Finding("leaked", f"loop device {device}", f"it is on {file}", f"losetup -d {device}")


def _workers(seen: Seen) -> Iterator[Finding]:
    for process in seen.kernel.workers:
        if process.parent == 1:
            yield Finding("leaked", f"process {process.pid}", f"an image worker without an agent: {process}")
    if not seen.disk.is_there:
        for process in seen.kernel.supervisors:
            yield Finding("leaked", f"process {process.pid}", "a supervisor whose instance is no more")


# --- what no object wants ---------------------------------------------------------------------------


def _containers(seen: Seen) -> Iterator[Finding]:
    for bundle in seen.disk.bundles.values():
        build = bundle.config.labels.get(BUILD)
        if build is not None and build not in seen.images.builds:
            text = f"its build {build[:12]} is no more"
            yield Finding("leaked", f"container {bundle.name}", text, _START)
    if not seen.rows.is_there:
        return
    for bundle in seen.disk.bundles.values():
        labels = bundle.config.labels
        key = _key(labels.get(LABEL_KEY, ""))
        if key is None:
            continue
        subject, record = f"container {bundle.name}", seen.rows.objects.get(key)
        if record is None:
            yield Finding("leaked", subject, f"there is no object {key} that wants it", "setpoint sync")
            continue
        desired = desired_of(record)
        spec = desired.spec if desired else None
        index = labels.get(LABEL_INDEX, "")
        is_well = getattr(seen.rows.statuses.get(key), "phase", "") in ("Running", "Stopped", "Completed")
        if isinstance(spec, ContainerSpec) and index.isdecimal() and int(index) > spec.scale and is_well:
            yield Finding("leaked", subject, f"it is replica {index} of {spec.scale}", "setpoint sync")


def _networks(seen: Seen) -> Iterator[Finding]:
    if not seen.rows.is_there:
        return
    for name, record in seen.disk.networks.items():
        key = _key(record.config.labels.get(LABEL_KEY, ""))
        if key is not None and key not in seen.rows.objects:
            yield Finding(
                "leaked", f"network {name}", f"there is no object {key} that wants it", "setpoint sync"
            )


def _rows(seen: Seen) -> Iterator[Finding]:
    for key in seen.rows.statuses.keys() - seen.rows.objects.keys():
        yield Finding("leaked", f"row statuses {key}", "there is no such object", _START)


def _key(text: str) -> Key | None:
    try:
        return Key.parse(text)
    except ValueError:
        return None
