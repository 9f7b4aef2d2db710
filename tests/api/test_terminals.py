"""docker run -it, exec -it and attach, by the real CLI on a real terminal."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.api.terminal import on_terminal
from tests.e2e.story import eventually


def _state(http: Http, name: str) -> dict[str, Any]:
    found: dict[str, Any] = http("GET", f"/containers/{name}/json").json["State"]
    return found


def test_run_with_a_terminal(host: Host, http: Http, name: str) -> None:
    with on_terminal(
        host.environment, "docker", "run", "--network", "none", "-it", "--name", name, "busybox", "sh"
    ) as shell:
        shell.expect(b"/ # ")
        shell.type(b"tty; echo a$((20+3))b\n")
        shell.expect(b"/dev/pts/0")
        shell.expect(b"a23b")
        shell.resize(31, 77)
        shell.type(b"while [ \"$(stty size)\" != '31 77' ]; do :; done; echo res''ized\n")
        shell.expect(b"resized")
        shell.type(b"exit 5\n")
        assert shell.wait() == 5
    assert _state(http, name)["ExitCode"] == 5
    assert _state(http, name)["Status"] == "exited"  # stopped, not removed


def test_a_terminal_and_rm(host: Host, http: Http, name: str) -> None:
    words = (
        "docker",
        "run",
        "--network",
        "none",
        "-it",
        "--rm",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "read a; echo got-$a",
    )
    with on_terminal(host.environment, *words) as shell:
        shell.type(b"word\n")
        shell.expect(b"got-word")
        assert shell.wait() == 0
    assert http("GET", f"/containers/{name}/json").status == 404


def test_ctrl_c_reaches_the_program(host: Host, name: str) -> None:
    script = "trap 'echo in''terrupted; exit 9' INT; echo rea''dy; while :; do sleep 0.05; done"
    with on_terminal(
        host.environment,
        "docker",
        "run",
        "--network",
        "none",
        "-it",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        script,
    ) as it:
        it.expect(b"ready")
        it.type(b"\x03")
        it.expect(b"interrupted")
        assert it.wait() == 9


@pytest.mark.parametrize(("option", "typed"), [((), b"\x10\x11"), (("--detach-keys", "ctrl-a,a"), b"\x01a")])
def test_detach_and_attach_again(
    host: Host, http: Http, name: str, option: tuple[str, ...], typed: bytes
) -> None:
    words = ("docker", "run", "--network", "none", "-it", *option, "--name", name, "busybox", "sh")
    with on_terminal(host.environment, *words) as shell:
        shell.expect(b"/ # ")
        shell.type(b"word=kept; echo rea''dy\n")
        shell.expect(b"ready")
        shell.type(typed)
        assert shell.wait() == 0
    assert _state(http, name)["Running"]
    with on_terminal(host.environment, "docker", "attach", *option, name) as shell:
        shell.type(b"echo again-$word\n")
        shell.expect(b"again-kept")
        shell.type(b"exit 4\n")
        assert shell.wait() == 4


def test_keys_that_begin_like_the_detach_keys_arrive(host: Host, name: str) -> None:
    with on_terminal(
        host.environment, "docker", "run", "--network", "none", "-it", "--name", name, "busybox", "sh"
    ) as shell:
        shell.expect(b"/ # ")
        shell.type(b"echo rea''dy; cat > /typed\n")
        shell.expect(b"ready")
        shell.type(b"\x10x\x10\n\x04")
        shell.type(b"od -c /typed | head -1; echo do''ne\n")
        shell.expect(b"020   x 020")
        shell.expect(b"done")
        shell.type(b"exit\n")
        assert shell.wait() == 0


def test_exec_with_a_terminal(host: Host, http: Http, name: str) -> None:
    host.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
    words = ("docker", "exec", "-it", "-e", "WORD=given", "-w", "/etc", name, "sh")
    with on_terminal(host.environment, *words) as shell:
        shell.expect(b"/etc # ")
        shell.type(b"echo in-$WORD; tty\n")
        shell.expect(b"in-given")
        shell.expect(b"/dev/pts/")
        [id] = http("GET", f"/containers/{name}/json").json["ExecIDs"]
        shown = http("GET", f"/exec/{id}/json").json
        assert (shown["Running"], shown["ExitCode"], shown["ProcessConfig"]["tty"]) == (True, None, True)
        shell.resize(40, 99)
        shell.type(b"while [ \"$(stty size)\" != '40 99' ]; do :; done; echo res''ized\n")
        shell.expect(b"resized")
        shell.type(b"exit 6\n")
        assert shell.wait() == 6
    assert http("GET", f"/exec/{id}/json").json["ExitCode"] == 6
    assert not http("GET", f"/containers/{name}/json").json["ExecIDs"]


def test_who_detaches_from_an_exec_leaves_it_running(host: Host, http: Http, name: str) -> None:
    host.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
    with on_terminal(host.environment, "docker", "exec", "-it", name, "sh") as shell:
        shell.expect(b"/ # ")
        shell.type(b"(while [ ! -e /go ]; do yes | head -c 100000; done; touch /gone) & wait; exit 7\n")
        [id] = http("GET", f"/containers/{name}/json").json["ExecIDs"]
        shell.type(b"\x10\x11")
        shell.wait()
    assert http("GET", f"/exec/{id}/json").json["Running"]
    host.docker("exec", name, "touch", "/go")
    assert eventually(lambda: http("GET", f"/exec/{id}/json").json["ExitCode"], "it ends") == 7
    host.docker("exec", name, "test", "-e", "/gone")


def test_an_exec_is_of_the_size_of_its_terminal_from_the_beginning(http: Http, host: Host, name: str) -> None:
    host.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
    body = {"Cmd": ["stty", "size"], "Tty": True, "AttachStdout": True, "ConsoleSize": [33, 44]}
    id = http("POST", f"/containers/{name}/exec", body).json["Id"]
    connection, answer = http.stream("POST", f"/exec/{id}/start", {"Tty": True})
    assert answer.read() == b"33 44\r\n"
    connection.close()
