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
    Mutation("E7", GUARD, "@honest4 accept\n    drop\n", "@honest4 accept\n    ether type { ip, arp } drop\n", _SEES),
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
        "E7", BRIDGES, '{f"net.ipv6.conf.{name}.accept_ra": "0", ', "{",
        f"{_FRAMES}::test_e7_no_router_of_ipv6_is_believed",
    ),
    Mutation(
        "E7", BRIDGES, ', f"net.ipv6.conf.{name}.disable_ipv6": "1"}', "}",
        f"{_ISOLATION}::test_no_ipv6_where_the_network_has_none",
    ),
    Mutation(
        "E7", "runtime/network/sandboxes.py", "{**DEFAULT_SYSCTLS, **_NO_IPV6} if HAS_IPV6 else DEFAULT_SYSCTLS",
        "DEFAULT_SYSCTLS", f"{_ISOLATION}::test_no_ipv6_where_the_network_has_none",
    ),
)  # fmt: skip
