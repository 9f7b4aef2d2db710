"""What a container's port of a bridge lets in: its own frames, and no others. The second table of
`firewall`, of family bridge. Pure.

    prerouting   before the bridge learns a MAC or passes anything on: from a guarded port only IPv4, ARP and
                 IPv6, by the MAC and an address that the port was given; an ARP says the same two inside, and
                 so does what an IPv6 neighbour is told (neighbour advertisement, RFC 4861)
    input        frames to 01:80:c2:00:00:0x are never passed on and do not meet prerouting, but the bridge
                 learns from them, and the host takes them as if they came by no bridge: none from there

A container has NET_RAW, and so may write whole frames. Without this it answers for its neighbours and for the
gateway, to its neighbours and to the host (CVE-2020-13401).

Of IPv6 pass by name: questions for a neighbour, without option or with the port's own MAC; answers for an
address of the port's own. No router advertisement and no redirect, whatever headers stand before it
(RFC 7113), no question of a multicast router, no answer of a DHCPv6 server, nothing whose headers cannot be
read to their end. A port without IPv6 has no element in honest6, so that no frame of it passes.

A port is guarded only if it is in the set: what its elements allow comes in the same transaction. Who has
NET_ADMIN may give itself addresses and MACs, as routers and those that take over an address do: such a
container's ports are not guarded (`book`).
"""

from __future__ import annotations

FAMILY = "bridge"
SETS = frozenset(("guarded", "honest4", "honest6"))

# Before what others have there, and before br_netfilter, which takes a frame through the rules for packets
# at priority 0 (linux/netfilter_bridge.h). A frame's type is read with its VLAN's tag: none with one passes.
#
# honest6 is looked up with the frame's source, and with what is inside of an answer: therefore by raw bits,
# which have no type (an older nftables has no name for a neighbour's target, either): the source's MAC at bit
# 48 of the link's header, its address at bit 64 of the network's; in ICMPv6 the target at bit 64, an option
# at 192, and the MAC in it at 208. A frame whose type cannot be read passes no line that names one; of
# a packet in fragments the first counts, without which the others are nothing.
TABLE = """
  set guarded { type ifname; }
  set honest4 { type ifname . ether_addr . ipv4_addr; }
  set honest6 { typeof iifname . @ll,48,48 . @nh,64,128; }

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
    ether type ip6 iifname . @ll,48,48 . @nh,64,128 @honest6 goto neighbour
    drop
  }
  chain neighbour {
    icmpv6 type 135 ip6 length 24 accept
    icmpv6 type 135 ip6 length 32 @th,192,16 0x0101 iifname . @th,208,48 . @nh,64,128 @honest6 accept
    icmpv6 type 136 ip6 length 24 iifname . @ll,48,48 . @th,64,128 @honest6 accept
    icmpv6 type 136 ip6 length 32 @th,192,16 0x0201 iifname . @th,208,48 . @th,64,128 @honest6 accept
    frag frag-off != 0 accept
    icmpv6 type != { 130, 133-137 } accept
    udp dport != 546 accept
    meta l4proto != { 17, 58 } accept
    drop
  }
"""  # noqa: E501
