"""The ids that networks and interfaces have in the Docker Engine API: 64 hex digits that follow from names,
so that every view gives the same ones and nothing has to keep them. Pure.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache


def network_id(instance: str, name: str) -> str:
    """Of a network, by its real name."""
    return _digest("network", instance, name)


def endpoint_id(instance: str, network: str, container: str) -> str:
    """Of a container's interface on a network, by the network's real name and the container's id."""
    return _digest("endpoint", instance, network, container)


@lru_cache(8192)  # each list and each look at a container asks for the same ones
def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
