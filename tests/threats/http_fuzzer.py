"""Says made-up requests to an agent: several connections, each of which carries a batch of whole requests and
breaks off with one that is broken. What a seed says is said again by the same seed.

    python -m tests.threats.http_fuzzer SOCKET COUNT SEED
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.threats.made_up_requests import Made, Maker

THREADS = 24  # most of them wait
BATCH = 24
PATIENCE_SECONDS = 3.0  # for one answer: of a container that takes its time to stop, of a flood of others
LONGEST_SECONDS = 10.0  # for all of it, which may have no end: what was to be broken may be whole
LOOK_SECONDS = 0.02  # at the beginning of an answer that has no end
SHOWN_BYTES = 3000


@dataclass
class Report:
    """answers: by status, 0 for a connection that was closed without one. bugs: requests whose answer was a
    bug, with it."""

    sent: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    bugs: list[tuple[str, str]] = field(default_factory=list)

    def __iadd__(self, other: Report) -> Report:
        self.sent += other.sent
        self.answers += other.answers
        self.bugs += other.bugs
        return self


class Talk:
    """One connection."""

    def __init__(self, path: Path, report: Report) -> None:
        self._report = report
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self._connection.settimeout(PATIENCE_SECONDS)
        self._answers = io.BufferedReader(_Raw(self._connection))

    def close(self) -> None:
        self._connection.close()

    def say(self, requests: list[Made]) -> bool:
        """All at once; then the answers. Whether all came and the connection is still good."""
        self._report.sent += len(requests)
        with contextlib.suppress(OSError):
            self._connection.sendall(b"".join(each.data for each in requests))
            if not requests[-1].is_whole:
                self._connection.shutdown(socket.SHUT_WR)
        for each in requests:
            try:
                if not self._read(each):
                    return False
            except (OSError, ValueError):
                self._report.answers[0] += 1
                return False
        return True

    def look(self, request: Made) -> None:
        """At the beginning of an answer, and away."""
        self._report.sent += 1
        with contextlib.suppress(OSError):
            self._connection.sendall(request.data)
        self._connection.settimeout(LOOK_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            self._read(request)

    def _read(self, request: Made) -> bool:
        """One answer; False when the connection ends with it."""
        status = 100
        while status in (100, 102):
            line = self._answers.readline(1 << 16)
            if not line:
                self._report.answers[0] += 1
                return False
            status = int(line.split()[1])
            headers = dict(self._headers())
        self._report.answers[status] += 1
        body = b""
        if request.method != "HEAD" and status not in (101, 204, 304):
            body = self._content(headers)
        if status == 500:
            self._report.bugs.append((repr(request.data[:SHOWN_BYTES]), repr(body[:SHOWN_BYTES])))
        return request.is_whole and status != 101 and headers.get(b"connection") != b"close"

    def _headers(self) -> Iterator[tuple[bytes, bytes]]:
        while (line := self._answers.readline(1 << 16).strip()) != b"":
            name, _, value = line.partition(b":")
            yield name.lower(), value.strip().lower()

    def _content(self, headers: Mapping[bytes, bytes]) -> bytes:
        if headers.get(b"transfer-encoding") != b"chunked":
            return self._answers.read(int(headers.get(b"content-length", b"0")))
        found, end = b"", time.monotonic() + LONGEST_SECONDS
        while size := int(self._answers.readline(100), 16):
            if time.monotonic() > end:
                raise TimeoutError
            found = self._answers.read(size)
            self._answers.readline()
        self._answers.readline()
        return found


class _Raw(io.RawIOBase):
    """A socket whose timeout is an error each time, and not for ever as with `makefile`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.recv_into(buffer)


def talk(path: Path, seed: int) -> Report:
    """A connection's worth of requests, and those without an end on one each."""
    report, maker = Report(), Maker(seed)
    batch = []
    for _ in range(BATCH - 1):
        made, is_endless = maker.whole()
        if is_endless:
            with contextlib.closing(Talk(path, report)) as one:
                one.look(made)
        else:
            batch.append(made)
    while batch:
        with contextlib.closing(Talk(path, report)) as one:
            before = report.sent, sum(report.answers.values())
            if one.say(batch):
                one.say([maker.broken()])
                break
            answered = sum(report.answers.values()) - before[1]
            report.sent = before[0] + answered
            batch = batch[answered:]
    return report


def fuzz(path: Path, count: int, seed: int) -> Report:
    """At least so many requests."""
    whole, at = Report(), seed * 1_000_000_000
    with ThreadPoolExecutor(THREADS) as pool:
        while whole.sent < count:
            batches = min(400, (count - whole.sent) // BATCH + 1)
            for report in pool.map(functools.partial(talk, path), range(at, at + batches)):
                whole += report
            at += batches
    return whole


def main() -> None:
    begun = time.monotonic()
    report = fuzz(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    answers = {str(status): count for status, count in sorted(report.answers.items())}
    seconds = round(time.monotonic() - begun, 1)
    print(json.dumps({"sent": report.sent, "answers": answers, "seconds": seconds, "bugs": report.bugs[:50]}))


if __name__ == "__main__":
    main()
