"""Who follows a log over many rotations holds two files open, and not all that there ever were."""

from __future__ import annotations

from pathlib import Path

from runtime.logs import NAME, LogQuery, follow_logs


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_rotated_file_is_let_go(tmp_path: Path) -> None:
    log = tmp_path / NAME
    log.write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F line 0\n")
    seen: list[bytes] = []
    following = follow_logs(tmp_path, LogQuery(), lambda: len(seen) < 50)
    before = open_files()
    async for batch in following:
        seen += [record.text for record in batch]
        if len(seen) < 50:
            log.rename(tmp_path / f"{NAME}.1")
            log.write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F line %d\n" % len(seen))
        assert open_files() <= before + 3
    assert seen == [b"line %d" % n for n in range(50)]
    assert open_files() == before
