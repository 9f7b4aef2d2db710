"""Which ids a container with userns_mode: auto runs with, and what cannot go with ids of its own.

A sandbox's network namespace belongs to a user namespace, and whoever joins the one gets the other; a
container in the host's network has a range in its own name. Called by `assembly` and `bundle`.
"""

from __future__ import annotations

import os

from runtime import user_namespaces
from runtime.errors import Invalid
from runtime.model import ContainerConfig
from runtime.network.networks import Networks


def refuse_unfit(config: ContainerConfig) -> None:
    """`Invalid` for what would take the boundary away, or would not do what it says."""
    if config.security.user_namespace != "auto":
        return
    if config.security.privileged:
        raise Invalid(
            "create", config.name, "privileged is power over the host, and a user namespace has none",
            "userns_mode: host, or cap_add and devices in place of privileged",
        )  # fmt: skip
    for mount in config.mounts:
        if mount.propagation in ("shared", "rshared") and mount.kind == "bind":
            raise Invalid(
                "create", config.name,
                f"the host does not see what is mounted on {mount.target} in a user namespace",
                "propagation: rslave, or userns_mode: host",
            )  # fmt: skip


def ids_of(networks: Networks, config: ContainerConfig) -> int:
    """The first id of its range, 0 for the host's own ids. Its sandbox is there already. `Invalid`,
    `Temporary` when all ranges are taken."""
    if config.security.user_namespace != "auto":
        return 0
    if config.sandbox.mode == "host":
        return networks.claim_ids(config.id)
    ids = networks.ids_of(config.sandbox.id)
    if not ids:
        raise Invalid(
            "start", config.name, "the container whose network it shares has no user namespace",
            "userns_mode: auto for both, or for none",
        )  # fmt: skip
    return ids


def refuse_stranger(config: ContainerConfig, netns: str, pid: int, kind: str, other: str) -> None:
    """`Invalid` unless the process, of another container, is in the user namespace that owns netns: by its
    pid or ipc namespace the container would see what it has no right to."""
    if config.security.user_namespace != "auto":
        return
    is_same = False
    if netns:
        own = user_namespaces.open_owner(netns)
        try:
            is_same = os.fstat(own).st_ino == os.stat(f"/proc/{pid}/ns/user").st_ino  # noqa: PTH116
        except FileNotFoundError:
            return  # it has just ended, and joining it tells that
        finally:
            os.close(own)
    if not is_same:
        raise Invalid(
            "start", config.name,
            f"its {kind} namespace is that of {other[:12]}, which is in another user namespace",
            "share its network too (network_mode: service:…), or userns_mode: host for both",
        )  # fmt: skip
