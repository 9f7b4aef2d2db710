"""What a request calls other objects, as a spec of the API's project calls them: a plain name for the API's
own, a whole key for those of manifests. Raises NotFound; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.api.context import Context
from agent.api.docker.finding import find_container, record_of
from agent.api.docker.network_ids import network_id
from agent.api.docker.volume_view import check_options, labels_said, options_of
from agent.manifest.network_options import HOST_BINDING
from agent.manifest.spec import ContainerSpec, Mount, VolumeSpec
from agent.reconcile import convert
from agent.reconcile.api_objects import API_PROJECT
from agent.reconcile.inventory import spec_of
from agent.reconcile.observe import key_of
from runtime.errors import Conflict, Invalid, NotFound
from store.records import Key

VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


def network_named(context: Context, reference: str) -> str:
    """By its name, or (the beginning of) its id."""
    instance = context.settings.layout.instance
    states = context.engine.list_networks()
    by_name = next((state for state in states if state.name == reference), None)
    found = by_name or next(
        (s for s in states if len(reference) >= 12 and network_id(instance, s.name).startswith(reference)),
        None,
    )
    if found is None:
        raise NotFound("", "", f"network {reference[:100]} not found")
    key = key_of(found.labels)
    if key is None:
        raise Conflict("connect", found.name, "no object of this engine's owns it")
    record = context.loop.objects().get(key)
    if record is not None and record.deleting:  # else who removes it would wait for who is to be on it
        raise NotFound("", "", f"network {reference[:100]} not found")
    return _as_spec_says(key)


def host_binding_of(context: Context, name: str) -> str:
    """The host's address that a network publishes ports on, "" for all. name: as `network_named` says it."""
    record = context.loop.objects().get(Key(API_PROJECT, "network", name))
    options = (record.spec.get("asked") or {}).get("options") if record is not None else None
    address = str((options or {}).get(HOST_BINDING, ""))
    return "" if address == "0.0.0.0" else address


def _as_spec_says(key: Key) -> str:
    return key.name if key.project == API_PROJECT else str(key)


def container_named(context: Context, reference: str) -> str:
    key, record = record_of(context, find_container(context, reference))
    if key is None or record is None:
        raise NotFound("", "", f"No such container: {reference[:100]}")
    return _as_spec_says(key)


def volume_named(
    context: Context, name: str, options: Mapping[str, str], labels: Mapping[str, str],
    to_make: dict[str, VolumeSpec],
) -> str:  # fmt: skip
    """options: that it is to have, if any are said. labels: the same of one that is made. to_make: gets one
    that is not there yet."""
    if not VOLUME_NAME.fullmatch(name) or len(name) < 2:
        what = f'create {name[:60]}: "{name[:60]}" includes invalid characters for a local volume name'
        way = "If you intended to pass a host directory, use absolute path"
        raise Invalid("", "", f'{what}, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. {way}')
    state = context.engine.volume(name)
    if state is not None:
        check_options(state, options)
    key = key_of(state.labels) if state is not None else None
    record = context.loop.objects().get(key) if key is not None else None
    if key is not None and record is not None and not record.deleting:
        return _as_spec_says(key)
    to_make[name] = VolumeSpec(name=name, **options_of(name, options), **labels_said(labels))
    return name


def mounts_named(context: Context, reference: str, to_make: dict[str, VolumeSpec]) -> tuple[Mount, ...]:
    """Of another container, with names as a spec of the API says them. A volume without one has its real
    name from now on: two containers need it. to_make: as `volume_named`."""
    state = find_container(context, reference)
    key, record = record_of(context, state)
    spec = spec_of(record) if record is not None else None
    if key is None or not isinstance(spec, ContainerSpec):
        raise NotFound("", "", f"No such container: {reference[:100]}")
    image = context.engine.image(state.image) if state.image else None
    index = int(state.labels.get(convert.LABEL_INDEX, "1") or 1)
    found = []
    for mount in convert.mounts_of(spec, image.volumes if image else ()):
        if mount.type == "volume" and not mount.source:
            real = convert.anonymous_volume_name(key, index, mount.target)
            mount = mount.model_copy(update={"source": volume_named(context, real, {}, {}, to_make)})
        elif mount.type == "volume" and key.project != API_PROJECT:
            mount = mount.model_copy(update={"source": str(Key(key.project, "volume", mount.source))})
        if mount.type != "tmpfs":
            found.append(mount)
    return tuple(found)
