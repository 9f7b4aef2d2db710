"""Packed bytes to plain bytes: gzip, zstd, xz and bzip2, several members in a row, all bounded.

    file ─> [ thread: unpack, count, hash ] ─> queue ─> ByteStream ─> whoever parses

Called for layers and for packed archives. The thread is worth its start: ISA-L and SHA-256 leave the
interpreter lock, so that unpacking and writing files share two cores. Decides the packing by its
magic number, never by a name or a media type.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Literal, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from runtime import worker_bounds
from runtime.errors import Invalid
from runtime.images.content import Reader
from runtime.images.limits import DEFAULT_LIMITS, Limits

Packing = Literal["", "gzip", "zstd", "xz", "bzip2"]

_MAGIC: tuple[tuple[bytes, Packing], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    # A frame to skip, which pzstd writes first (RFC 8878, 3.1.2).
    *((bytes((number, 0x2A, 0x4D, 0x18)), "zstd") for number in range(0x50, 0x60)),
)
MAGIC_BYTES = 6
_INPUT_BYTES = 128 * 1024
_OUTPUT_BYTES = 512 * 1024
_QUEUED_CHUNKS = 6  # about 3 MiB between the threads
_GZIP_ERROR = cast("type[Exception]", igzip_lib.IsalError)  # its stub says that it is an instance
_DAMAGED = "the file is damaged or was cut off"


def detect_packing(head: bytes) -> Packing:
    """By the first MAGIC_BYTES bytes; "" is plain."""
    for magic, packing in _MAGIC:
        if head.startswith(magic):
            return packing
    return ""


def unpack_chunks(source: Reader, subject: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Plain chunks of a packed or plain stream. `Invalid` when it is damaged or over a limit."""
    counted = _Counted(source)
    head = counted.peek(MAGIC_BYTES)
    packing = detect_packing(head)
    produced = 0
    try:
        for chunk in _decoder(packing, limits)(counted):
            produced += len(chunk)
            check_limits(produced, counted.consumed, packing, subject, limits)
            yield chunk
    except (_GZIP_ERROR, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Invalid("unpack", subject, f"{packing} data: {error}", _DAMAGED) from None


class _Counted:
    """A reader that can look at its first bytes and knows how much was taken from it."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._head = b""
        self.consumed = 0

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._source.read(size - len(self._head))):
            self._head += more
        return self._head

    def read(self, n: int = -1, /) -> bytes:
        data, self._head = self._head, b""
        data = data or self._source.read(n)
        self.consumed += len(data)
        return data


def check_limits(produced: int, consumed: int, packing: Packing, subject: str, limits: Limits) -> None:
    if produced > limits.unpacked_bytes:
        raise Invalid(
            "unpack", subject, f"more than {limits.unpacked_bytes} bytes unpacked", "it looks like a bomb"
        )
    if packing and produced > limits.ratio_free_bytes and produced > consumed * limits.ratio:
        raise Invalid(
            "unpack", subject, f"unpacks to more than {limits.ratio} times its size", "it looks like a bomb"
        )


def _decoder(packing: Packing, limits: Limits) -> Callable[[Reader], Iterator[bytes]]:
    match packing:
        case "gzip":
            return _gzip_chunks
        case "zstd":
            return lambda source: _zstd_chunks(source, limits)
        case "xz":
            return lambda source: _member_chunks(
                source, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.window_bytes)
            )
        case "bzip2":
            return lambda source: _member_chunks(source, bz2.BZ2Decompressor)
        case _:
            return _plain_chunks


def _plain_chunks(source: Reader) -> Iterator[bytes]:
    while chunk := source.read(_OUTPUT_BYTES):
        yield chunk


def _gzip_chunks(source: Reader) -> Iterator[bytes]:
    """RFC 1952 allows members in a row; zeros after the last one are tape padding."""
    decoder, data, is_dry = isal_zlib.decompressobj(wbits=31), b"", False
    while True:
        if not data and not is_dry:
            data = source.read(_INPUT_BYTES)
            is_dry = not data
        chunk = decoder.decompress(data, _OUTPUT_BYTES)
        if chunk:
            yield chunk
        data = decoder.unconsumed_tail
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0")
            while not data and (more := source.read(_INPUT_BYTES)):
                data = more.lstrip(b"\0")
            if not data:
                return
            decoder, is_dry = isal_zlib.decompressobj(wbits=31), False
        elif is_dry and not chunk and not data:
            raise EOFError("ends in the middle")


class _Member(Protocol):
    """What bz2 and lzma decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _member_chunks(source: Reader, new: Callable[[], _Member]) -> Iterator[bytes]:
    decoder, data = new(), source.read(_INPUT_BYTES)
    while data or not decoder.needs_input:
        if chunk := decoder.decompress(data, _OUTPUT_BYTES):
            yield chunk
        data = b""
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0") or source.read(_INPUT_BYTES).lstrip(b"\0")
            if not data:
                return
            decoder = new()
        elif decoder.needs_input:
            data = source.read(_INPUT_BYTES)
    raise EOFError("ends in the middle")


def _zstd_chunks(source: Reader, limits: Limits) -> Iterator[bytes]:
    """The stream reader bounds its output, which 4 bytes of input may make 128 KiB long (RFC 8878). A
    frame that is cut off only ends early here: the tar's own end and the digest tell.
    """
    context = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
    file = cast("IO[bytes]", source)  # only its read() is called
    with context.stream_reader(
        file, read_size=_INPUT_BYTES, read_across_frames=True, closefd=False
    ) as reader:
        while chunk := reader.read(_OUTPUT_BYTES):
            yield chunk


class Pump:
    """Unpacks and hashes in a thread; iterate over it for the plain chunks.

    `digest` is that of the plain bytes, known once the iteration has ended. Use it as a context: on
    leaving early the thread is told and waited for.
    """

    def __init__(self, source: Reader, subject: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._chunks = unpack_chunks(source, subject, limits)
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED_CHUNKS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="unpack", daemon=True)
        self._hasher = hashlib.sha256()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hasher.hexdigest()

    def __enter__(self) -> Pump:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:  # a thread that waits for room must get it, or it never sees the flag
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        worker_bounds.leave_signals_to_main()
        try:
            for chunk in self._chunks:
                if self._stopped.is_set():
                    return
                self._hasher.update(chunk)
                self._queue.put(chunk)
            self._queue.put(None)
        except BaseException as error:  # handed over: the reading thread raises it
            self._queue.put(error)


class ByteStream:
    """Plain chunks as a stream that is read in exact lengths, without copying what is large. A chunk that is
    a view need last until the next one only."""

    def __init__(self, chunks: Iterator[bytes] | Iterator[memoryview]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._at = 0
        self._before = 0  # bytes of the chunks before this one

    @property
    def position(self) -> int:
        return self._before + self._at

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        at, end = self._at, self._at + size
        if end <= len(self._view):
            self._at = end
            return self._view[at:end].tobytes()
        return b"".join(map(bytes, self.take(size)))  # one by one: join() alone would first take them all

    def take(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes piece by piece; fewer at the end."""
        while size > 0:
            if self._at == len(self._view) and not self._next():
                return
            piece = self._view[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> int:
        """Returns how many bytes there were."""
        return sum(len(piece) for piece in self.take(size))

    def drain(self) -> int:
        """Read to the end. Returns how many bytes there were."""
        start = self.position
        while self._next():
            pass
        return self.position - start

    def _next(self) -> bool:
        chunk = next(self._chunks, None)
        self._before += len(self._view)
        self._view, self._at = memoryview(chunk or b""), 0
        return chunk is not None
