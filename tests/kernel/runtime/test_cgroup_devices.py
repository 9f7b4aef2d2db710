"""Device rules on the real kernel, whichever way it holds them: the v1 controller or a program on v2."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import cgroups, syscalls
from runtime.cgroup_devices import device_program
from runtime.devices import DEFAULT_RULES, Rule, rules_to_oci
from tests.kernel.runtime.conftest import Box

MAKE_ANY = Rule(True, "c", None, None, "m")
NULL = Rule(True, "c", 1, 3)
ZERO_READ, ZERO_WRITE = Rule(True, "c", 1, 5, "r"), Rule(True, "c", 1, 5, "w")
READ, WRITE = "head -c 1 /dev/zero | wc -c", "echo x >/dev/zero && echo written"


def limit(box: Box, *rules: Rule) -> None:
    box.config["linux"]["resources"]["devices"] = rules_to_oci([Rule(False), MAKE_ANY, NULL, *rules])


def test_what_no_rule_allows_is_refused(box: Box) -> None:
    limit(box)
    found = box.run("sh", "-c", READ)
    assert "Operation not permitted" in found.output
    assert found.output.split()[-1] == "0"


def test_for_reading_is_not_for_writing(box: Box) -> None:
    limit(box, ZERO_READ)
    found = box.run("sh", "-c", f"{READ}; {WRITE}")
    assert found.output.split()[0] == "1"
    assert "Operation not permitted" in found.output and "written" not in found.output


def test_two_rules_for_one_device_add_up(box: Box) -> None:
    limit(box, ZERO_READ, ZERO_WRITE)
    assert box.run("sh", "-c", "echo x 1<>/dev/zero && echo both").output.split() == ["both"]


def test_a_node_of_the_hosts_disk_may_be_made_and_not_opened(box: Box) -> None:
    box.config["linux"]["resources"]["devices"] = rules_to_oci([Rule(False), *DEFAULT_RULES])
    mounted = os.stat("/").st_dev
    numbers = f"{os.major(mounted)} {os.minor(mounted)}"
    found = box.run("sh", "-c", f"mknod /tmp/disk b {numbers} && echo made; head -c 1 /tmp/disk | wc -c")
    assert found.output.split()[0] == "made"
    assert "Operation not permitted" in found.output
    assert found.output.split()[-1] == "0"


def test_a_further_process_is_held_to_them_too(box: Box) -> None:
    limit(box)
    launched = box.start("sleep", "1000")
    assert "Operation not permitted" in box.exec(launched, "sh", "-c", READ).output


def test_what_a_broken_off_start_left_does_not_bind_the_next(box: Box) -> None:
    limit(box)
    cgroups.create(box.cgroup, box.config["linux"]["resources"])
    limit(box, ZERO_READ)
    assert box.run("sh", "-c", READ).output.split() == ["1"]


def test_all_allowed_is_all_allowed(box: Box) -> None:
    box.config["linux"]["resources"]["devices"] = rules_to_oci([Rule(True)])
    assert box.run("sh", "-c", READ).output.split() == ["1"]


numbers = st.none() | st.integers(0, (1 << 20) - 1)
accesses = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
rules = st.builds(Rule, st.booleans(), st.sampled_from("abc"), numbers, numbers, accesses)


@settings(max_examples=50, deadline=None)
@given(st.lists(rules, max_size=30))
def test_the_verifier_takes_any_rules(rules: list[Rule]) -> None:
    code = device_program(rules)
    if not code:
        return
    try:
        os.close(syscalls.bpf_load_device_program(code, "setpoint_test"))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip(f"this kernel or place takes no BPF programs: {error}")
        raise
