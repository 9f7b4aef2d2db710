"""What a build is given that is in no repository: read when it begins, by no link that leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.source.build_secrets import MAX_SECRET_BYTES, find_sockets, read_secrets
from runtime.build_recipe import SecretSource
from runtime.errors import Invalid, NotFound, SetpointError


def test_files_and_variables(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"of a file\n\xff")
    (tmp_path / "link").symlink_to("token")
    (tmp_path / "empty").touch()
    sources = {
        "file": SecretSource(file=str(tmp_path / "token")),
        "link": SecretSource(file=str(tmp_path / "link")),
        "empty": SecretSource(file=str(tmp_path / "empty")),
        "variable": SecretSource(environment="T"),
        "nothing": SecretSource(environment="EMPTY"),
    }
    assert read_secrets(sources, {"T": "of a variable", "EMPTY": ""}) == {
        "file": b"of a file\n\xff",
        "link": b"of a file\n\xff",
        "empty": b"",
        "variable": b"of a variable",
        "nothing": b"",
    }


def test_what_is_not_there_is_named_and_nothing_else(tmp_path: Path) -> None:
    for source, said in (
        (SecretSource(environment="NONE"), "no variable NONE"),
        (SecretSource(file=str(tmp_path / "none")), "none: No such file"),
    ):
        with pytest.raises(NotFound, match=rf"read secret t: .*{said}"):
            read_secrets({"t": source}, {"HOME": "/", "OTHER": "value"})


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(Invalid, match="is not a regular file"):
            read_secrets({"t": SecretSource(file=str(path))}, {})


def test_a_bound_on_its_size(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * MAX_SECRET_BYTES)
    source = SecretSource(file=str(tmp_path / "large"))
    assert len(read_secrets({"t": source}, {})["t"]) == MAX_SECRET_BYTES
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    with pytest.raises(Invalid, match="longer than"):
        read_secrets({"t": source}, {})


def test_d5_no_link_leads_out_of_what_a_policy_allows(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    allowed = tmp_path / "allowed"
    (allowed / "in").mkdir(parents=True)
    (allowed / "plain").write_text("plain")
    (allowed / "near").symlink_to("in/../plain")
    (allowed / "up").symlink_to("../outside")
    (allowed / "whole").symlink_to(tmp_path / "outside")
    (allowed / "by").symlink_to(tmp_path)

    def read(name: str, below: Path) -> bytes:
        return read_secrets({"t": SecretSource(str(allowed / name), below=str(below))}, {})["t"]

    assert read("plain", allowed) == read("near", allowed) == read("plain", allowed / "plain") == b"plain"
    assert read("plain", Path("/")) == b"plain"
    for name, below in (
        ("up", allowed),
        ("whole", allowed),
        ("by/outside", allowed),
        ("up", allowed / "up"),
        ("whole", allowed / "whole"),
    ):
        with pytest.raises(SetpointError):
            read(name, below)


def test_sockets_of_ssh_agents() -> None:
    wanted = {"default": "", "deploy": "/run/agent.sock"}
    assert find_sockets(wanted, {"SSH_AUTH_SOCK": "/run/own"}) == {
        "default": "/run/own",
        "deploy": "/run/agent.sock",
    }
    assert find_sockets({"deploy": "/run/agent.sock"}, {}) == {"deploy": "/run/agent.sock"}
    with pytest.raises(NotFound, match=r"find ssh agent default: .*without an ssh agent"):
        find_sockets(wanted, {})
