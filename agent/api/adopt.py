"""What the Docker API made, as the manifest that describes it, and its hand-over to that manifest.

    describe ─> write ─> read back: the very same ─> plan with it: nothing would change ─> wish kept

Nothing is kept of one that cannot be said, or that would change something: the reasons are the answer.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from agent.adoption import describe, prove
from agent.adoption.surroundings import surroundings_of
from agent.api.context import Context
from agent.api.docker.profiles import hold
from agent.api.openapi.shapes.state import AdoptionOrder
from agent.api.requests import context_of, flag, json_of, key_of, strings_of, text_of
from agent.manifest.files import PROJECT, form_of
from agent.manifest.files import project_of as project_of_path
from agent.manifest.spec import AnySpec, ContainerSpec, NetworkSpec, VolumeSpec
from agent.manifest.writer.check import differences
from agent.manifest.writer.documents import needs_envelope, write_compose, write_envelopes
from agent.reconcile import convert
from agent.reconcile.api_objects import API_OWNER, KEY_DIGITS
from agent.reconcile.inventory import spec_of
from runtime.errors import Conflict, Invalid, NotFound, Unsupported
from store.records import Key, ObjectRecord

COMING = "what-others-declare.yaml"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a manifest is to lie, below the source's top, and the project that is to have its objects."""

    path: str
    project: str


async def adopt(request: web.Request) -> web.Response:
    """The manifest of what the Docker API made, what it says otherwise, and what speaks against it. With
    ?hand_over=1, where nothing does, the manifest takes over as soon as it is there."""
    context, key = context_of(request), key_of(request)
    body = await json_of(request, AdoptionOrder)
    record = context.loop.objects().get(key)
    if record is None:
        raise NotFound("adopt", str(key), "there is no such object", "setpoint status lists them")
    spec = _spec_of(key, record)
    place = _place(spec, record, text_of(body, "path"), text_of(body, "project"))
    coming = _coming(context, strings_of(body, "declared"))
    found = _describe(context, key, spec, place, coming)
    text = _text(found, place)
    others = {each for each in (*context.loop.objects(), *coming) if each.project == place.project}
    problems = differences(found.objects, place.path, text, tree_of=context.follower.tree_of, declared=others)
    if not problems:
        files = {place.path: text.encode(), **_file_of(coming)}
        problems = await _proof(context, key, found, place, files, hand_over=flag(request, "hand_over"))
    if not problems:
        hold(context, spec.seccomp)
    return web.json_response({
        "key": str(key),
        "heir": str(found.key),
        "path": place.path,
        "text": text,
        "notes": found.notes,
        "problems": list(problems),
        "declares": [_declaration(*each) for each in found.objects.items() if each[0] != found.key],
    })  # fmt: skip


def _spec_of(key: Key, record: ObjectRecord) -> ContainerSpec:
    """Of a container that the API owns. Conflict for a manifest's, with its place."""
    if record.owner != API_OWNER:
        raise Conflict("adopt", str(key), f"{record.file}:{record.line} owns it already")
    spec = spec_of(record)
    if not isinstance(spec, ContainerSpec):
        raise Unsupported(
            "adopt",
            str(key),
            f"a {key.kind} is written with the containers that use it",
            "adopt one of these",
        )
    return spec


def _declaration(key: Key, spec: AnySpec) -> str:
    assert isinstance(spec, NetworkSpec | VolumeSpec)
    name = convert.network_name if isinstance(spec, NetworkSpec) else convert.volume_name
    return f"{key}={name(key, spec)}"  # type: ignore[arg-type]


def _coming(context: Context, declared: Iterable[str]) -> dict[Key, AnySpec]:
    """What manifests that are not read yet declare, others' all of it: several are written at a time."""
    found: dict[Key, AnySpec] = {}
    for text in declared:
        name, sign, real = text.partition("=")
        try:
            key = Key.parse(name)
        except ValueError:
            raise Invalid("adopt", text[:200], "not a declaration", "PROJECT/KIND/NAME=REAL NAME") from None
        if not sign or key.kind not in ("network", "volume") or not PROJECT.fullmatch(key.project):
            raise Invalid("adopt", text[:200], "not a declaration", "PROJECT/KIND/NAME=REAL NAME")
        spec = NetworkSpec if key.kind == "network" else VolumeSpec
        if key not in context.loop.objects():
            found[key] = spec(external=True, name=real)
    return found


def _file_of(coming: Mapping[Key, AnySpec]) -> dict[str, bytes]:
    """They are read with the rest."""
    return {COMING: write_envelopes(coming, COMING).encode()} if coming else {}


def _place(spec: ContainerSpec, record: ObjectRecord, path: str, project: str) -> Place:
    name = spec.container_name or record.key.name
    project = project or (project_of_path(path) if path else describe.project_of(spec))
    if not PROJECT.fullmatch(project):
        raise Invalid(
            "adopt", project[:60], "not a project's name", "lower-case letters, digits, '-' and '_'"
        )
    ending = "yaml" if name.startswith("x-") else "compose.yaml"
    path = posixpath.normpath(path or f"{project}/{name}.{ending}")
    if path.startswith(("/", "../")) or form_of(path) not in ("compose", "yaml"):
        raise Invalid("adopt", path[:200], "not the name of a manifest", "such as shop/web.compose.yaml")
    return Place(path, project)


def _describe(
    context: Context, key: Key, spec: ContainerSpec, place: Place, coming: Mapping[Key, AnySpec]
) -> describe.Description:
    named = spec.asked.image if spec.asked is not None else ""
    image = context.engine.image(named) if named else None
    made_of = context.engine.image(spec.image)
    containers = {state.id[:KEY_DIGITS]: state.name for state in context.engine.list()}
    around = surroundings_of(context.loop.objects(), place.project, image, made_of, containers).with_more(
        coming
    )
    name = describe.service_of(spec, key.name, around.taken("container"))
    return describe.describe(key, spec, Key(place.project, "container", name), around)


def _text(found: describe.Description, place: Place) -> str:
    objects: Mapping[Key, AnySpec] = found.objects
    is_compose = form_of(place.path) == "compose" and not any(map(needs_envelope, objects))
    return (write_compose if is_compose else write_envelopes)(objects, place.path)


async def _proof(
    context: Context,
    key: Key,
    found: describe.Description,
    place: Place,
    more: Mapping[str, bytes],
    *,
    hand_over: bool,
) -> tuple[str, ...]:
    """What a plan with the manifest in it says. Where it says nothing, and that is asked for, the wish is
    kept: for this very text, and this very state of the container. more: its file, and what else comes."""
    files = {**context.follower.files(), **more}
    manifest = await context.read_files(files)
    errors = [str(error) for error in manifest.errors if error.where.file == place.path]
    if denied := manifest.denied.get(found.key):
        errors.append(denied)
    if errors:
        return tuple(errors)
    world = context.loop.world_with(manifest)
    changes = prove.proof(world, key, found.key, set(found.objects), time.time())
    if not changes and hand_over:
        await context.loop.hand_over(key, manifest.objects[found.key])
    return changes
