"""A16, CVE-2026-53488: labels and annotations that steer the engine."""

from __future__ import annotations

import dataclasses
import json

import pytest

from runtime.bundle import HostPaths, oci_config
from runtime.images.config import parse_config
from runtime.model import ContainerConfig, SandboxConfig
from runtime.mounts import Overlay
from runtime.supervisor.prepare import ROOTFS, SECCOMP, USER, prepare

RESERVED = [
    ROOTFS, SECCOMP, USER, "setpoint.name", "setpoint.key", "setpoint.label/setpoint.key", "setpoint.log",
    "setpoint.index", "setpoint.attempt", "setpoint.recreate_hash",
]  # fmt: skip
IMAGE = parse_config(
    json.dumps(
        {
            "config": {"Labels": dict.fromkeys([*RESERVED, "own"], "/etc/shadow"), "Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode(),
    "sha256:" + "0" * 64,
)
CONFIG = ContainerConfig(id="a" * 64, name="box", image=IMAGE.id, sandbox=SandboxConfig("host"))
PATHS = HostPaths(Overlay(("/lower",), "/upper", "/work"), "/t/box")


def test_a16_an_image_has_no_label_of_ours() -> None:
    assert IMAGE.labels == {"own": "/etc/shadow"}


@pytest.mark.parametrize("name", RESERVED)
def test_a16_an_annotation_does_not_steer_the_runtime(name: str) -> None:
    """Without a filter of its own a container could name a file that is read as one."""
    unconfined = dataclasses.replace(
        CONFIG,
        annotations={name: "/etc/shadow", "own": "kept"},
        security=dataclasses.replace(CONFIG.security, seccomp="unconfined"),
    )
    made = oci_config(unconfined, IMAGE, PATHS)
    assert "/etc/shadow" not in made["annotations"].values()
    assert made["annotations"]["own"] == "kept"
    plan = prepare(made, "/bundle", None)
    assert plan.overlay == PATHS.overlay and plan.process.seccomp == b""
