"""Labels of a container are rewritten in place: on the kernel and in the fake alike."""

from __future__ import annotations

import dataclasses

import pytest

from runtime.errors import NotFound
from runtime.model import NetworkConfig
from tests.contract.subject import Subject


async def test_a_container_is_given_other_labels_and_runs_on(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net"))
    config = subject.on_network("one", "net", labels={"setpoint.key": "a/container/b", "k": "v"})
    await subject.engine.create(config)
    await subject.engine.relabel(config.id, {"setpoint.key": "c/container/d"})
    assert subject.engine.state(config.id).labels == {"setpoint.key": "c/container/d"}  # type: ignore[union-attr]
    await subject.engine.start(config.id)
    before = await subject.phase(config.id, "running")
    labels = {"setpoint.key": "e/container/f", "more": "x"}
    await subject.engine.relabel(config.id, labels)
    await subject.engine.relabel(config.id, labels)
    assert subject.engine.state(config.id) == dataclasses.replace(before, labels=labels)
    (sandbox,) = subject.engine.list_sandboxes()
    assert dict(sandbox.labels) == labels
    assert sandbox.addresses == before.addresses
    with pytest.raises(NotFound):
        await subject.engine.relabel("0" * 64, {})
