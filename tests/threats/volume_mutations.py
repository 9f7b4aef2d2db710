"""Mutations of what guards volumes and networks with options: whose places and names they may be, and whose
content stays."""

from __future__ import annotations

from tests.threats.mutation import Mutation

OPTIONS, MOUNTS, MOUNTER = (
    "runtime/volume_options.py", "runtime/volume_mounts.py", "runtime/volume_mounter.py",
)  # fmt: skip
JUDGE, BODIES = "agent/policy/judge.py", "agent/api/sockets/bodies.py"
UNIT, KERNEL = "tests/unit/runtime/test_volume_options.py", "tests/kernel/engine/test_volume_mounts.py"
JUDGED, FENCED = "tests/unit/policy/test_judge.py", "tests/api/test_scoped_sockets.py"
H6 = "tests/threats/test_h06_policy.py"

VOLUMES = (
    Mutation(
        "H6",
        JUDGE,
        '    if source is not None and source.kind == "bind":\n',
        "    if False:\n",
        f"{JUDGED}::test_what_a_volume_has_mounted",
    ),
    Mutation(
        "H6",
        JUDGE,
        'source.kind == "device" and not _has_device(allow, source.device)',
        "False",
        f"{JUDGED}::test_what_a_volume_has_mounted",
    ),
    Mutation(
        "H6",
        OPTIONS,
        "        if below and source != below:\n",
        "        if False:\n",
        f"{H6}::test_h6_a_link_does_not_lead_a_volume_out",
    ),
    Mutation(
        "H6",
        "agent/reconcile/plan_things.py",
        "below=max(root, config.below, key=len)",
        "below=config.below",
        "tests/unit/reconcile/test_plan_volumes.py",
    ),
    Mutation(
        "H6",
        OPTIONS,
        "        if name in _OTHER_DEVICES:\n",
        "        if False:\n",
        UNIT,
    ),
    Mutation("H6", OPTIONS, "    if kind not in FILE_SYSTEMS:\n", "    if False:\n", UNIT),
    Mutation(
        "H6",
        OPTIONS,
        '            options.append("rro")',
        "            pass",
        f"{KERNEL}::test_read_only_with_what_is_mounted_below",
    ),
    Mutation(
        "H6",
        OPTIONS,
        'return ("nosuid", "nodev") if',
        "return () if",
        f"{KERNEL}::test_a_disk",
    ),
    Mutation(
        "H6",
        BODIES,
        '    for violation in judge(scope.policy, Key(API_PROJECT, "volume", "new"), spec):\n        raise Forbidden(violation.message(scope.policy))\n',
        "",
        f"{FENCED}::test_options_of_a_volume_are_held_as_mounts_are",
    ),
    Mutation(
        "H6",
        BODIES,
        '{**spec.model_dump(exclude_unset=True), "below": below}',
        "spec.model_dump(exclude_unset=True)",
        f"{FENCED}::test_a_volume_of_what_was_given_is_not_led_out_by_a_link",
    ),
    Mutation(
        "H6",
        BODIES,
        "        held = admit_volume(scope, volume)\n",
        "        held = volume\n",
        f"{FENCED}::test_options_of_a_volume_are_held_as_mounts_are",
    ),
    Mutation(
        "B1",
        "runtime/engine.py",
        "        await self.volume_mounts.free(name)\n",
        "",
        f"{KERNEL}::test_what_somebody_else_mounted_over_it_stays_too",
    ),
    Mutation(
        "R27",
        MOUNTS,
        "            async with asyncio.timeout(DEADLINE_SECONDS):\n",
        "            async with asyncio.timeout(None):\n",
        f"{KERNEL}::test_one_that_hangs_holds_nobody_up",
    ),
    Mutation(
        "B1",
        MOUNTER,
        "    if path in mount_table.points():  # of an earlier one, whose agent did not live to see it\n        return\n",
        "",
        f"{KERNEL}::test_a_mount_that_is_there_is_not_made_twice",
    ),
    Mutation(
        "H6",
        JUDGE,
        '    if spec.bridge and "network" not in allow.namespaces:\n',
        "    if False:\n",
        f"{JUDGED}::test_a_bridge_by_its_name_is_the_host_s_network",
    ),
    Mutation(
        "H6",
        BODIES,
        '    if BRIDGE_NAME in text_map_of(body, "Options"):\n',
        "    if False:\n",
        f"{FENCED}::test_links_of_the_host_are_not_named",
    ),
    Mutation(
        "H6",
        "runtime/network/bridges.py",
        '    if found.kind != "bridge" or not (',
        "    if False and not (",
        "tests/kernel/network/test_bridge_names.py",
    ),
)
