"""What the Docker Engine API made, rebuilt from its labels when the database is lost. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from agent.manifest.spec import AnySpec, ContainerSpec
from agent.reconcile.convert import LABEL_SPEC
from agent.reconcile.world import SPEC_TYPES, Actual
from store.records import Key


def relabelled(key: Key, actual: Actual) -> AnySpec | None:
    """The spec that it was made by, wanted as it stands now; None where no label says it."""
    labelled = {
        "container": [replica.state.labels for replica in actual.replicas],
        "network": [network.labels for network in actual.networks],
        "volume": [volume.labels for volume in actual.volumes],
    }
    spec = _spec_of(key, labelled.get(key.kind, ()))
    if not isinstance(spec, ContainerSpec):
        return spec
    newest = actual.replicas[-1]
    now = {"ensure": "running" if newest.is_live else "stopped", "container_name": newest.state.name}
    return ContainerSpec.model_validate({**spec.model_dump(exclude_unset=True), **now})


def _spec_of(key: Key, labelled: Iterable[Mapping[str, str]]) -> AnySpec | None:
    for labels in labelled:
        try:
            return SPEC_TYPES[key.kind].model_validate(json.loads(labels[LABEL_SPEC]))
        except (KeyError, ValueError, RecursionError, ValidationError):
            continue
    return None
