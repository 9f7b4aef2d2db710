"""Mutations of what keeps BuildKit's clients and the logins of one build in their place: rows F6, F7 and F9. Taken
in by `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

K, U = "agent/api/docker/buildkit", "tests/unit/docker_api"
WIRE, PACKETS, HTTP2, FILES = f"{K}/wire.py", f"{K}/packets.py", f"{K}/http2.py", f"{K}/file_sync.py"
T_WIRE, T_HTTP2 = f"{U}/test_build_wire.py", f"{U}/test_build_http2.py"

DOCKER_BUILDS = (
    Mutation(
        "F6",
        WIRE,
        "    for _ in range(MAX_FIELDS):\n",
        "    while True:\n",
        f"{T_WIRE}::test_many_fields_are_too_many",
    ),
    Mutation(
        "F6",
        WIRE,
        "    for shift in range(0, 70, 7):\n",
        "    for shift in range(0, 700, 7):\n",
        f"{T_WIRE}::test_what_is_no_message",
    ),
    Mutation(
        "F6",
        f"{K}/grpc.py",
        "            if length > MAX_MESSAGE_BYTES:\n",
        "            if False:\n",
        f"{T_HTTP2}::test_a_message_too_long_is_refused_by_its_head",
    ),
    Mutation(
        "F6",
        HTTP2,
        "        if self._resets > MAX_RESETS:\n",
        "        if False:\n",
        f"{T_HTTP2}::test_resets_without_end_are_answered_with_an_end",
    ),
    Mutation(
        "F6",
        HTTP2,
        "        if self.task is not None:\n            self.task.cancel()\n",
        "",
        f"{T_HTTP2}::test_a_call_that_is_given_up_ends_on_the_other_side",
    ),
    Mutation(
        "F6",
        FILES,
        "        if self._total > self._wish.most_bytes:\n",
        "        if False:\n",
        f"{T_HTTP2}::test_hostile_senders",
    ),
    Mutation(
        "F6",
        FILES,
        "            if len(packet.data) > end - here:\n",
        "            if False:\n",
        f"{T_HTTP2}::test_a_file_that_never_ends",
    ),
    Mutation(
        "F6",
        FILES,
        "                if here != end:\n",
        "                if False:\n",
        f"{T_HTTP2}::test_hostile_senders",
    ),
    Mutation(
        "F6",
        FILES,
        "        if packet.kind not in wanted:\n",
        "        if False:\n",
        f"{T_HTTP2}::test_hostile_senders",
    ),
    Mutation(
        "F9",
        PACKETS,
        '        if part in ("", ".", "..") or',
        '        if part in ("", ".") or',
        f"{T_WIRE}::test_paths_that_lead_elsewhere",
    ),
    Mutation(
        "F9",
        PACKETS,
        '    if kind == "hardlink":\n        link = clean_path(link)\n',
        "",
        f"{T_WIRE}::test_paths_that_lead_elsewhere",
    ),
    Mutation(
        "F9",
        WIRE,
        '        if "\\0" in found:\n            raise Invalid("read message", "", "a name with a null byte")\n',
        "",
        f"{T_WIRE}::test_paths_that_lead_elsewhere",
    ),
    Mutation(
        "F7",
        "runtime/builds.py",
        "_lines_of([*self._order.secrets.values(), *self._asked.values()])",
        "_lines_of(self._order.secrets.values())",
        "tests/api/test_build.py::test_a_secret_is_seen_by_its_step_alone",
    ),
    Mutation(
        "F7",
        "runtime/images/registry/credentials.py",
        '    password: str = field(default="", repr=False)\n',
        '    password: str = field(default="")\n',
        f"{U}/test_build_query.py::test_logins_by_the_domain_that_references_have",
    ),
)
