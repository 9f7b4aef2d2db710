"""Records of processes: whole or not there, and never another process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from runtime.supervisor import adoption, records


def test_a_record_comes_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    records.write(str(tmp_path), "x.json", {"pid": 1, "name": "é"})
    assert records.read(str(tmp_path), "x.json") == {"pid": 1, "name": "é"}
    (tmp_path / "x.json").write_text('{"pid":')
    assert records.read(str(tmp_path), "x.json") is None
    (tmp_path / "x.json").write_text("[]")
    assert records.read(str(tmp_path), "x.json") is None
    records.remove(str(tmp_path), "x.json")
    records.remove(str(tmp_path), "x.json")
    assert records.read(str(tmp_path), "x.json") is None


def test_a_link_in_place_of_a_record_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('{"pid":1}')
    (tmp_path / "x.json").symlink_to(tmp_path / "real")
    assert records.read(str(tmp_path), "x.json") is None


def test_a_process_is_known_by_more_than_its_number() -> None:
    record = {"pid": os.getpid(), "start_time": records.start_time(os.getpid()), "boot_id": records.boot_id()}
    pidfd = adoption.open_pidfd(record)
    assert pidfd >= 0
    os.close(pidfd)
    assert adoption.open_pidfd({**record, "start_time": 1}) == -1
    assert adoption.open_pidfd({**record, "boot_id": "another"}) == -1
    assert adoption.open_pidfd({**record, "pid": 0}) == -1


def test_a_zombie_tells_how_it_ended() -> None:
    with subprocess.Popen(["sh", "-c", "exit 7"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        started = records.start_time(child.pid)
        assert started is not None
        status = records.zombie_status(child.pid, started)
        assert status is not None and os.waitstatus_to_exitcode(status) == 7
        assert records.zombie_status(child.pid, started + 1) is None
    assert records.start_time(child.pid) is None
    assert records.zombie_status(os.getpid(), records.start_time(os.getpid()) or 0) is None
