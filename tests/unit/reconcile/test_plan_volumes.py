"""What a volume's options become in a plan: where a bind's device must lie, whatever links say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.manifest.spec import VolumeSpec
from agent.policy.policy import OPEN, Policy
from agent.policy.read import read_policy
from agent.reconcile.actions import CreateVolume
from agent.reconcile.plan_things import plan_volume
from agent.reconcile.world import World
from store.records import ObjectRecord
from tests.unit.reconcile.test_plan import desired_of, key

GIVEN = read_policy(b"apiVersion: setpoint/v1\nkind: Policy\nallow: {binds: [/srv]}\n", "policy")
BIND = {"type": "none", "o": "bind", "device": "/srv/ci/data"}


@pytest.mark.parametrize(
    ("policy", "options", "below", "expected"),
    [
        (OPEN, BIND, "", ""),
        (GIVEN, BIND, "", "/srv"),
        (GIVEN, BIND, "/srv/ci", "/srv/ci"),
        (OPEN, BIND, "/srv/ci", "/srv/ci"),
        (GIVEN, {"type": "tmpfs", "device": "tmpfs"}, "", ""),
        (GIVEN, {}, "", ""),
    ],
)
def test_the_inner_of_the_directories_that_were_given_holds_it(
    policy: Policy, options: dict[str, str], below: str, expected: str
) -> None:
    spec = VolumeSpec(driver_opts=options, below=below)
    record = ObjectRecord(key("data", "volume"), "git", {}, "h", 1, 0, "f", 1, "r")
    desired = desired_of(record, spec)
    world = replace(World(desired={desired.key: desired}), policy=policy)
    [create] = plan_volume(desired, spec, world, 1.0).actions
    assert isinstance(create, CreateVolume)
    assert (create.config.below, create.config.options) == (expected, options)
