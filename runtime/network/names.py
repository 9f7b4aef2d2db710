"""The hosts file and the resolv.conf of a sandbox, as text. Pure, but for the last two functions.

`networks` writes them; containers get them by bind mount, so they are rewritten in place. Names come
from manifests and images: what is not a host name is left out, so that no line can be forged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from runtime.errors import Invalid

LOCAL_LINE = "127.0.0.1\tlocalhost\n"
LOCAL_IPV6_LINES = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
HOST_GATEWAY = "host-gateway"  # the word of docker's --add-host
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")
_MAX_SERVERS = 3  # MAXNS of resolv.conf(5)
_NO_UPSTREAM = "# no server: this network has no way out\n"


def is_name(name: str) -> bool:
    """Whether it can stand in a hosts file: no blank, no line end, no comment sign."""
    return _NAME.fullmatch(name) is not None


def host_line(address: str, names: Iterable[str]) -> str:
    """One line of a hosts file, or "" when no name is one. Each name once, in order."""
    shown = " ".join(dict.fromkeys(name for name in names if is_name(name)))
    return f"{address}\t{shown}\n" if shown else ""


def extra_lines(extra_hosts: Sequence[tuple[str, str]], gateway: str) -> str:
    """Lines of `extra_hosts`, (name, address); the address `host-gateway` is the host's own."""
    lines = []
    for name, address in extra_hosts:
        chosen = gateway if address == HOST_GATEWAY else address
        if not chosen:
            continue
        try:
            ip_address(chosen)
        except ValueError:
            raise Invalid("add host", name, f"{address!r} is not an address", f"or {HOST_GATEWAY}") from None
        if not is_name(name):
            raise Invalid("add host", name, f"{name!r} is not a host name")
        lines.append(host_line(chosen, [name]))
    return "".join(lines)


def hosts_file(own: str, peers: Iterable[str], extra: str, *, has_ipv6: bool = True) -> str:
    """The whole file. own, peers, extra: lines as above; its own names come before its peers'.
    has_ipv6: lo has ::1; else localhost must not be it, which programs try first."""
    local = LOCAL_LINE + LOCAL_IPV6_LINES if has_ipv6 else LOCAL_LINE
    return local + own + extra + "".join(peers)


def resolv_conf(
    host: str, *, servers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = (),
    has_way_out: bool = True, own_network: bool = True,
) -> str:  # fmt: skip
    """A resolv.conf from the host's and the container's own dns words.

    host: the content of the host's file. own_network: the container has a network of its own, where
    127.0.0.0/8 of the host answers nobody. has_way_out False: no server, since the host's resolver
    would carry questions out for it (CVE-2024-29018).
    """
    found_servers, found_search, found_options = _read(host)
    if not own_network:
        chosen = list(servers) or found_servers
    elif not has_way_out:
        chosen = list(servers)
    else:
        chosen = list(servers) or [server for server in found_servers if not _is_local(server)]
    lines = [f"nameserver {server}\n" for server in chosen[:_MAX_SERVERS] if _is_address(server)]
    domains = [domain for domain in (search or found_search) if domain == "." or is_name(domain)]
    if domains and domains != ["."]:
        lines.append(f"search {' '.join(domains)}\n")
    words = [word for word in (options or found_options) if word and not re.search(r"\s", word)]
    if words:
        lines.append(f"options {' '.join(words)}\n")
    return "".join(lines) if chosen else _NO_UPSTREAM + "".join(lines)


def servers_of(host: str) -> list[str]:
    """The name servers in a resolv.conf that a container's network can reach."""
    return [server for server in _read(host)[0] if not _is_local(server)]


def _read(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = domains  # the last one counts, resolv.conf(5)
            case ["options", *words]:
                options += words
    return servers, search, options


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_local(server: str) -> bool:
    """Loopback, or an address that means nothing without the host's own link (fe80::1%eth0)."""
    try:
        address = ip_address(server.partition("%")[0])
    except ValueError:
        return True
    return address.is_loopback or address.is_unspecified or address.is_link_local


def read_host_resolv_conf() -> str:
    """The host's resolv.conf; behind a local resolver that containers cannot reach, what it asks.

    systemd-resolved keeps the real servers in a file of its own (systemd-resolved.service(8)).
    """
    text = _read_file("/etc/resolv.conf")
    if servers_of(text):
        return text
    real = _read_file("/run/systemd/resolve/resolv.conf")
    return real if servers_of(real) else text


def _read_file(path: str) -> str:
    try:
        with open(path, "rb", 0) as file:  # noqa: PTH123 (for every start)
            return file.read().decode(errors="replace")
    except OSError:
        return ""
