"""A container's config with another name, or on other networks. Pure.

Called by `changes`, which makes it so, and by planning, which compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from runtime.model import ContainerConfig, EndpointConfig


def renamed(config: ContainerConfig, name: str) -> ContainerConfig:
    """With another name, which others find it by on its networks too."""
    endpoints = renamed_endpoints(config.sandbox.endpoints, config.name, name)
    return replace(config, name=name, sandbox=replace(config.sandbox, endpoints=endpoints))


def renamed_endpoints(
    endpoints: Iterable[EndpointConfig], before: str, name: str
) -> tuple[EndpointConfig, ...]:
    return tuple(
        replace(each, aliases=tuple(dict.fromkeys(name if a == before else a for a in each.aliases)))
        for each in endpoints
    )


def placed(
    endpoints: tuple[EndpointConfig, ...], endpoint: EndpointConfig, position: int
) -> tuple[EndpointConfig, ...]:
    """With that endpoint: in the place of the one on its network, else at a position; the first that leads
    out is the way out."""
    if any(each.network == endpoint.network for each in endpoints):
        return tuple(endpoint if each.network == endpoint.network else each for each in endpoints)
    return (*endpoints[:position], endpoint, *endpoints[position:])
