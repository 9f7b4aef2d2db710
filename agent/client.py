"""The CLI's and the tests' way to the agent's socket. One request, one connection. Plain answers are JSON;
streams are lines of JSON (`lines`), frames of bytes (`frames`, logs) or an upgraded connection (`session`,
exec): see `wire`. Blocking, not for an event loop. Raises what the agent raised (`runtime.errors`), and
AgentDown when nobody answers.
"""

from __future__ import annotations

import _socket
import os
from _collections_abc import Mapping  # collections.abc is the same, and imports collections

from agent import small_json as json
from agent.wire import (
    ERROR,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    PREFIX,
    AgentDown,
    Answer,
    Session,
    error_from,
    query_words,
    quote,
    refusal,
    send_request,
)
from runtime import errors

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from socket import socket
    from typing import IO, Any

    from agent.wire import Body, Query

STRANGER = "answers as another program would"
CONNECT_SECONDS = 5.0


class Client:
    """One agent, by its socket's path. timeout_seconds: how long a plain answer may take."""

    def __init__(self, socket_path: str | Path, *, timeout_seconds: float = 60.0) -> None:
        self.path = str(socket_path)
        self.timeout_seconds = timeout_seconds

    # --- transport ----------------------------------------------------------------------------

    def get(self, path: str, query: Query | None = None, **options: Any) -> Any:
        return self.request("GET", path, query, **options)

    def post(self, path: str, query: Query | None = None, body: Body = None, **options: Any) -> Any:
        return self.request("POST", path, query, body, **options)

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Body = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Send, and return the JSON answer (None for an empty one)."""
        with self._ask(method, path, query, body, timeout_seconds or self.timeout_seconds) as answer:
            content = answer.read_all()
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise AgentDown(self.path, "does not speak JSON") from None

    def _object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise AgentDown(self.path, STRANGER)
        return value

    def _array(self, value: Any) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise AgentDown(self.path, STRANGER)
        return value

    def lines(self, method: str, path: str, query: Query | None = None, body: Body = None) -> Iterator[Any]:
        """Send, and yield each line of the answer as JSON data, as it comes."""
        with self._ask(method, path, query, body, None) as answer:
            for line in answer.lines():
                try:
                    value = json.loads(line)
                except ValueError:
                    raise AgentDown(self.path, STRANGER) from None
                if isinstance(value, dict) and set(value) == {"error"}:
                    raise error_from(value["error"], 500)
                yield value

    def frames(self, path: str, query: Query | None = None) -> Iterator[tuple[int, bytes]]:
        """GET, and yield (stream, bytes) as they come."""
        with self._ask("GET", path, query, None, None) as answer:
            while header := answer.read_exactly(HEADER_BYTES, may_end=True):
                stream, length = header[0], int.from_bytes(header[4:], "big")
                if length > MAX_FRAME_BYTES:
                    raise AgentDown(self.path, "broke the protocol")
                content = answer.read_exactly(length)
                if stream == ERROR:
                    raise error_from(json.loads(content), 500)
                yield stream, content

    def session(self, path: str, query: Query | None = None, body: Body = None) -> Session:
        """POST and upgrade: a connection with frames both ways. The caller closes it."""
        answer = self._ask("POST", path, query, body, None, upgrade=True)
        return Session(answer)

    def _ask(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Body,
        timeout: float | None,
        *,
        upgrade: bool = False,
    ) -> Answer:
        connection = self._connect()
        try:
            target = PREFIX + quote(path, "/") + query_words(query)
            send_request(connection, self._host, method, target, body, upgrade)
            connection.settimeout(timeout)
            answer = Answer(connection, self.path)
            answer.read_head()
            if answer.status >= 400:
                raise refusal(answer)
        except TimeoutError as error:
            connection.close()
            raise errors.Temporary(
                "ask agent", path, f"no answer within {timeout:g} s", "see the agent's log"
            ) from error
        except OSError as error:
            connection.close()
            raise AgentDown(self.path, error.strerror or str(error)) from error
        except BaseException:
            connection.close()
            raise
        return answer

    @property
    def is_remote(self) -> bool:
        """On another host, which sees none of our files."""
        return "://" in self.path

    @property
    def _host(self) -> str:
        """Of the header: a TCP address has names of its own, at all others there is one agent."""
        return self.path.removeprefix("tcp://") if self.path.startswith("tcp://") else "setpoint"

    def _connect(self) -> socket | _socket.socket:
        if self.is_remote:
            from agent import remote

            try:
                return remote.connect(self.path)
            except OSError as error:
                raise AgentDown(self.path, error.strerror or str(error)) from error
        # What `socket` wraps, since that imports as much as all of this.
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(self.path)
        except PermissionError as error:
            connection.close()
            raise errors.Invalid(
                "ask agent", self.path, "permission denied", "use sudo, or be in the group setpoint"
            ) from error
        except OSError as error:
            connection.close()
            raise AgentDown(self.path, "no agent answers") from error
        return connection

    # --- verbs --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The contract of `setpoint status -o json`, and "source" beside it."""
        found = self._object(self.get("/status"))
        if "objects" not in found:
            raise AgentDown(self.path, STRANGER)
        return found

    def version(self) -> dict[str, Any]:
        return self._object(self.get("/version"))

    def objects(self, kind: str = "", project: str = "") -> list[dict[str, Any]]:
        """Describe all objects, of a kind or of a project."""
        return self._array(self.get("/objects", {"kind": kind or None, "project": project or None}))

    def describe(self, key: str) -> dict[str, Any]:
        """One object: spec, conditions, containers, file and line, last events."""
        return self._object(self.get(f"/objects/{key}"))

    def plan(self, files: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What the agent would do now; with files (path -> base64) what it would do if they were wanted."""
        if files is None:
            return self._object(self.get("/plan"))
        return self._object(self.post("/plan", body={"files": files}))

    def events(self, **query: Any) -> list[dict[str, Any]]:
        """key, project, since, until (Unix seconds), limit, after_id."""
        return self._array(self.get("/events", query))

    def follow_events(self, **query: Any) -> Iterator[dict[str, Any]]:
        """The same, and then each event as it is written, without an end."""
        return self.lines("GET", "/events", {**query, "follow": True})

    def why(self, key: str) -> dict[str, Any]:
        return self._object(self.get(f"/why/{key}"))

    def revisions(self, limit: int = 20) -> list[dict[str, Any]]:
        return self._array(self.get("/revisions", {"limit": limit}))

    def wait(self, key: str = "", condition: str = "ready", timeout_seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a key (or all) is ready, or until the time is over: {"met": bool, "status": …}."""
        query = {"key": key or None, "for": condition, "timeout": timeout_seconds}
        return self._object(self.get("/wait", query, timeout_seconds=timeout_seconds + 10.0))

    def sync(self, *, wait: bool = False, timeout_seconds: float = 300.0) -> dict[str, Any]:
        """Look at the source now; with wait, return when what it says is applied."""
        query = {"wait": wait, "timeout": timeout_seconds}
        return self._object(self.post("/sync", query, timeout_seconds=timeout_seconds + 10.0))

    def restart(self, key: str) -> dict[str, Any]:
        return self._object(self.post(f"/restart/{key}"))

    def suspend(self, key: str) -> dict[str, Any]:
        return self._object(self.post(f"/suspend/{key}"))

    def resume(self, key: str) -> dict[str, Any]:
        return self._object(self.post(f"/resume/{key}"))

    def import_volume(self, name: str, path: str) -> dict[str, Any]:
        """Copy a directory of the agent's host into a volume that is not there, or is empty. Root's alone."""
        body = {"name": name, "path": path}
        return self._object(self.post("/volume/import", body=body, timeout_seconds=7200.0))

    def override(self, key: str, what: str, seconds: float) -> dict[str, Any]:
        """Do it to the containers of what a manifest owns, and leave that alone for so long."""
        return self._object(self.post(f"/override/{key}", {"what": what, "for": seconds}))

    def adopt(
        self,
        key: str,
        path: str = "",
        project: str = "",
        *,
        hand_over: bool = False,
        declared: Iterable[str] = (),
    ) -> dict[str, Any]:
        """The manifest of what the Docker API made: {"key", "heir", "path", "text", "notes", "problems",
        "declares"}. hand_over: it takes over when it is there, unless there are problems. declared: what
        others that are not there yet declare."""
        body: dict[str, Any] = {"path": path, "project": project}
        body |= {"declared": known} if (known := list(declared)) else {}
        return self._object(self.post(f"/adopt/{key}", {"hand_over": hand_over}, body=body))

    def acknowledge_prune(self, revision: str = "") -> dict[str, Any]:
        """Yes to the waiting mass prune; revision "" is the present one."""
        return self._object(self.post("/prune/ack", {"revision": revision or None}))

    def down(self, *, volumes: bool = False) -> Iterator[dict[str, Any]]:
        """Remove what the instance runs; yields {"removed": key} lines and at last {"done": true}."""
        return self.lines("POST", "/down", {"volumes": volumes})

    def logs(
        self,
        key: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
        timestamps: bool = False,
        replica: int | None = None,
        prefix: bool = False,
    ) -> Iterator[tuple[int, bytes]]:
        """(1 stdout | 2 stderr, bytes), replicas merged by time. prefix: each line begins with its name."""
        query = {
            "follow": follow, "tail": tail, "since": since, "until": until,
            "timestamps": timestamps, "replica": replica, "prefix": prefix,
        }  # fmt: skip
        return self.frames(f"/logs/{key}", query)

    def exec(  # noqa: PLR0913
        self,
        key: str,
        argv: list[str],
        *,
        tty: bool = False,
        stdin: bool = False,
        user: str = "",
        working_dir: str = "",
        environment: tuple[str, ...] = (),
        replica: int = 1,
        size: tuple[int, int] | None = None,
    ) -> Session:
        """A process in a running container. size: (rows, columns) of the terminal."""
        rows, columns = size or (0, 0)
        body = {
            "argv": argv, "tty": tty, "stdin": stdin, "user": user, "working_dir": working_dir,
            "environment": list(environment), "rows": rows, "columns": columns,
        }  # fmt: skip
        return self.session(f"/exec/{key}", {"replica": replica}, body)

    def stats(self) -> list[dict[str, Any]]:
        return self._array(self.get("/stats"))

    def top(self, key: str) -> list[dict[str, Any]]:
        return self._array(self.get(f"/top/{key}"))

    def images(self) -> list[dict[str, Any]]:
        return self._array(self.get("/images"))

    def load_image(self, archive: str | Path | IO[bytes], *, force: bool = False) -> Iterator[dict[str, Any]]:
        """Take an archive: a path (root's agent opens it itself) or an open file. force: names of other
        images move. Yields progress; the last line is {"images": [...]}."""
        return self._send_archive("/image/load", archive, {"force": "1"} if force else {})

    def save_images(self, names: Sequence[str], form: str) -> Iterator[bytes]:
        """An archive of images, piece by piece; an error may come after the first."""
        return self._archive("/image/save", {"names": json.dumps(list(names)), "form": form})

    def export(self, key: str, replica: int | None = None) -> Iterator[bytes]:
        """The tar of a container's root, piece by piece; an error may come after the first."""
        return self._archive(f"/export/{key}", {"replica": replica})

    def diff(self, key: str, replica: int | None = None) -> list[dict[str, Any]]:
        """What a container changed of its image's files: {"kind", "path"}."""
        return self._array(self.get(f"/diff/{key}", {"replica": replica}, timeout_seconds=600.0))

    def commit(
        self, key: str, body: Mapping[str, Any], replica: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Make an image of a container: {"name", "changes", "message", "author", "pause", "force"}. Yields
        as load_image."""
        yield from self.lines("POST", f"/commit/{key}", {"replica": replica}, body)

    def _archive(self, path: str, query: Query) -> Iterator[bytes]:
        is_whole = False
        for _, content in self.frames(path, query):
            is_whole = not content
            yield content
        if not is_whole:
            raise AgentDown(self.path, "went away before the archive was whole")

    def pull_image(self, reference: str, *, platform: str = "") -> Iterator[dict[str, Any]]:
        """Fetch an image from its registry, for this host or a platform. Yields as load_image. To close the
        iterator gives it up, unless somebody else waits for it, too."""
        query = {"reference": reference, "platform": platform or None}
        yield from self.lines("POST", "/image/pull", query)

    def push_image(self, reference: str) -> Iterator[dict[str, Any]]:
        """Bring an image to its registry. Yields progress; the last line is {"pushed": {…}}."""
        yield from self.lines("POST", "/image/push", {"reference": reference})

    def tag_image(self, source: str, reference: str) -> dict[str, Any]:
        """Give an image another name."""
        return self._object(self.post("/image/tag", {"source": source, "reference": reference}))

    def inspect_image(self, reference: str, *, remote: bool = False, platform: str = "") -> dict[str, Any]:
        """All that is known of an image; remote: as its registry has it now, for this host or a platform."""
        query: Query = {"reference": reference, "remote": remote, "platform": platform or None}
        return self._object(self.get("/image/inspect", query, timeout_seconds=300.0))

    def image_tags(self, reference: str, *, limit: int = 1000) -> list[str]:
        """The tags that a registry has of a name."""
        query: Query = {"reference": reference, "limit": limit}
        tags = self._object(self.get("/image/tags", query, timeout_seconds=300.0)).get("tags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    def search_images(self, word: str, *, registry: str = "", limit: int = 25) -> list[dict[str, Any]]:
        """Repositories of a registry, the hub's when it is "", with a word in their names."""
        query: Query = {"word": word, "registry": registry or None, "limit": limit}
        return self._array(self.get("/image/search", query, timeout_seconds=300.0))

    def build_image(self, order: dict[str, Any], context: IO[bytes] | None) -> Iterator[dict[str, Any]]:
        """Build an image; context: a tar, for an order that says so. Yields {"build": id} and events; the
        last line is {"images": [...]}."""
        from agent.build_body import body_of  # late: `status` needs none of it

        yield from self.lines("POST", "/image/build", None, body_of(order, context))

    def builds(self) -> list[dict[str, Any]]:
        """Builds that were, newest first."""
        return self._array(self.get("/image/builds"))

    def build_log(self, id: str) -> Iterator[dict[str, Any]]:
        """{"build": {…}}, then the events of a build that was."""
        yield from self.lines("GET", f"/image/builds/{quote(id)}/log")

    def check_images(self, names: Sequence[str], *, repair: bool) -> Iterator[dict[str, Any]]:
        """Compare images, all when there is no name, with their digests. Yields progress and {"finding": …};
        the last line is {"checked": count}."""
        query = {"names": json.dumps(list(names)), **({"repair": "1"} if repair else {})}
        yield from self.lines("POST", "/image/check", query)

    def import_image(
        self, archive: str | Path | IO[bytes], name: str, changes: Sequence[str] = (), *, force: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Make an image of a root file system's tar; changes: instructions for its config. Yields as
        load_image."""
        more = {"changes": json.dumps(list(changes))} if changes else {}
        forced = {"force": "1"} if force else {}
        return self._send_archive("/image/import", archive, {"name": name, **more, **forced})

    def _send_archive(
        self, path: str, archive: str | Path | IO[bytes], query: dict[str, str]
    ) -> Iterator[dict[str, Any]]:
        if not isinstance(archive, str | os.PathLike):
            yield from self.lines("POST", path, query, archive)
        elif os.geteuid() == 0 and not self.is_remote:
            whole = os.path.abspath(archive)  # noqa: PTH100 - resolving links is the agent's part
            yield from self.lines("POST", path, {**query, "path": whole})
        else:
            with open(archive, "rb") as file:  # noqa: PTH123
                yield from self.lines("POST", path, query, file)

    def remove_image(self, reference: str, *, force: bool = False) -> dict[str, Any]:
        return self._object(self.post("/image/rm", {"reference": reference, "force": force}))

    def updates(self) -> list[dict[str, Any]]:
        """What was found newer than the images that manifests name."""
        return self._array(self.get("/image/updates"))

    def look_for_updates(self) -> list[dict[str, Any]]:
        """The same after the registries were asked now."""
        return self._array(self.post("/image/updates", timeout_seconds=600.0))

    def disk_use(self, seconds: float = 2.0) -> dict[str, Any]:
        """What the instance takes on disk, by kind; trees are counted within so many seconds."""
        query = {"seconds": seconds}
        found = self._object(self.get("/system/df", query, timeout_seconds=seconds + self.timeout_seconds))
        if "images" not in found:
            raise AgentDown(self.path, STRANGER)
        return found

    def plan_prune(self, **wishes: Any) -> dict[str, Any]:
        """all, volumes, until (seconds): {"things": […], "bytes": …}."""
        return self._things(self.get("/system/prune", wishes))

    def prune_system(self, **wishes: Any) -> dict[str, Any]:
        """The same, taken."""
        return self._things(self.post("/system/prune", wishes, timeout_seconds=3600.0))

    def _things(self, answer: Any) -> dict[str, Any]:
        found = self._object(answer)
        self._array(found.get("things"))
        return found

    def hold_image(self, reference: str, seconds: float, owner: str = "", id: str = "") -> dict[str, Any]:
        """A lease: the image is kept for that time."""
        query: Query = {
            "reference": reference, "seconds": seconds, "owner": owner or None, "id": id or None,
        }  # fmt: skip
        return self._object(self.post("/image/hold", query))

    def release_image(self, id: str) -> dict[str, Any]:
        return self._object(self.post("/image/release", {"id": id}))

    def image_leases(self) -> list[dict[str, Any]]:
        return self._array(self.get("/image/leases"))

    def networks(self) -> list[dict[str, Any]]:
        return self._array(self.get("/networks"))

    def volumes(self) -> list[dict[str, Any]]:
        return self._array(self.get("/volumes"))

    def remove_volume(self, name: str) -> dict[str, Any]:
        return self._object(self.post("/volume/rm", {"name": name}))

    def doctor(self) -> dict[str, Any]:
        """What only the agent knows: supervisor, store, source and loop, each with its state."""
        return self._object(self.get("/doctor"))
