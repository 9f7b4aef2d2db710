"""Mutations of what holds the quotas of scoped sockets."""

from __future__ import annotations

from tests.threats.mutation import Mutation

PURE, COUNT = "agent/policy/quota.py", "agent/api/sockets/quota.py"
D = "agent/api/docker"
U, Q = "tests/unit/policy/test_quota.py", "tests/api/test_socket_quotas.py"
SENT = "tests/api/test_profiles.py"
HUNDRED = f"{Q}::test_of_a_hundred_who_ask_at_once_no_more_get_it_than_may"

QUOTAS = (
    Mutation("F4", PURE, "or there + wanted <= most:\n", "or there <= most:\n", U),
    Mutation("F4", PURE, "        if most is not None and wanted > most:\n", "        if False:\n", U),
    Mutation("F4", PURE, "memory=spec.mem_limit or NO_LIMIT,", "memory=spec.mem_limit or 0,", U),
    Mutation("F4", PURE, "pids=pids if pids > 0 else NO_LIMIT,", "pids=pids,", U),
    Mutation("F4", PURE, "not 0 <= with_swap <= 2 * (memory or 0)", "with_swap > 2 * (memory or 0)", U),
    Mutation("F4", f"{D}/containers.py", "    claim_container(context, scope_of(request), spec, image, len(volumes))\n", "", Q),
    Mutation("F4", f"{D}/containers.py",
             "    claim_change(context, scope_of(request), key, wanted)\n", "",
             f"{Q}::test_nor_by_an_update"),
    Mutation("F4", f"{D}/containers.py", "or (scope_of(request) is not None and SOCKET_LABEL in state.labels)", "",
             f"{Q}::test_volumes_without_a_name_go_with_their_container"),
    Mutation("F4", f"{D}/networks.py", "        claim(context, scope_of(request), Use(networks=1))\n", "", HUNDRED),
    Mutation("F4", f"{D}/volumes.py", "        claim(context, scope, Use(volumes=1), but=key)\n", "", HUNDRED),
    Mutation("F4", f"{D}/execs.py", "    claim(context, scope, Use(execs=1))\n", "",
             f"{Q}::test_execs_that_have_not_ended_are_counted"),
    Mutation("F4", f"{D}/build.py", "    limits = build_with_limits(scope, query.limits)\n", "    limits = query.limits\n",
             f"{Q}::test_a_build_has_no_more_than_each_may"),
    Mutation("F4", COUNT, "    claim(context, scope, use)\n", "",
             f"{Q}::test_a_build_is_a_container_as_long_as_it_runs"),
    Mutation("F4", COUNT, "    for each in context.building.get(name, ()):\n        used += each\n", "",
             f"{Q}::test_a_build_is_a_container_as_long_as_it_runs"),
    Mutation("F4", COUNT, "use_of(spec, volumes + len(nameless))", "use_of(spec, volumes)",
             f"{Q}::test_volumes_without_a_name_go_with_their_container"),
    Mutation("F4", COUNT, ", len(anonymous_volumes(context, key, record)))", ")",
             f"{Q}::test_volumes_without_a_name_go_with_their_container"),
    Mutation("F4", "agent/api/sockets/bodies.py", "_held(policy, with_limits(scope, spec))", "_held(policy, spec)",
             f"{Q}::test_what_says_nothing_gets_what_each_may_have"),
    Mutation("F4", f"{D}/profiles.py", "    if new:\n        collect(context)\n", "",
             f"{SENT}::test_a_profile_goes_when_no_container_has_it"),
    Mutation("F4", f"{D}/profiles.py", " and _is_free(entry)", ' and entry.name.endswith(".json")',
             f"{SENT}::test_what_a_manifest_names_is_held_whether_it_is_there_or_not"),
    Mutation("F4", "agent/daemon.py", "    profiles.collect(context)", "    pass",
             f"{SENT}::test_what_an_agent_was_killed_over_goes_at_the_next_start"),
    Mutation("F4", "runtime/assembly.py", "        self._bound_filters(path)\n", "",
             f"{SENT}::test_what_is_compiled_is_bounded_and_what_runs_keeps_its_own"),
    Mutation("F4", "runtime/supervisor/prepare.py", "    if len(_programs) >= MOST_PROGRAMS:", "    if False:",
             "tests/unit/runtime/test_seccomp_cache.py"),
)  # fmt: skip
