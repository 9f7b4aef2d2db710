"""Ethernet frames as who has NET_RAW can write them, and a look at what arrives."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from runtime.network.networks import Networks

ETH_P_ALL, IPV4, ARP, IPV6, VLAN = 3, 0x0800, 0x0806, 0x86DD, 0x8100
BROADCAST, ALL_NODES, RESERVED = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:80:c2:00:00:03"
REQUEST, REPLY = 1, 2
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
MARK = b"the last one"
_QUIET_SECONDS = 0.05


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(to: str, source: str, kind: int, payload: bytes) -> bytes:
    return mac(to) + mac(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def arp(op: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """sender, target: (MAC, IPv4 address)."""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, op)
    return head + b"".join(mac(each) + socket.inet_aton(address) for each, address in (sender, target))


def udp(source: str, target: str, port: int, data: bytes) -> bytes:
    """An IPv4 packet with a datagram; without a checksum of that, which is allowed."""
    inner = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 0, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + inner


def icmp6(source: str, target: str, message: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    whole = ends + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6) + message
    message = message[:2] + struct.pack("!H", _checksum(whole)) + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + ends + message


def packet6(source: str, target: str, kind: int, content: bytes) -> bytes:
    """kind: of the first header in content."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack("!IHBB", 6 << 28, len(content), kind, 255) + ends + content


def behind(kind: int, packet: bytes, header: bytes = b"\0\1\4\0\0\0\0") -> bytes:
    """A packet of IPv6 with one more header at its front, of which `header` is all but what is next: as it
    stands, eight bytes of options that say nothing."""
    content = packet[6:7] + header + packet[40:]
    return packet[:4] + struct.pack("!HB", len(content), kind) + packet[7:40] + content


def udp6(source: str, target: str, ports: tuple[int, int], data: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    inner = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    checksum = _checksum(ends + struct.pack("!II", len(inner), socket.IPPROTO_UDP) + inner)
    inner = inner[:6] + struct.pack("!H", checksum) + inner[8:]
    return packet6(source, target, socket.IPPROTO_UDP, inner)


def neighbour_solicitation(of: str, at: str) -> bytes:
    """at: the MAC of who asks, "" for a question that does not say."""
    option = struct.pack("!BB", 1, 1) + mac(at) if at else b""
    return struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, of) + option


def redirect(target: str, to: str) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, target) + socket.inet_pton(socket.AF_INET6, to)
    return struct.pack("!BBHI", 137, 0, 0, 0) + ends


def listener_query() -> bytes:
    return struct.pack("!BBHHH", 130, 0, 0, 1000, 0) + bytes(16) + struct.pack("!BBH", 2, 125, 0)


def router_advertisement(prefix: str) -> bytes:
    """A router's word for a prefix, for half an hour."""
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + socket.inet_pton(
        socket.AF_INET6, prefix
    )
    return struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option


def neighbour_advertisement(of: str, at: str) -> bytes:
    return (
        struct.pack("!BBHI", 136, 0, 0, 0x20000000)
        + socket.inet_pton(socket.AF_INET6, of)
        + struct.pack("!BB", 2, 1)
        + mac(at)
    )


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@contextlib.contextmanager
def wire(networks: Networks, sandbox: str, interface: str = "eth0") -> Iterator[socket.socket]:
    """A socket for whole frames on an interface of a sandbox."""
    made = networks.socket_in(sandbox, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with made:
        made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        made.bind((interface, ETH_P_ALL))
        made.settimeout(5)
        yield made


def until_marked(listening: socket.socket) -> list[bytes]:
    """What arrives up to the frame that ends with MARK, and a moment longer: frames that are sent on another
    processor may be overtaken."""
    found: list[bytes] = []
    while MARK not in (found or [b""])[-1]:
        found.append(listening.recv(2048))
    listening.settimeout(_QUIET_SECONDS)
    end = time.monotonic() + _QUIET_SECONDS
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end:
            found.append(listening.recv(2048))
    listening.settimeout(5)
    return [each for each in found if MARK not in each]
