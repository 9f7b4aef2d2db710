"""Hashes of specs: what changed at all, and what changed that needs a new container. Pure.

Over the fields that were set and differ from their default, in canonical JSON: a field or a default
that a newer Setpoint adds changes no hash. The fields that can be applied to a running container, or
that only the agent looks at, are left out of the recreate hash.
"""

from __future__ import annotations

import hashlib
import json

from agent.manifest.spec import AnySpec, ContainerSpec

LIVE_CONTAINER_FIELDS = frozenset(
    (
        # cgroup limits
        "cpus",
        "cpu_period",
        "cpu_shares",
        "cpuset",
        "cpuset_mems",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "blkio_config",
        "mem_limit",
        "memswap_limit",
        "mem_reservation",
        "mem_swappiness",
        "pids_limit",
        # decided by the agent
        "restart",
        "healthcheck",
        "on_unhealthy",
        "update",
        "stop_grace_period",
        "scale",
        "depends_on",
        "ensure",
        "suspend",
        "profiles",
        "pull_policy",
        "expose",
        "asked",
    )
)
# Of what the Docker Engine API made; that of manifests is made anew, as it ever was, for their hashes stay.
LIVE_ASKED_FIELDS = frozenset(("container_name", "networks"))
OWN_NETWORK_MODES = frozenset(("", "bridge"))
BUILT_FIELDS = frozenset(("build", "image"))
LIVE_OTHER_FIELDS = frozenset(("ensure", "suspend", "keep", "update", "pull_policy"))


def spec_hash(spec: AnySpec) -> str:
    """64 hex digits; equal for specs that say the same."""
    return hashes(spec)[0]


def recreate_hash(spec: AnySpec) -> str:
    """64 hex digits that change exactly when a new container (network, volume) is needed."""
    return hashes(spec)[1]


def hashes(spec: AnySpec) -> tuple[str, str]:
    """spec_hash and recreate_hash, with one pass over the spec."""
    live = LIVE_CONTAINER_FIELDS if isinstance(spec, ContainerSpec) else LIVE_OTHER_FIELDS
    values = spec.model_dump(mode="json", exclude_unset=True, exclude_defaults=True)
    whole = _digest_of(values)
    if "build" in values:  # what is built counts, not what it is built of: it rolls out when it is another
        live = live | BUILT_FIELDS
    if isinstance(spec, ContainerSpec) and spec.asked is not None:
        live = live | LIVE_ASKED_FIELDS
        if spec.network_mode in OWN_NETWORK_MODES:
            live = live | {"network_mode"}
    counting = {name: value for name, value in values.items() if name not in live}
    if isinstance(spec, ContainerSpec) and "image" in counting:
        counting["image"] = without_digest(spec.image)
    return whole, whole if counting == values else _digest_of(counting)


def without_digest(image: str) -> str:
    """`nginx:1.27` of `nginx:1.27@sha256:…`: which image it is, is found by comparing images. So a lock that
    says what runs already replaces nothing."""
    name, _, digest = image.partition("@")
    return name if digest and ":" in name.rpartition("/")[2] else image


def _digest_of(values: object) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
