"""Whether what was written says what was meant: it is read back and compared. Pure.

What the Docker API takes and a manifest has no word for is found here, whatever the writer made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from agent.manifest.hashing import hashes
from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import read
from agent.manifest.spec import AnySpec, NetworkSpec, VolumeSpec
from agent.manifest.writer.documents import unwritten, write_envelopes
from store.records import Key

_OTHERS: Mapping[str, AnySpec] = {"network": NetworkSpec(external=True), "volume": VolumeSpec(external=True)}
_OTHERS_PATH = "others-of-the-project.yaml"
NOT_SAID = {"asked": None}
"""How the Docker API was asked is no part of what a manifest says."""


def differences(
    objects: Mapping[Key, AnySpec],
    path: str,
    text: str,
    *,
    tree_of: Callable[[str], str] = lambda path: "",
    declared: Collection[Key] = (),
) -> tuple[str, ...]:
    """What a reader of the text, lying at `path`, would understand otherwise; () when nothing. declared: what
    other files declare of its project, which it may refer to."""
    files = {path: text.encode("utf-8", "surrogatepass")}
    if others := {key: _OTHERS[key.kind] for key in declared if key.kind in _OTHERS and key not in objects}:
        files[_OTHERS_PATH] = write_envelopes(others, _OTHERS_PATH).encode()
    manifest = read(Revision("written", "", files, base="/", tree_of=tree_of), profiles=frozenset({"*"}))
    found = [f"{error.message}" for error in manifest.errors]
    for key, spec in objects.items():
        found += [f"{key.kind} {key.name}: there is no word for {name}" for name in unwritten(spec)]
        if not found:
            found += _of_one(key, spec, manifest)
    return tuple(dict.fromkeys(found))


def _of_one(key: Key, spec: AnySpec, manifest: Manifest) -> list[str]:
    read_back = manifest.objects.get(key)
    if read_back is None:
        return [f"{key.kind} {key.name}: is not read back"]
    again = read_back.spec
    wanted, seen = _fields(spec), _fields(again)
    names = [name for name in wanted.keys() | seen.keys() if wanted.get(name) != seen.get(name)]
    if not names and hashes(again) != hashes(spec.model_copy(update=NOT_SAID)):
        names = ["its hash"]
    return [f"{key.kind} {key.name}: {name} would be read otherwise" for name in sorted(names)]


def _fields(spec: AnySpec) -> dict[str, object]:
    found = dict(spec.model_dump(mode="json", exclude=set(NOT_SAID)))
    if "restart" in type(spec).model_fields:
        found["restart is said"] = "restart" in spec.model_fields_set
    return found
