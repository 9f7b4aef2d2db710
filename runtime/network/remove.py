"""Removes every trace that an instance left in the network, from its names alone.

Called by `setpoint down` and by tests, when there may be no record left to read. Links are known by their
alias, namespaces by their directory, the firewall by the table's name.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from runtime.errors import Unsupported
from runtime.layout import Layout
from runtime.network import bridges, links, namespaces
from runtime.network.failures import translated
from runtime.network.netlink import Netlink
from runtime.network.reaper import Reaper
from runtime.network.table import Table


def remove_all(layout: Layout) -> None:
    """Delete the links, network namespaces, hosts files, run records and the nftables table of an instance.

    Its networks' records under the data directory stay. May be repeated; nothing when nothing is there.
    """
    with translated("remove", f"networks of {layout.instance}"):
        _remove_namespaces(layout.netns)
        _remove_links(layout)
        table = Table(layout.nft_table)
        with contextlib.suppress(Unsupported):  # without the library there never was a table
            table.delete()
        table.close()
        for directory in (layout.run / "sandboxes", layout.run / "hosts"):
            shutil.rmtree(directory, ignore_errors=True)


def _remove_namespaces(directory: Path) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            namespaces.remove(str(path))
        directory.rmdir()


def _remove_links(layout: Layout) -> None:
    reaper = Reaper(layout)
    with Netlink() as netlink:
        found = map(links.read_link, netlink.dump(links.get_links()))
        ours = [link.index for link in found if bridges.is_ours(layout, link)]
        if ours:
            reaper.doom(netlink, ours)
            reaper.delete_now()
    reaper.close()
