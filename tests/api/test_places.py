"""Where an inspection says that things of a container lie on the host: they are there, and are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.api.host import Host

FILES = {"ResolvConfPath": "/etc/resolv.conf", "HostnamePath": "/etc/hostname", "HostsPath": "/etc/hosts"}
LOOK = ("busybox", "sleep", "1000")


def inspected(host: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = host.http("GET", f"/containers/{name}/json").json
    return found


def test_of_what_never_ran_there_is_a_root_alone(either: Host, name: str) -> None:
    either.docker("create", "--name", name, *LOOK)
    made = inspected(either, name)
    assert [made[each] for each in FILES] == ["", "", ""]
    assert made["NetworkSettings"]["SandboxKey"] == made["NetworkSettings"]["SandboxID"] == ""
    assert Path(made["GraphDriver"]["Data"]["UpperDir"]).is_dir()


def test_its_own_files_are_where_it_says(either: Host, name: str) -> None:
    either.docker("run", "-d", "--network", "none", "--hostname", "box", "--name", name, *LOOK)
    view = inspected(either, name)
    for field, inside in FILES.items():
        assert Path(view[field]).read_text() == either.docker("exec", name, "cat", inside).stdout, field
    assert Path(view["HostnamePath"]).read_text() == "box\n"
    either.docker("stop", "-t", "0", name)
    ended = inspected(either, name)
    assert all(Path(ended[field]).is_file() for field in FILES if ended[field])


def test_its_layers_are_where_it_says(either: Host, name: str) -> None:
    either.docker("run", "-d", "--network", "none", "--name", name, *LOOK)
    either.docker("exec", name, "sh", "-c", "echo mine > /written")
    data = inspected(either, name)["GraphDriver"]["Data"]
    assert Path(data["UpperDir"], "written").read_text() == "mine\n"
    assert Path(data["WorkDir"]).is_dir()
    lower = [Path(each) for each in data["LowerDir"].split(":")]
    assert all(each.is_dir() for each in lower)
    assert any((each / "bin" / "sh").is_symlink() or (each / "bin" / "sh").is_file() for each in lower)
    either.agrees("the place where a container's whole root is mounted", "MergedDir" in data, True)


def test_its_network_namespace_is_where_it_says(either: Host, name: str) -> None:
    either.docker("run", "-d", "--network", "none", "--name", name, *LOOK)
    view = inspected(either, name)
    own = Path(f"/proc/{view['State']['Pid']}/ns/net").stat()
    found = Path(view["NetworkSettings"]["SandboxKey"]).stat()
    assert (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def test_of_who_shares_anothers_network(either: Host, name: str) -> None:
    either.docker("run", "-d", "--network", "none", "--name", name, *LOOK)
    either.docker("run", "-d", "--network", f"container:{name}", "--name", f"{name}-too", *LOOK)
    one, other = inspected(either, name), inspected(either, f"{name}-too")
    assert other["HostsPath"] == one["HostsPath"] != ""
    keys = [each["NetworkSettings"]["SandboxKey"] for each in (one, other)]
    either.agrees("the namespace of who shares another's network", keys[0] == keys[1], True)


def test_of_who_is_in_the_hosts_network(either: Host, name: str) -> None:
    either.docker("run", "-d", "--network", "host", "--name", name, *LOOK)
    view = inspected(either, name)
    inside = either.docker("exec", name, "cat", "/etc/hosts").stdout
    assert Path(view["HostsPath"]).read_text() == inside
    key = view["NetworkSettings"]["SandboxKey"]
    either.agrees("a bind mount of the host's own network namespace", key != "", True)


def test_a_log_that_is_not_dockers_json_has_no_path(either: Host, name: str) -> None:
    """Who reads that path parses JSON. What dockerd's "local" driver writes has none, either."""
    either.docker("run", "--network", "none", "--name", name, "busybox", "echo", "said")
    either.agrees("the path of a log", inspected(either, name)["LogPath"] != "", True)
    assert either.docker("logs", name).stdout == "said\n"
