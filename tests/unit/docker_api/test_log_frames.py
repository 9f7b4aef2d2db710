"""What is sent of a log, beside the record by record reading of `runtime.logs`."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.log_frames import LogFramer, stamp_of
from runtime.errors import Invalid
from runtime.logs import parse

BOTH = frozenset(("stdout", "stderr"))
STAMPS = [f"2026-07-24T10:00:0{second}.123456789Z" for second in range(5)]
PACK = struct.Struct("!BxxxI").pack


def block(*records: tuple[str, str, bytes]) -> bytes:
    """(stamp, "stdout F", text) as a log file has them."""
    return b"".join(f"{stamp} {kind} ".encode() + text + b"\n" for stamp, kind, text in records)


THREE = block((STAMPS[0], "stdout F", b"a"), (STAMPS[1], "stderr F", b"b"), (STAMPS[2], "stdout F", b""))


def test_a_frame_for_each_line() -> None:
    assert (
        LogFramer(BOTH, framed=True).frames(THREE)
        == PACK(1, 2) + b"a\n" + PACK(2, 2) + b"b\n" + PACK(1, 1) + b"\n"
    )
    assert LogFramer(frozenset(("stderr",)), framed=True).frames(THREE) == PACK(2, 2) + b"b\n"
    assert LogFramer(BOTH, framed=False).frames(THREE) == b"a\nb\n\n"
    assert LogFramer(frozenset(), framed=True).frames(THREE) == b""


def test_heads() -> None:
    framer = LogFramer(BOTH, framed=False, timestamps=True)
    assert framer.frames(THREE) == f"{STAMPS[0]} a\n{STAMPS[1]} b\n{STAMPS[2]} \n".encode()
    assert LogFramer(BOTH, framed=False, details="").frames(THREE) == b" a\n b\n \n"
    assert LogFramer(BOTH, framed=False, details="k=v").frames(THREE) == b"k=v a\nk=v b\nk=v \n"


def test_a_line_in_pieces_has_one_head_over_blocks_too() -> None:
    framer = LogFramer(BOTH, framed=False, timestamps=True)
    first = framer.frames(block((STAMPS[0], "stdout P", b"one ")))
    second = framer.frames(block((STAMPS[1], "stderr F", b"other"), (STAMPS[1], "stdout F", b"line")))
    assert first + second == f"{STAMPS[0]} one {STAMPS[1]} other\nline\n".encode()


@pytest.mark.parametrize(
    ("since", "until", "texts", "is_past"),
    [
        ("", "", b"a\nb\n\n", False),
        (STAMPS[1], "", b"b\n\n", False),
        ("", STAMPS[1], b"a\nb\n", True),
        (STAMPS[1], STAMPS[1], b"b\n", True),
        (STAMPS[3], "", b"", False),
        ("", STAMPS[4], b"a\nb\n\n", False),
    ],
)
def test_a_span_of_time(since: str, until: str, texts: bytes, is_past: bool) -> None:
    framer = LogFramer(BOTH, framed=False, since=since, until=until)
    assert framer.frames(THREE) == texts
    assert framer.is_past == is_past


def test_what_is_damaged_is_left_out() -> None:
    damaged = b"no record\n" + THREE + b"2026-07-24T10:00:00.123456789Z stdxxx F a\n\n"
    assert LogFramer(BOTH, framed=False).frames(damaged) == b"a\nb\n\n"
    assert LogFramer(BOTH, framed=False, timestamps=True).frames(damaged).count(b"\n") == 3


_records = st.tuples(
    st.sampled_from(STAMPS),
    st.sampled_from(["stdout F", "stderr F", "stdout P", "stderr P"]),
    st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")),
)


@given(st.lists(_records, min_size=1), st.sampled_from(["", *STAMPS]), st.sampled_from(["", *STAMPS]))
def test_the_fast_way_is_the_slow_way(records: list[tuple[str, str, bytes]], since: str, until: str) -> None:
    records = sorted(records, key=lambda record: record[0])
    data = block(*records)
    found = [record for record in map(parse, data[:-1].split(b"\n")) if record is not None]
    wanted = [r for r in found if r.stamp >= since and (not until or r.stamp <= until)]
    texts = [(r.stream, r.text + (b"" if r.is_partial else b"\n")) for r in wanted]
    framed = b"".join(PACK(1 if stream == "stdout" else 2, len(text)) + text for stream, text in texts)
    assert LogFramer(BOTH, framed=True, since=since, until=until).frames(data) == framed


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("", ""),
        ("0", ""),
        ("1753351200", "2025-07-24T10:00:00.000000000Z"),
        ("1753351200.000000001", "2025-07-24T10:00:00.000000001Z"),
        ("1753351200.5", "2025-07-24T10:00:00.500000000Z"),
        ("2025-07-24T12:00:00+02:00", "2025-07-24T10:00:00.000000000Z"),
        ("10s", "1970-01-01T00:16:30.000000000Z"),
    ],
)
def test_moments(text: str, stamp: str) -> None:
    assert stamp_of(text, 1000.0) == stamp


@pytest.mark.parametrize(
    "text", ["x", "inf", "nan", "-1", "1e300", "999999999999", "10 s", "1753351200.0000000001x"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(Invalid):
        stamp_of(text, 1000.0)
