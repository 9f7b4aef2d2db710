"""What a container's port of a bridge lets in: its own frames, and no others. The second table of
`firewall`, of family bridge. Pure.

    prerouting   before the bridge learns a MAC or passes anything on: from a guarded port only IPv4 and ARP,
                 by the MAC and the address that the port was given; an ARP says the same two inside
    input        frames to 01:80:c2:00:00:0x are never passed on and do not meet prerouting, but the bridge
                 learns from them, and the host takes them as if they came by no bridge: none from there

A container has NET_RAW, and so may write whole frames. Without this it answers for its neighbours and for the
gateway, to its neighbours and to the host (CVE-2020-13401 for IPv6, which is off: no frame of it passes).

A port is guarded only if it is in the set: what its elements allow comes in the same transaction. Who has
NET_ADMIN may give itself addresses and MACs, as routers and those that take over an address do: such a
container's ports are not guarded (`book`).
"""

from __future__ import annotations

FAMILY = "bridge"
SETS = frozenset(("guarded", "honest4"))

# Before what others have there, and before br_netfilter, which takes a frame through the rules for packets
# at priority 0 (linux/netfilter_bridge.h). A frame's type is read with its VLAN's tag: none with one passes.
TABLE = """
  set guarded { type ifname; }
  set honest4 { type ifname . ether_addr . ipv4_addr; }

  chain ingress {
    type filter hook prerouting priority -300; policy accept;
    iifname @guarded goto honest
  }
  chain reserved {
    type filter hook input priority -300; policy accept;
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 iifname @guarded drop
  }
  chain honest {
    ether type ip iifname . ether saddr . ip saddr @honest4 accept
    arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . ether saddr . arp saddr ip @honest4 iifname . arp saddr ether . arp saddr ip @honest4 accept
    drop
  }
"""  # noqa: E501
