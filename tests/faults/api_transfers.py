"""More calls of the Docker API that the walk interrupts: those whose bodies are archives, that take long, or
that leave HTTP. A client that was not told of the end cannot know what came of it, and asks again.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

from runtime.checkpoints import criu
from tests.api.image_files import tar_of
from tests.api.streams import FRAME, rest, upgraded
from tests.faults.api_calls import BOX, Call, Client, Problems, has_tag, is_in
from tests.faults.instance import until
from tests.unit.images import craft

UNUSED = 'filters={"dangling":["0"]}'


ROOT = tar_of({"word": b"once upon a time\n" * 2000})
LAYER = craft.tar(craft.directory("d"), craft.entry("d/word", b"and there was\n" * 2000))
IMAGE = tar_of(craft.image(LAYER, name="made:latest"))
# CRIU ends a sleep that it interrupts (ERESTART_RESTARTBLOCK, restart_syscall(2)).
BEATING = {**BOX, "Cmd": ["sh", "-c", "while :; do sleep 1; done"]}
BEFORE, AFTER = b"before\n" * 10_000, b"after\n" * 10_000


# --- images -----------------------------------------------------------------------------------------


def _progress(client: Client, path: str, body: bytes | None = None) -> None:
    """An answer that says on its way what went wrong."""
    said = client.post(path, body).body
    assert b'"error"' not in said, said


def _load(client: Client) -> None:
    _progress(client, "/images/load", IMAGE)


def _import(client: Client) -> None:
    _progress(client, "/images/create?fromSrc=-&repo=made", ROOT)


def _pull(client: Client) -> None:
    _progress(client, f"/images/create?fromImage={client.registry}/lab/app&tag=1")


def _is_pulled(client: Client) -> Problems:
    yield from has_tag(f"{client.registry}/lab/app:1")(client)


def _spare(client: Client) -> None:
    client.no_images()
    _progress(client, "/images/create?fromSrc=-&repo=spare", ROOT)


def _remove(client: Client) -> None:
    client.ask("DELETE", "/images/spare", ok=(200, 404))


def _prune(client: Client) -> None:
    client.post(f"/images/prune?{UNUSED}")


def _has_busybox_alone(client: Client) -> Problems:
    if (found := client.tags()) != ["busybox:latest"]:
        yield f"images: {found}"


# --- files ------------------------------------------------------------------------------------------


def _box_with(content: bytes) -> Callable[[Client], None]:
    def put(client: Client) -> None:
        client.running_box()
        client.ask("PUT", "/containers/box/archive?path=/data", tar_of({"word": content}))

    return put


def _has_it_whole(client: Client) -> Problems:
    """And nothing beside it."""
    packed = client.ask("GET", "/containers/box/archive?path=/data").body
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = sorted(archive.getnames())
        file = archive.extractfile("data/word") if "data/word" in names else None
        if file is None or file.read() != AFTER or names != ["data", "data/word"]:
            yield f"files: {names}"


# --- processes --------------------------------------------------------------------------------------


def _talk(client: Client) -> None:
    """An exec to whose end its client listens."""
    wish = {"Cmd": ["sh", "-c", "sleep 0.02; echo said; exit 3"], "AttachStdout": True}
    id = client.post("/containers/box/exec", wish, ok=(201,)).json["Id"]
    connection, _head = upgraded(client.http, f"/exec/{id}/start", b"{}")
    said = rest(connection)
    assert said == FRAME.pack(1, 5) + b"said\n", said
    assert client.get(f"/exec/{id}/json")["ExitCode"] == 3


def _runs_alone(client: Client) -> Problems:
    """What was begun in it has ended."""
    yield from is_in(phase="running")(client)
    if len(found := client.get("/containers/box/top")["Processes"]) != 1:
        yield f"processes: {found}"


def _no_checkpoint(client: Client) -> None:
    client.running_box(BEATING)
    client.ask("DELETE", "/containers/box/checkpoints/one", ok=(204, 404, 500))
    until(lambda: not client.get("/containers/box/checkpoints"), "it has none")


def _keep(client: Client) -> None:
    answer = client.post("/containers/box/checkpoints", {"CheckpointID": "one", "Exit": False}, ok=(201, 409))
    assert answer.status == 201 or "exists" in answer.message, answer.body


def _is_kept(client: Client) -> Problems:
    yield from is_in(phase="running")(client)
    if (found := client.get("/containers/box/checkpoints")) != [{"Name": "one"}]:
        yield f"checkpoints: {found}"


_CHECKPOINTS = (Call("checkpoint", _no_checkpoint, _keep, _is_kept, keeps=True),)
TRANSFERS = (
    Call("load", Client.no_images, _load, has_tag("made:latest"), keeps=True),
    Call("import", Client.no_images, _import, has_tag("made:latest"), keeps=True),
    Call("pull", Client.no_images, _pull, _is_pulled, keeps=True),
    Call("image-remove", _spare, _remove, _has_busybox_alone, keeps=True),
    Call("image-prune", _spare, _prune, _has_busybox_alone, keeps=True),
    Call("archive-put", _box_with(BEFORE), _box_with(AFTER), _has_it_whole, keeps=True),
    Call("exec-attached", Client.running_box, _talk, _runs_alone, keeps=True),
    *(_CHECKPOINTS if criu.find_program() else ()),
)
