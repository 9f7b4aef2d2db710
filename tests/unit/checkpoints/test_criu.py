"""How CRIU is called, found and understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.checkpoints import criu

LOG = """\
(00.123) Warn  (criu/x.c:1): nothing to worry about
(00.200) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.223)      1: Error (criu/mount.c:31): mnt: No mapping for /a\x1b[31m
(00.224) Error (criu/cr-dump.c:2111): Dumping FAILED.
"""


def test_the_last_errors_are_told_in_one_safe_line() -> None:
    assert criu.told(LOG) == "mnt: No mapping for /a?[31m; Dumping FAILED."
    assert criu.told("") == criu.told("(00.1) Warn (x): y") == "its log names no error"
    assert len(criu.told("\n".join(f"(0.1) Error (a.c:1): {'x' * 400}" for _ in range(9)))) == 300


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("sockets: Can't get 1:34 opt: Operation not supported", "4.2"),
        ("sockets: Can't get 1:16 opt: Operation not supported", "4.2"),
        ("Can't get rlimit 0: Operation not permitted", "CAP_SYS_RESOURCE"),
        ("Can't get 1:167 opt", ""),
        ("Dumping FAILED.", ""),
    ],
)
def test_what_can_be_done_about_it(words: str, hint: str) -> None:
    assert (hint in criu.advice(words)) and (bool(criu.advice(words)) == bool(hint))


def test_versions() -> None:
    assert criu.parse_version("Version: 4.1.1\nGitID: v4\n") == (4, 1)
    assert criu.parse_version("no such thing") == ()
    assert criu.is_too_old((4, 1), (6, 16)) and not criu.is_too_old((4, 2), (6, 18))
    assert not criu.is_too_old((4, 1), (6, 15))


def test_a16_only_a_program_that_root_alone_can_write_is_run(tmp_path: Path) -> None:
    program = tmp_path / "criu"
    program.write_text("#!/bin/sh\n")
    places = (str(tmp_path / "none"), str(program))
    for mode, found in ((0o755, True), (0o775, False), (0o757, False), (0o644, False)):
        program.chmod(mode)
        assert bool(criu.find_program(places)) is (found and program.stat().st_uid == 0), oct(mode)
    assert criu.find_program((str(tmp_path),)) == ""
    assert all(place.startswith("/usr/") for place in criu.PLACES)


def test_the_commands_name_each_thing_alike() -> None:
    dump = criu.dump_command(
        "/criu", 7, "/i", "/cg", ["/data", "/etc/hosts"], ["file[a:b]", "net[5]:network"]
    )
    restore = criu.restore_command(
        "/criu", "/i", "/root", "/work", {"file[a:b]": 10, "network": 11}, ["/s/m0", "/s/m1"]
    )
    assert dump[:6] == ["/criu", "dump", "--no-default-config", "-t", "7", "-D"]
    assert " ".join(dump).endswith(
        "--external mnt[/data]:m0 --external mnt[/etc/hosts]:m1 "
        "--external file[a:b] --external net[5]:network"
    )
    assert " ".join(restore).endswith(
        "--external mnt[m0]:/s/m0 --external mnt[m1]:/s/m1 "
        "--inherit-fd fd[10]:file[a:b] --inherit-fd fd[11]:network"
    )
    same = {"--manage-cgroups=ignore", "--tcp-close", "--file-locks", "--no-default-config"}
    assert same <= set(dump) and same <= set(restore)
    assert "--leave-running" in dump and "--freeze-cgroup" in dump  # it is ended by whoever asked for that


@pytest.mark.parametrize("path", ["/a]b", "/a[b", "/a:b", "/a\\b", "/a\nb"])
def test_a_path_that_would_be_more_than_one_word_of_an_option_is_none(path: str) -> None:
    assert not criu.is_plain(path)
    assert criu.is_plain("/a b/c-d_e.f,g")
