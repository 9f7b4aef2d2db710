"""Mutations of what holds a container to its own MAC and address: see `mutations`."""

from __future__ import annotations

from tests.threats.mutation import Mutation

GUARD, FIREWALL, BOOK = "runtime/network/guard.py", "runtime/network/firewall.py", "runtime/network/book.py"
TABLE, BUILDING, BRIDGES = (
    "runtime/network/table.py",
    "runtime/network/building.py",
    "runtime/network/bridges.py",
)
_FRAMES, _ROUTERS = "tests/threats/test_e07_spoofing.py", "tests/threats/test_e07_routers.py"
_SEES = f"{_FRAMES}::test_e7_a_neighbour_sees_nothing_and_believes_nothing"
_SIX, _KERNEL6 = "tests/threats/test_e07_ipv6.py", "tests/kernel/network/test_ipv6.py"
_ELEMENTS = "tests/kernel/network/test_set_elements.py"
_ISOLATION = "tests/kernel/network/test_isolation.py"
_DAMAGE = "tests/kernel/network/test_drift.py::test_damage_is_found_and_put_back"

SPOOFING = (
    Mutation("E7", GUARD, "    iifname @guarded goto honest\n", "", _SEES),
    Mutation(
        "E7", GUARD, "    ether type ip iifname . ether saddr . ip saddr @honest4 accept\n",
        "    ether type ip accept\n", _SEES,
    ),
    Mutation("E7", GUARD, " iifname . ether saddr . arp saddr ip @honest4 iifname", " iifname", _SEES),
    Mutation("E7", GUARD, " iifname . arp saddr ether . arp saddr ip @honest4 accept", " accept", _SEES),
    Mutation("E7", GUARD, "goto neighbour\n    drop\n", "goto neighbour\n    ether type { ip, arp } drop\n", _SEES),
    Mutation(
        "E7", GUARD, "    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 iifname @guarded drop\n", "",
        f"{_FRAMES}::test_e7_frames_that_a_bridge_keeps_teach_it_nothing_and_reach_nobody",
    ),
    Mutation("E7", BOOK, "        return set() if self._is_router(record.id) else _guards(record)\n", "        return set()\n", _SEES),
    Mutation(
        "E7", BOOK, "        return set() if self._is_router(record.id) else _guards(record)\n",
        "        return _guards(record)\n", f"{_ROUTERS}::test_e7_only_who_may_change_its_interfaces_sends_as_another",
    ),
    Mutation(
        "E7", "runtime/security.py", '        return "CAP_NET_ADMIN" in capabilities(add, drop, privileged)\n',
        "        return True\n", f"{_ROUTERS}::test_e7_only_who_may_change_its_interfaces_sends_as_another",
    ),
    Mutation(
        "E7", "runtime/life.py", "            self._index.drop(entry)\n            self._settle_guard(entry.config)\n",
        "            self._index.drop(entry)\n", f"{_ROUTERS}::test_e7_who_shares_a_network_with_a_router_is_one",
    ),
    Mutation(
        "E7", "runtime/container_index.py", "        routers.discard(entry.config.id)\n", "",
        f"{_ROUTERS}::test_e7_who_shares_a_network_with_a_router_is_one",
    ),
    Mutation(
        "E7", BUILDING, "        _guard(instance, early)\n", "",
        f"{_FRAMES}::test_e7_an_interface_to_come_is_guarded_before_it_is_there",
    ),
    Mutation(
        "E7", TABLE, "        except (FirewallError, OSError):\n", "        except FirewallError:\n",
        f"{_ELEMENTS}::test_what_somebody_took_away_is_written_anew",
    ),
    Mutation(
        "E7", "runtime/network/set_elements.py", "        found += value + bytes(-len(value) % 4)\n",
        "        found += value\n", f"{_ELEMENTS}::test_what_one_puts_in_the_other_takes_out",
    ),
    Mutation(
        "E7", "runtime/network/netlink.py", "                    if refused is not None:\n                        raise refused\n                    return\n",
        "                    return\n", f"{_ELEMENTS}::test_all_of_a_transaction_or_nothing",
    ),
    Mutation(
        "E7", TABLE, "        if not reason:\n            raise\n", "",
        f"{_FRAMES}::test_e7_a_transaction_that_fails_for_another_reason_is_no_such_kernel",
    ),
    Mutation(
        "E7", TABLE, "    except FirewallError:\n        reason = can_guard(library, name)\n",
        '    except ValueError:\n        reason = ""\n',
        f"{_FRAMES}::test_e7_a_kernel_that_cannot_guard_runs_containers_all_the_same",
    ),
    Mutation("E7", TABLE, "        guarding = library.list_table(guard.FAMILY, name)\n", "        pass\n", _DAMAGE),
    Mutation(
        "E7", FIREWALL, "        text += _replaced(guard.FAMILY, table, guard.TABLE)\n",
        '        text += f"table {guard.FAMILY} {table} {{{guard.TABLE}}}\\n"\n', _DAMAGE,
    ),
    # What stood there before: by the host's routes, and no IPv6.
    Mutation(
        "E7", FIREWALL, "    iifname @bridges meta nfproto ipv4 fib saddr . iif oif missing drop\n", "",
        f"{_ISOLATION}::test_container_does_not_send_by_anothers_address",
    ),
    Mutation(
        "E7", BRIDGES, '{f"net.ipv6.conf.{name}.accept_ra": "0"}', "dict[str, str]()",
        f"{_FRAMES}::test_e7_no_router_of_ipv6_is_believed",
    ),
    Mutation(
        "E7", BRIDGES, '{f"net.ipv6.conf.{name}.disable_ipv6": str(int(not has_ipv6))}', "{}",
        f"{_ISOLATION}::test_no_ipv6_where_the_network_has_none",
    ),
    Mutation(
        "E7", "runtime/network/sandboxes.py", "{**DEFAULT_SYSCTLS, **_NO_IPV6} if HAS_IPV6 else DEFAULT_SYSCTLS",
        "DEFAULT_SYSCTLS", f"{_ISOLATION}::test_no_ipv6_where_the_network_has_none",
    ),
    # On a network with IPv6.
    *(Mutation("E7", GUARD, old, new, f"{_SIX}::test_e7_nobody_sees_or_believes_what_is_not_a_containers_own") for old, new in (
        ("    ether type ip6 iifname . @ll,48,48 . @nh,64,128 @honest6 goto", "    ether type ip6 goto"),
        (" @th,192,16 0x0101 iifname . @th,208,48 . @nh,64,128 @honest6 accept", " accept"),
        (" ip6 length 24 iifname . @ll,48,48 . @th,64,128 @honest6 accept", " ip6 length 24 accept"),
        (" @th,192,16 0x0201 iifname . @th,208,48 . @th,64,128 @honest6 accept", " accept"),
        (" ip6 length 32 @th,192,16 0x0201", " @th,192,16 0x0201"),
        ("    icmpv6 type != { 130, 133-137 } accept\n", "    icmpv6 type != 255 accept\n"),
        ("!= { 130, 133-137 }", "!= 133-137"),
        ("!= { 130, 133-137 }", "!= { 130, 133, 135-137 }"),
        ("!= { 130, 133-137 }", "!= { 130, 133-136 }"),
        ("    udp dport != 546 accept\n", "    udp dport != 1 accept\n"),
        ("    meta l4proto != { 17, 58 } accept\n", "    meta l4proto != 17 accept\n"),
        ("    icmpv6 type 136 ip6 length 24", "    icmpv6 type 136 ip6 length 23"),
    )),
    Mutation(
        "E7", BOOK, "(each.ipv6, addresses.link_local_of(each.mac))", "(each.ipv6,)",
        f"{_SIX}::test_e7_nobody_sees_or_believes_what_is_not_a_containers_own",
    ),
    Mutation(
        "E7", BOOK, "        if each.ipv6:\n            found.update(guarding6(", "        if False:\n            found.update(guarding6(",
        f"{_SIX}::test_e7_nobody_sees_or_believes_what_is_not_a_containers_own",
    ),
    Mutation(
        "E7", "runtime/network/sandboxes.py", 'settings = {"accept_ra": "0", ', "settings = {",
        f"{_SIX}::test_e7_the_attacks_of_ipv6_are_attacks",
    ),
    Mutation(
        "E7", "runtime/network/sandboxes.py", "for wire in wires if wire.endpoint.ipv6]", "for wire in wires]",
        f"{_KERNEL6}::test_a_network_of_each_kind",
    ),
    Mutation(
        "E7", FIREWALL, "    iifname @bridges6 meta nfproto ipv6 fib saddr . iif oif missing drop\n", "",
        f"{_SIX}::test_e7_nobody_outside_is_sent_to_by_anothers_address",
    ),
    Mutation(
        "E7", FIREWALL, "    iifname != @bridges ip6 daddr @subnets6 ip6 daddr != @routed6 drop\n", "",
        f"{_SIX}::test_e7_nobody_outside_names_a_containers_address",
    ),
    Mutation(
        "E7", FIREWALL, "ip6 daddr != ::1 fib daddr", "fib daddr",
        f"{_KERNEL6}::test_who_calls_localhost_is_refused_by_ipv6_and_led_by_ipv4",
    ),
    Mutation(
        "E7", BRIDGES, '    namespaces.write_sysctls({f"net.ipv6.conf.{name.replace(\'.\', \'/\')}.accept_ra": "2" for name in kept})\n', "",
        f"{_KERNEL6}::test_a_host_that_heard_of_its_way_out_by_a_router_goes_on_to",
    ),
    Mutation(
        "E7", "runtime/network/ports.py", "    if found.is_loopback:\n", "    if False:\n",
        f"{_KERNEL6}::test_addresses_that_nothing_is_published_on",
    ),
    Mutation(
        "R28", BOOK, "for each in ports.by_family(port, has_ipv6))\n\n    def bound_config", "for each in (port,))\n\n    def bound_config",
        f"{_KERNEL6}::test_a_port_is_held_in_both_families",
    ),
)  # fmt: skip
