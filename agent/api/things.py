"""What the engine has, as JSON: images, networks, volumes, processes, numbers. Read through the
runtime's face; changes nothing but what `rm` names.
"""

from __future__ import annotations

import asyncio
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from agent import metrics
from agent.api.context import Context
from agent.api.openapi.shapes.host import VolumeOrder
from agent.api.requests import context_of, flag, is_root, json_of, key_of, text_of
from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY
from runtime.errors import Conflict, Invalid, NotFound
from runtime.model import ContainerState
from store.image_memory import ImageRecord

MAX_PROCESSES = 5000
MAX_COMMAND_BYTES = 4096  # a process may give itself a command line of any length (prctl(2), PR_SET_MM)


async def stats(request: web.Request) -> web.Response:
    """Counters of every running container; rates are the difference of two looks."""
    seen, _unlisted = await metrics.look_at_containers(context_of(request).engine)
    found = [{**_names(state), **asdict(numbers)} for state, numbers in seen if numbers is not None]
    return web.json_response(found)


def _names(state: ContainerState) -> dict[str, Any]:
    labels = state.labels
    return {"key": labels.get(LABEL_KEY, ""), "replica": labels.get(LABEL_INDEX, ""), "name": state.name}


def containers_of(context: Context, key: str, replica: int | None = None) -> list[ContainerState]:
    """The containers that were made for a key, in the order of their replicas, newest attempt last."""
    found = [state for state in context.engine.list() if state.labels.get(LABEL_KEY) == key]
    if replica is not None:
        found = [state for state in found if state.labels.get(LABEL_INDEX) == str(replica)]
    return sorted(found, key=lambda state: (_index(state), state.created_at))


def _index(state: ContainerState) -> int:
    text = state.labels.get(LABEL_INDEX, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


# --- processes ------------------------------------------------------------------------------------


async def top(request: web.Request) -> web.Response:
    """The processes of an object's containers: pid on the host, user id, seconds of CPU, command."""
    context, key = context_of(request), key_of(request)
    found: list[dict[str, Any]] = []
    for state in containers_of(context, str(key)):
        processes = await asyncio.to_thread(_processes, context, state.id)
        found += [{"container": state.name, **process} for process in processes]
    return web.json_response(found)


def _processes(context: Context, id: str) -> list[dict[str, Any]]:
    """In a thread: to read a command line is to wait for the process's memory."""
    views = map(process_view, context.engine.top(id)[:MAX_PROCESSES])
    return [view for view in views if view is not None]


def process_view(pid: int) -> dict[str, Any] | None:
    """One process from /proc (proc(5)); None when it has ended. memory_bytes is its resident set."""
    folder = Path("/proc", str(pid))
    try:
        stat = (folder / "stat").read_bytes()
        status = (folder / "status").read_text(errors="replace")
        with (folder / "cmdline").open("rb", buffering=0) as file:
            command = file.read(MAX_COMMAND_BYTES) or b""
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    known = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    words = [word.decode("utf-8", "replace") for word in command.split(b"\0") if word]
    return {
        "pid": pid,
        "user": int(known.get("Uid", "0").split()[0]),
        "state": fields[0].decode(),
        "cpu_seconds": (int(fields[11]) + int(fields[12])) / 100,  # utime, stime in USER_HZ, which is 100
        "memory_bytes": int(known.get("VmRSS", "0 kB").split()[0]) * 1024,
        "command": words or [f"[{known.get('Name', '?')}]"],
    }


# --- networks, volumes ----------------------------------------------------------------------------


async def networks(request: web.Request) -> web.Response:
    """The networks that there are, and the objects that they were made for."""
    found = context_of(request).engine.list_networks()
    return web.json_response([{**_plain(n), "key": n.labels.get(LABEL_KEY, "")} for n in found])


async def volumes(request: web.Request) -> web.Response:
    """The volumes that there are, and the objects that they were made for."""
    found = context_of(request).engine.list_volumes()
    return web.json_response([{**_plain(v), "key": v.labels.get(LABEL_KEY, "")} for v in found])


async def remove_volume(request: web.Request) -> web.Response:
    """Remove ?name= and its data. Conflict while an object wants it."""
    context, name = context_of(request), request.query.get("name", "")
    volume = context.engine.volume(name)
    if volume is None:
        raise NotFound("remove volume", name, "there is no such volume", "setpoint volume ls")
    owner = volume.labels.get(LABEL_KEY, "")
    wanted = {str(key) for key, record in context.loop.objects().items() if not record.deleting}
    if owner in wanted:
        way = "docker volume rm does" if owner.startswith("@api/") else "remove it from the manifest first"
        raise Conflict("remove volume", name, f"{owner} wants it", way)
    await context.engine.delete_volume(name)
    return web.json_response({"removed": name})


async def import_volume(request: web.Request) -> web.Response:
    """Copy a directory of this host into a volume. Root's alone: it may be any."""
    if not is_root(request):
        raise Invalid("import volume", "", "only root may have a directory of the host copied", "sudo")
    context, body = context_of(request), await json_of(request, VolumeOrder)
    name, path = text_of(body, "name"), text_of(body, "path")
    if not path.startswith("/"):
        raise Invalid("import volume", path[:200], "not an absolute path")
    devices = await asyncio.to_thread(context.engine.volumes.take_over, name, path)
    return web.json_response({"name": name, "left_out": [_text(each) for each in devices]})


def _text(path: str) -> str:
    """Of a file whose name is no UTF-8, too."""
    return path.encode(errors="replace").decode()


def _plain(value: Any) -> dict[str, Any]:
    return {k: dict(v) if k == "labels" else v for k, v in asdict(value).items()}


# --- images ---------------------------------------------------------------------------------------


async def images(request: web.Request) -> web.Response:
    """The images that are here, with what the last check of each found."""
    context = context_of(request)
    found = await asyncio.to_thread(context.engine.list_images)
    noted = context.images.notes.images()
    return web.json_response([{**_plain(image), **_checked(noted.get(image.id))} for image in found])


def _checked(record: ImageRecord | None) -> dict[str, Any]:
    return {
        "damage": record.damage if record else "", "checked_at": record.checked_at if record else None,
    }  # fmt: skip


async def remove_image(request: web.Request) -> web.Response:
    """Remove the name ?reference=, and with its last name the image. Conflict while a container has it;
    ?force=1 takes the names and keeps what is in use."""
    context, reference = context_of(request), request.query.get("reference", "")
    if not reference:
        raise Invalid("remove image", "", "no reference")
    removed = await context.engine.remove_image(reference, force=flag(request, "force"))
    context.loop.image_changed(reference)
    return web.json_response({"reference": reference, "removed": list(removed)})


# --- the agent itself -----------------------------------------------------------------------------


async def doctor(request: web.Request) -> web.Response:
    """The agent's own health. What the kernel offers is looked at by the CLI itself."""
    context = context_of(request)
    source = context.follower.view()
    failure, errors = str(source.get("error") or ""), len(source.get("errors", ()))
    notes = "; ".join(context.store.notes)
    is_up = bool(getattr(context.engine, "is_supervisor_up", True))
    return web.json_response({
        "program": _program(context),
        "source": _check(not failure, failure or str(source.get("where") or "none")),
        "manifests": _check(not errors, f"{errors} errors"),
        "supervisor": _check(is_up, "runs" if is_up else "is being started again"),
        "store": _check(not notes, notes or "sound"),
        "disk": _disk(context),
        "loop": _check(True, f"{len(context.loop.objects())} objects"),
    })  # fmt: skip


def _program(context: Context) -> dict[str, Any]:
    """Whether it is still what is on the disk, and its Python."""
    if not context.program.is_outdated():
        return _check(True, f"as it began, by Python {platform.python_version()}")
    how = "setpoint agent --detach starts it anew, or systemctl restart setpoint-agent"
    return {"ok": False, "detail": "upgraded since the agent began", "hint": how}


def _disk(context: Context) -> dict[str, Any]:
    """How full, and what is held back of it."""
    watch = context.room
    if watch.alarm is not None:
        return {"ok": False, "detail": watch.alarm.message, "hint": watch.alarm.hint}
    held = watch.ballast_bytes >> 20
    return _check(
        held > 0, f"{watch.room()}, ballast of {held} MiB" if held else f"{watch.room()}, no ballast"
    )


def _check(ok: bool, detail: str) -> dict[str, Any]:
    return {"ok": ok, "detail": detail}
