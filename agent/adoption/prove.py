"""The proof that a hand-over changes nothing: it is done in thought, and planned. Pure.

    the world with the new manifest in it ─ hand over ─> plan: no action for what the manifest adds
    the config that each of the two specs makes, beside each other: the same container

Called by `agent.api.adopt`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from agent.manifest.spec import ContainerSpec
from agent.reconcile import convert, handing_over
from agent.reconcile.conditions import PHASES
from agent.reconcile.container_actions import context_of, names_of
from agent.reconcile.plan import plan
from agent.reconcile.world import Desired, World
from runtime.model import ImageInfo
from runtime.security import normal_capability
from store.records import Key

BY_KEY = frozenset({"id", "labels", "replaces"})
"""What a config has from its key, and what a container keeps as it is."""
NO_IMAGE = ImageInfo("", (), 0, 0.0, "", "")


def proof(world: World, former: Key, heir: Key, added: Collection[Key], now: float) -> tuple[str, ...]:
    """What would change, in words; () when nothing. world: with the manifest's objects in it."""
    old, new = world.desired.get(former), world.desired.get(heir)
    if new is None or not isinstance(new.spec, ContainerSpec):
        return (f"{heir} would not be wanted: another file names it, or it is refused",)
    if old is None or not isinstance(old.spec, ContainerSpec):
        return (f"{former} is not there any more",)
    after = handing_over.done(world, old, new, context_of(new, new.spec, world, now).recreate_hash)
    found = [f"{name} would be another" for name in _differences(old, new, world, now)]
    for each in plan(after, now).keys:
        if each.key in added:
            found += [f"that would {action}" for action in each.actions]
            if not each.actions and PHASES[each.verdict.phase].rank <= PHASES["Waiting"].rank:
                found.append(f"{each.key} would be {each.verdict.phase}: {each.verdict.message}")
    return tuple(found)


def _differences(old: Desired, new: Desired, world: World, now: float) -> list[str]:
    """The fields of the container's config that the two specs make otherwise."""
    names = {old.key.name, new.key.name}
    names |= {spec.container_name for spec in (old.spec, new.spec) if isinstance(spec, ContainerSpec)}
    made, wanted = _config(old, world, now, names), _config(new, world, now, names)
    return [name for name in made if made[name] != wanted[name]]


def _config(desired: Desired, world: World, now: float, names: Collection[str]) -> dict[str, Any]:
    spec = desired.spec
    assert isinstance(spec, ContainerSpec)
    context = context_of(desired, spec, world, now)
    image = context.image or NO_IMAGE
    config = convert.container_config(
        desired.key, spec, 1, image=image, recreate_hash="", attempt=0, names=names_of(context, 1),
        origin=convert.Origin(),
    )  # fmt: skip
    found = {name: value for name, value in asdict(config).items() if name not in BY_KEY}
    found["hostname"] = spec.hostname
    if config.entrypoint is None:
        found["entrypoint"] = tuple(image.entrypoint)
        found["command"] = tuple(image.command) if config.command is None else config.command
    for name in ("cap_add", "cap_drop"):
        found["security"][name] = sorted(map(normal_capability, found["security"][name]))
    found["sandbox"] = {**found["sandbox"], "id": ""}
    found["sandbox"]["endpoints"] = [_said(each, names) for each in found["sandbox"]["endpoints"]]
    found["mounts"] = sorted(found["mounts"], key=lambda mount: str(mount["target"]))
    return found


def _said(endpoint: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An endpoint without the names that a key gives it, and its own."""
    return {**endpoint, "aliases": sorted(set(endpoint["aliases"]).difference(names))}
