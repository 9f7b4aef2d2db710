"""The calls of the Docker API that the walk interrupts: where each begins, the call itself, which its client
makes again when it was not answered, and what must be so in the end, however often it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.api.http_client import Answer, Http
from tests.faults.instance import until

BOX = {
    "Image": "busybox",
    "Cmd": ["sleep", "100000"],
    "Volumes": {"/own": {}},
    "HostConfig": {"Binds": ["data:/data"]},
}
ONCE = {
    "Image": "busybox",
    "Cmd": ["true"],
    "Volumes": {"/own": {}},
    "HostConfig": {"AutoRemove": True},
}
MEGABYTES = 1 << 20
Shown = Mapping[str, Any]


class Client:
    """One of an instance's. Each call says which answers are as asked for; else it is an AssertionError.
    registry: a host with lab/app:1."""

    def __init__(self, http: Http, registry: str = "") -> None:
        self.http = http
        self.registry = registry

    def get(self, path: str) -> Any:
        return self.ask("GET", path).json

    def ask(self, method: str, path: str, body: Any = None, ok: tuple[int, ...] = (200,)) -> Answer:
        """body: bytes are an archive."""
        headers = {"Content-Type": "application/x-tar"} if isinstance(body, bytes) else {}
        answer = self.http(method, path, body, headers=headers)
        assert answer.status in ok, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer

    def post(self, path: str, body: Any = None, ok: tuple[int, ...] = (200,)) -> Answer:
        return self.ask("POST", path, body, ok)

    # --- what is there

    def box(self) -> Shown | None:
        answer = self.ask("GET", "/containers/box/json", ok=(200, 404))
        return answer.json if answer.status == 200 else None

    def boxes(self) -> int:
        return sum("/box" in each["Names"] for each in self.get("/containers/json?all=1"))

    def volumes(self) -> list[str]:
        """Those without a name are called "own"."""
        names = [each["Name"] for each in self.get("/volumes")["Volumes"]]
        return sorted("own" if len(name) == 64 else name for name in names)

    def networks(self) -> list[str]:
        return [name for each in self.get("/networks") if (name := each["Name"]) == "net"]

    def tags(self) -> list[str]:
        return sorted(tag for each in self.get("/images/json") for tag in each["RepoTags"])

    # --- where it begins

    def no_box(self) -> None:
        self.ask("DELETE", "/containers/box?force=1&v=1", ok=(204, 404))
        for each in self.get("/volumes")["Volumes"]:
            self.ask("DELETE", f"/volumes/{each['Name']}", ok=(204,))

    def new_box(self, *, runs: bool, wanted: Mapping[str, Any] = BOX) -> None:
        self.no_box()
        self.post("/containers/create?name=box", wanted, ok=(201,))
        if runs:
            self.post("/containers/box/start", ok=(204,))

    def running_box(self, wanted: Mapping[str, Any] = BOX) -> None:
        """The same as before, where it is there."""
        if (box := self.box()) is None or box["Config"]["Cmd"] != wanted["Cmd"]:
            self.new_box(runs=True, wanted=wanted)
        self.post("/containers/box/start", ok=(204, 304))

    def no_images(self) -> None:
        self.running_box()
        for tag in set(self.tags()) - {"busybox:latest"}:
            self.ask("DELETE", f"/images/{tag}", ok=(200,))
        self.post("/images/prune", ok=(200,))


Problems = Iterator[str]


@dataclass(frozen=True)
class Call:
    """back: to where it begins, from its end or its beginning. ask: it is made, perhaps again. faults: what
    is not as it must be then. keeps: whether the box's process is the one from before."""

    name: str
    back: Callable[[Client], None]
    ask: Callable[[Client], None]
    faults: Callable[[Client], Problems]
    keeps: bool = False


# --- containers ------------------------------------------------------------------------------------


def _create(client: Client) -> None:
    answered = client.post("/containers/create?name=box", BOX, ok=(201,)).json["Id"]
    box = client.box()
    assert box is not None and box["Id"] == answered, (answered, box)


def is_in(*, phase: str, volumes: tuple[str, ...] = ("data", "own")) -> Callable[[Client], Problems]:
    def faults(client: Client) -> Problems:
        box = client.box()
        if box is None or box["State"]["Status"] != phase or client.boxes() != 1:
            yield f"{client.boxes()} of it, and it is {box and box['State']}, not {phase}"
        if (found := client.volumes()) != list(volumes):
            yield f"volumes: {found}"

    return faults


def _is_gone(*volumes: str) -> Callable[[Client], Problems]:
    def faults(client: Client) -> Problems:
        if client.boxes():
            yield f"{client.boxes()} of it"
        if (found := client.volumes()) != list(volumes):
            yield f"volumes: {found}"

    return faults


def _kill(client: Client) -> None:
    answer = client.post("/containers/box/kill", ok=(204, 409))
    assert answer.status == 204 or "is not running" in answer.message, answer.body


def _small_box(client: Client) -> None:
    client.running_box()
    client.post("/containers/box/update", {"Memory": 64 * MEGABYTES, "MemorySwap": -1})


def _is_large(client: Client) -> Problems:
    yield from is_in(phase="running")(client)
    box = client.box()
    if box is None or box["HostConfig"]["Memory"] != 128 * MEGABYTES:
        yield f"limits: {box and box['HostConfig']}"


def _restart(client: Client) -> None:
    """It may have been made anew already: its client does not know."""
    box = client.box()
    client.post("/containers/box/restart?t=0", ok=(204,))
    now = client.box()
    assert box is not None and now is not None and box["State"]["Pid"] != now["State"]["Pid"], now


def _run(client: Client) -> None:
    """As `docker run --rm --name box`: one that is there already, and ran, is on its way out."""
    made = client.post("/containers/create?name=box", ONCE, ok=(201, 409))
    if made.status == 201:
        client.post(f"/containers/{made.json['Id']}/start", ok=(204, 304, 404))
    until(lambda: not client.boxes(), "it went by itself")


def _exec(client: Client) -> None:
    wish = {"Cmd": ["sh", "-c", "sleep 0.02; exit 3"], "AttachStdout": True}
    id = client.post("/containers/box/exec", wish, ok=(201,)).json["Id"]
    client.post(f"/exec/{id}/start", {"Detach": True})
    shown = partial(client.get, f"/exec/{id}/json")
    until(lambda: not shown()["Running"], "its end")
    assert shown()["ExitCode"] == 3


# --- networks, volumes, images ---------------------------------------------------------------------


def _no_network(client: Client) -> None:
    client.ask("DELETE", "/networks/net", ok=(204, 404))


def _network(client: Client) -> None:
    if not client.networks():
        client.post("/networks/create", {"Name": "net"}, ok=(201,))


def _has_networks(*names: str) -> Callable[[Client], Problems]:
    def faults(client: Client) -> Problems:
        if (found := client.networks()) != list(names):
            yield f"networks: {found}"

    return faults


def _volume(client: Client) -> None:
    client.post("/volumes/create", {"Name": "data"}, ok=(201,))


def _waste(client: Client) -> None:
    client.new_box(runs=False)
    _network(client)
    client.post("/volumes/create", {"Name": "spare"}, ok=(201,))


def _prune(client: Client) -> None:
    client.post("/containers/prune")
    client.post("/networks/prune")
    client.post('/volumes/prune?filters={"all":["1"]}')


def _is_pruned(client: Client) -> Problems:
    yield from _is_gone()(client)
    yield from _has_networks()(client)


def has_tag(tag: str) -> Callable[[Client], Problems]:
    def faults(client: Client) -> Problems:
        if (found := client.tags()) != sorted(("busybox:latest", tag)):
            yield f"images: {found}"

    return faults


CALLS = (
    Call("create", Client.no_box, _create, is_in(phase="created")),
    Call("start", lambda c: c.new_box(runs=False), lambda c: _ask(c, "start"), is_in(phase="running")),
    Call("stop", Client.running_box, lambda c: _ask(c, "stop?t=0"), is_in(phase="exited")),
    Call("restart", Client.running_box, _restart, is_in(phase="running")),
    Call("kill", Client.running_box, _kill, is_in(phase="exited")),
    Call("update", _small_box, lambda c: _update(c), _is_large, keeps=True),
    Call("remove", lambda c: c.new_box(runs=True), lambda c: _remove(c), _is_gone("data")),
    Call("run-rm", Client.no_box, _run, _is_gone()),
    Call("exec", Client.running_box, _exec, is_in(phase="running"), keeps=True),
    Call("network-create", _no_network, lambda c: _make_network(c), _has_networks("net")),
    Call("network-remove", _network, _no_network, _has_networks()),
    Call("volume-create", Client.no_box, _volume, _is_gone("data")),
    Call("volume-remove", _volume, lambda c: _remove_volume(c), _is_gone()),
    Call("prune", _waste, _prune, _is_pruned),
    Call("commit", Client.no_images, lambda c: _commit(c), has_tag("made:latest"), keeps=True),
    Call("tag", Client.no_images, lambda c: _tag(c), has_tag("made:latest"), keeps=True),
)


def _ask(client: Client, what: str) -> None:
    client.post(f"/containers/box/{what}", ok=(204, 304))


def _update(client: Client) -> None:
    client.post("/containers/box/update", {"Memory": 128 * MEGABYTES})


def _remove(client: Client) -> None:
    client.ask("DELETE", "/containers/box?force=1&v=1", ok=(204, 404))


def _make_network(client: Client) -> None:
    client.post("/networks/create", {"Name": "net"}, ok=(201,))


def _remove_volume(client: Client) -> None:
    client.ask("DELETE", "/volumes/data", ok=(204, 404))


def _commit(client: Client) -> None:
    client.post("/commit?container=box&repo=made", {}, ok=(201,))


def _tag(client: Client) -> None:
    client.post("/images/busybox/tag?repo=made", ok=(201,))
