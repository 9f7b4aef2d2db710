"""Which container may start from which checkpoint."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from runtime.checkpoints import facts
from runtime.checkpoints.outside import parse_mountinfo
from runtime.errors import Conflict, Unsupported
from runtime.model import ContainerConfig, MountConfig, Resources, SandboxConfig, Security

CONFIG = ContainerConfig("a" * 64, "web", "sha256:one", SandboxConfig("own", "box"), command=("sleep", "1"))
FOUND = facts.Facts(CONFIG.id, CONFIG.image, facts.fingerprint(CONFIG), 2.0, (("/d", "bind:/d"),), {"a": "b"})


def test_facts_are_read_as_they_were_written() -> None:
    assert facts.parse(FOUND.to_json().encode()) == FOUND


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', "{", '{"version": 1, "mounts": 7}']
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        facts.parse(text.encode())
    broken = json.loads(FOUND.to_json()) | {"mounts": [["/d"]]}
    with pytest.raises(ValueError, match=r".*"):
        facts.parse(json.dumps(broken).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("sleep", "2")}, {"user": "1"}, {"read_only": True}, {"environment": {"A": "b"}},
        {"security": Security(privileged=True)}, {"mounts": (MountConfig("tmpfs", "/x"),)},
        {"sysctls": {"net.x": "1"}}, {"sandbox": SandboxConfig("host")}, {"uts_mode": "host"},
        {"stdin_open": True}, {"shm_bytes": 1},
    ],
)  # fmt: skip
def test_a16_another_config_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Conflict, match="another config"):
        facts.refuse_other(FOUND, replace(CONFIG, **change), "one")  # type: ignore[arg-type]


def test_a16_another_image_is_refused() -> None:
    with pytest.raises(Conflict, match="made of image sha256:one"):
        facts.refuse_other(FOUND, replace(CONFIG, image="sha256:two"), "one")


def test_who_it_is_and_what_it_may_take_may_differ() -> None:
    other = replace(
        CONFIG, id="b" * 64, name="other", hostname="h", labels={"a": "b"}, resources=Resources(pids=7),
        sandbox=SandboxConfig("own", "another"), stop_signal="INT",
    )  # fmt: skip
    facts.refuse_other(FOUND, other, "one")


def test_every_field_that_may_differ_is_one() -> None:
    assert {each.name for each in fields(ContainerConfig)} >= facts._FREE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tty": True}, "tty"), ({"pid_mode": "host"}, "pid"), ({"pid_mode": "container:x"}, "pid"),
        ({"ipc_mode": "host"}, "ipc"), ({"ipc_mode": "container:x"}, "ipc"),
        ({"security": Security(user_namespace="auto")}, "userns_mode"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept(change: dict[str, object], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        facts.refuse_unfit(replace(CONFIG, **change), "checkpoint")  # type: ignore[arg-type]
    for mode in ("", "private", "shareable", "none"):
        facts.refuse_unfit(replace(CONFIG, ipc_mode=mode), "checkpoint")


def test_mountinfo_is_read_as_the_kernel_escapes_it() -> None:
    line = "198 187 0:39 /a\\040b /c\\134d\\011e ro,nosuid master:1 shared:2 - ext4 /dev/x rw\n"
    [found] = parse_mountinfo(line)
    assert (found.id, found.root, found.target, found.kind) == (198, "/a b", "/c\\d\te", "ext4")
    [late] = parse_mountinfo("1 2 0:3 /x\\134040 / rw - tmpfs t rw\n")
    assert late.root == "/x\\040"
