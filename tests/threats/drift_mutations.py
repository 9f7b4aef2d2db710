"""Mutations of what finds drift, tells of it and puts it back: each kind switched off, and the test that must
then fail. Row "drift" of ops/mutate. Taken in by `mutations`.
"""

from __future__ import annotations

from tests.threats.mutation import Mutation

CONTAINERS, DRIFTS, LIMITS = (
    "runtime/drift/containers.py",
    "runtime/drift/drifts.py",
    "runtime/drift/limits.py",
)
REMOUNT, NETWORK = "runtime/drift/remount.py", "runtime/network/drift.py"
_CASE = "tests/kernel/engine/test_drift.py::test_drift_is_told_named_and_put_back"
_DAMAGE = "tests/kernel/network/test_drift.py::test_damage_is_found_and_put_back"


def _found(file: str, old: str, new: str, case: str) -> Mutation:
    return Mutation("drift", file, old, new, f"{_CASE}[{case}]")


def _network(old: str, new: str, damage: str) -> Mutation:
    return Mutation("drift", NETWORK, old, new, f"{_DAMAGE}[{damage}]")


FOUND = (
    _found(CONTAINERS, "        if is_frozen != entry.is_paused:\n", "        if False:\n", "frozen"),
    Mutation(
        "drift", CONTAINERS, "        if is_frozen != entry.is_paused:\n", "        if is_frozen and not entry.is_paused:\n",
        "tests/kernel/engine/test_drift.py::test_a_paused_container_is_to_be_frozen",
    ),
    _found(CONTAINERS, 'elif not entry.is_held and _state_of(pid) == "T":', "elif False:", "stopped"),
    Mutation(
        "drift", CONTAINERS, "elif not entry.is_held and _state_of", "elif _state_of",
        "tests/kernel/engine/test_drift.py::test_who_was_stopped_by_its_owner_stays_so",
    ),
    _found(CONTAINERS, "return (*limits.find(expected.limits), *devices, *moved)", "return (*devices, *moved)", "limit-changed"),
    _found(
        LIMITS, "    return (*limits, *(w for w in unlimited if w.file not in named and w.controller in has_cgroup))\n",
        "    return limits\n", "limit-added",
    ),
    _found(
        CONTAINERS, "devices = limits.find_devices(path, expected.rules) if expected.rules is not None else ()",
        "devices: tuple[str, ...] = ()", "device-allowed",
    ),
    _found(
        LIMITS, '        *(f"devices: {rule} is missing" for rule in sorted(rules - shown)),\n', "", "device-taken",
    ),
    _found(CONTAINERS, "        left = limits.has_left(path, pid, expected.joined)\n", "        left = ()\n", "moved"),
    _found(CONTAINERS, "        for target, fault in self._mounts(entry.config, pid):\n", "        for target, fault in ():\n", "unmounted"),
    _found(REMOUNT, 'return "was removed on the host" if state.links == 0 else ""', 'return ""', "volume-removed"),
    _found(CONTAINERS, "        for name in _FILES:\n", "        for name in ():\n", "resolv-removed"),
    _found(CONTAINERS, "        if lost := self._lost_records(entry.config):\n", "        if lost := ():\n", "state-removed"),
    _found(CONTAINERS, "        if empty := self._assembly.empty_files(entry.config):\n", "        if empty := ():\n", "resolv-emptied"),
    _network("not bridges.is_forwarding():", "False:", "forwarding off"),
    _network("    if told:\n        more", "    if False:\n        more", "ruleset flushed"),
    _network('yield Drift("bridge", network.name, f"bridge {network.bridge} is missing")', "pass", "bridge deleted"),
    _network("    elif not link.is_up:\n", "    elif False:\n", "bridge down"),
    _network("if (link.index, *each) not in addresses]:", "if False]:", "gateway address removed"),
    _network("elif told := bridges.changed_sysctls(network):", "elif told := ():", "setting of a bridge changed"),
    Mutation(
        "drift", NETWORK, "elif network.config.mtu is not None and link.mtu", "elif False and link.mtu",
        "tests/kernel/network/test_drift.py::test_a_bridges_mtu",
    ),
    _network("    if not instance.has_network_record(network.name):\n", "    if False:\n", "record of a network removed"),
    _network("    if not instance.has_record(record.id):\n", "    if False:\n", "record of a sandbox removed"),
    _network("    if instance.hosts.is_altered(record, blocks):\n", "    if False:\n", "hosts file altered"),
    _network("        if wrong:\n", "        if False:\n", "veth off its bridge"),
    _network("            yield Drift(kind, record.id, detail)\n", "            pass\n", "route removed inside"),
    Mutation(
        "drift", NETWORK, "    if not namespaces.is_at(instance.netns_path(record.id), record.inode):\n        yield",
        "    if False:\n        yield",
        "tests/kernel/network/test_drift.py::test_detached_namespace_is_bound_again_from_the_living_process",
    ),
)  # fmt: skip

TOLD = (
    _found(DRIFTS, "            self._tripwires.watch(id, file)\n", "            self._tripwires.watch(id, run)\n", "limit-changed"),
    _found(LIMITS, '        names += [("", "cgroup.freeze"), ("", "cgroup.events")]\n', '        names += [("", "cgroup.freeze")]\n', "moved"),
    _found(DRIFTS, "(id,) if name in _RECORDS else ()", "()", "state-removed"),
    _found(DRIFTS, '        self._shared.watch(id, f"{run}/resolv.conf")\n', "", "resolv-emptied"),
    _found(DRIFTS, "                self._watch_volume(mount.source)\n", "                pass\n", "volume-removed"),
    _found("runtime/drift/mount_watch.py", "            if changed:\n", "            if False:\n", "unmounted"),
    _found("runtime/drift/tripwires.py", "        if touched:\n", "        if False:\n", "frozen"),
    Mutation(
        "drift", "runtime/network/networks.py", "if drift.has_wrong_files(self._instance, record, blocks)}", "if False}",
        "tests/kernel/engine/test_drift.py::test_hosts_files_that_we_write_for_others_are_no_hint_and_one_that_somebody_writes_is",
    ),
    _found(
        "runtime/supervisor/server.py", '                    self.publish({"event": "stopped", "name": container.name})\n',
        "                    pass\n", "stopped",
    ),
)  # fmt: skip

PUT_BACK = (
    _found(CONTAINERS, 'await self._client.call("signal", name=config.id, signal=SIGCONT)', "pass", "stopped"),
    _found(CONTAINERS, "await asyncio.to_thread(_set_frozen, path, entry.is_paused)", "pass", "frozen"),
    _found(CONTAINERS, "            limits.take_in(path, pid)\n", "            pass\n", "moved"),
    _found(CONTAINERS, "        limits.put_back(path, expected.resources)\n", "", "limit-changed"),
    _found(LIMITS, "    cgroups.apply(path, rest)\n", "", "limit-added"),
    _found(CONTAINERS, "            limits.put_devices_back(path, expected.rules)\n", "            pass\n", "device-taken"),
    _found(CONTAINERS, "                self._remount(config, pid)\n", "", "unmounted"),
    _found(CONTAINERS, "                self._volumes.restore(mount.source)\n", "                pass\n", "volume-removed"),
    _found(CONTAINERS, "        self._assembly.restore_files(config)\n", "", "resolv-removed"),
    _found(REMOUNT, "    _unmount_removed(root, mount.target)\n", "", "volume-removed"),
    _found(CONTAINERS, "        if CONFIG in lost:\n", "        if False:\n", "config-removed"),
    _found(CONTAINERS, "        if container_record.NAME in lost:\n", "        if False:\n", "record-removed"),
    _found(CONTAINERS, "        if records.STATE in lost:\n", "        if False:\n", "state-removed"),
    Mutation(
        "drift", NETWORK, "            instance.forward(has_ipv6=instance.book.has_ipv6_network())\n", "            pass\n",
        "tests/kernel/network/test_drift.py::test_forwarding_by_itself",
    ),
    _network("            instance.table.sync()\n", "            pass\n", "rule added"),
    _network("            building.repair_bridge(instance, _network(instance, found.subject))\n", "            pass\n", "bridge down"),
    _network("            building.repair_sandbox(instance, _sandbox(instance, found.subject))\n", "            pass\n", "veth down"),
    Mutation(
        "drift", NETWORK, "            _repair_namespace(instance, _sandbox(instance, found.subject))\n", "            pass\n",
        "tests/kernel/network/test_drift.py::test_lost_namespace_without_a_process_is_made_anew",
    ),
    _network("            restore_hosts(instance, _sandbox(instance, found.subject).id)\n", "            pass\n", "hosts file removed"),
    _network("            _restore_record(instance, found.subject)\n", "            pass\n", "record of a sandbox removed"),
)  # fmt: skip

DRIFT = (*FOUND, *TOLD, *PUT_BACK)
