"""The client's files, fetched by its session into a tar in a file without a name. No file of the client's is
made on this host by that: whoever unpacks the tar holds it to the bounds of archives.

    STATs ─> headers, and where each file's bytes go ─> REQ … ─> DATA, written where they belong
"""

from __future__ import annotations

import array
import asyncio
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from agent.api.docker.buildkit import packets
from agent.api.docker.buildkit.grpc import Call, open_call
from agent.api.docker.buildkit.http2 import Http2
from agent.api.docker.buildkit.packets import FileStatus, Packet
from runtime.errors import Invalid, Temporary

METHOD = "/moby.filesync.v1.FileSync/DiffCopy"
MAX_ENTRIES = 1_000_000
MAX_BYTES = 16 << 30
MAX_HEADER_BYTES = 256 * 1024  # of patterns: Go's servers take a megabyte of headers
_BLOCK = 512
_ASKED_AT_ONCE = 64
_BATCH_BYTES = 1 << 20
_ZEROS = bytes(2 * _BLOCK)
Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FilesWish:
    """name: of what the client shares (context, dockerfile). excludes: patterns of `.dockerignore`. follow:
    those paths alone, and what their links lead to; () takes all. most_bytes: of all files."""

    name: str
    excludes: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    most_bytes: int = MAX_BYTES

    def metadata(self) -> list[tuple[str, str]]:
        found = [("dir-name", self.name)]
        if sum(map(len, self.excludes)) <= MAX_HEADER_BYTES:  # more of it than is wanted does no harm
            found += _words("exclude-patterns", self.excludes)
        if sum(map(len, self.follow)) <= MAX_HEADER_BYTES:
            found += _words("followpaths", self.follow)
        return found


def _words(name: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """gRPC's headers hold ASCII: what is more is encoded, and says so."""
    if all(value.isascii() and value.isprintable() for value in values):
        return [(name, value) for value in values]
    return [
        *((name, quote_plus(value, errors="surrogateescape")) for value in values),
        (f"{name}-encoded", "1"),
    ]


async def fetch_files(
    http2: Http2, wish: FilesWish, directory: Path, report: Report = lambda size: None
) -> int:
    """A descriptor of the tar, which the caller closes. directory: on the disk that it is to take room of.
    `Invalid` for what is hostile, GrpcError for what the client says, Temporary for a full disk."""
    descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        async with open_call(http2, METHOD, wish.metadata()) as call:
            await _Fetch(call, descriptor, wish, report).run()
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, ConnectionError):
            raise
        raise Temporary("read files", str(directory), error.strerror or str(error)) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class _Fetch:
    def __init__(self, call: Call, descriptor: int, wish: FilesWish, report: Report) -> None:
        self._call = call
        self._descriptor = descriptor
        self._wish = wish
        self._report = report
        self._end = 0  # of the tar so far
        self._count = 0
        self._total = 0
        self._received = 0
        self._ids = array.array("L")  # of files, by when they came
        self._places: dict[
            int, tuple[int, int]
        ] = {}  # id that was asked for -> where its next byte goes, its end
        self._starts = array.array("Q")
        self._sizes = array.array("Q")
        self._batch: list[tuple[int, bytes]] = []
        self._batch_bytes = 0

    async def run(self) -> None:
        while (status := (await self._next(packets.STAT)).status) is not None:
            await self._add(status)
        await self._write(self._end, _ZEROS)
        await self._flush()
        await self._take_content()
        await self._call.send(packets.write_packet(packets.FIN))
        await self._next(packets.FIN)

    async def _next(self, *wanted: int) -> Packet:
        data = await self._call.receive()
        if data is None:
            raise ConnectionResetError("the client ended the transfer of files")
        packet = packets.read_packet(data)
        if packet.kind == packets.ERR:
            raise Invalid("read files", self._wish.name, packet.data.decode("utf-8", "replace")[:1000])
        if packet.kind not in wanted:
            raise Invalid("read files", self._wish.name, f"a packet of the kind {packet.kind} out of turn")
        return packet

    # --- what there is

    async def _add(self, status: FileStatus) -> None:
        id = self._count
        self._count += 1
        if self._count > MAX_ENTRIES:
            raise Invalid("read files", self._wish.name, f"more than {MAX_ENTRIES} files")
        header = header_of(status)
        if header is None:
            return
        await self._write(self._end, header)
        self._end += len(header)
        if status.kind == "file":
            self._room_for(id, status)

    def _room_for(self, id: int, status: FileStatus) -> None:
        self._total += status.size
        if self._total > self._wish.most_bytes:
            raise Invalid("read files", self._wish.name, f"over {self._wish.most_bytes} bytes")
        self._ids.append(id)
        self._starts.append(self._end)
        self._sizes.append(status.size)
        self._end += -(-status.size // _BLOCK) * _BLOCK

    # --- what is in it

    async def _take_content(self) -> None:
        asked = 0
        for _ in range(len(self._ids)):
            while asked < len(self._ids) and len(self._places) < _ASKED_AT_ONCE:
                await self._ask(asked)
                asked += 1
            await self._take_one()
        await self._flush()

    async def _ask(self, number: int) -> None:
        start = self._starts[number]
        self._places[self._ids[number]] = (start, start + self._sizes[number])
        await self._call.send(packets.write_packet(packets.REQ, self._ids[number]))

    async def _take_one(self) -> None:
        """Until some file is whole."""
        while True:
            packet = await self._next(packets.DATA)
            place = self._places.get(packet.id)
            if place is None:
                raise Invalid("read files", self._wish.name, "content that nobody asked for")
            here, end = place
            if not packet.data:
                del self._places[packet.id]
                if here != end:
                    raise self._changed()
                return
            if len(packet.data) > end - here:
                raise self._changed()
            self._places[packet.id] = (here + len(packet.data), end)
            await self._write(here, packet.data)
            self._received += len(packet.data)
            self._report(self._received)

    def _changed(self) -> Invalid:
        return Invalid("read files", self._wish.name, "a file changed while it was sent", "build again")

    async def _write(self, place: int, data: bytes) -> None:
        self._batch.append((place, data))
        self._batch_bytes += len(data)
        if self._batch_bytes >= _BATCH_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            await asyncio.to_thread(_write_batch, self._descriptor, batch)


def _write_batch(descriptor: int, batch: list[tuple[int, bytes]]) -> None:
    for place, data in batch:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, place)
            place += written
            view = view[written:]


_TYPES = {
    "file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE,
}  # fmt: skip


def header_of(status: FileStatus) -> bytes | None:
    """Of a tar, in GNU's form. None for what a context cannot hold: devices, pipes and sockets."""
    kind = _TYPES.get(status.kind)
    if kind is None:
        return None
    info = tarfile.TarInfo(status.path)
    info.type, info.mode, info.linkname = kind, status.mode, status.link
    info.size = status.size if status.kind == "file" else 0
    info.mtime = max(0, status.modified_ns // 10**9)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
