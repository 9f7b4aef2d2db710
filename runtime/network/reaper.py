"""Deletes links without making anybody wait for the kernel. Used by `networks`.

RTM_DELLINK makes its caller wait for the end of an RCU grace period and more (22 ms here, whatever the
number of links in one request), so that links to be deleted are put into a link group, and the group
is deleted at once from a thread. The group's number is the instance's own.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.layout import Layout
from runtime.network import links
from runtime.network.netlink import Netlink, Request


class Reaper:
    """Has a netlink socket of its own, which one thread of its own uses."""

    def __init__(self, layout: Layout) -> None:
        self._netlink = Netlink()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reaper")
        # Far from the small numbers that people use (`ip link set group`).
        digest = hashlib.sha256(f"{layout.instance}/doomed".encode()).digest()
        self.group = int.from_bytes(digest[:4], "big") & 0x3FFFFFFF | 0x40000000

    def close(self) -> None:
        self._thread.shutdown()
        self._netlink.close()

    def port(self) -> int:
        return self._netlink.port()

    def doom(self, netlink: Netlink, indexes: Iterable[int]) -> None:
        """Put links into the group. One that vanished meanwhile is as good as deleted."""
        netlink.send([links.set_group(index, self.group) for index in indexes])

    def delete_now(self, *others: Request, names: Iterable[str] = ()) -> None:
        """Delete the group and the links of these names with it, carry out other deletions, and wait. What is
        gone already is no error."""
        doomed = [links.set_group_of(name, self.group) for name in names]
        for error in self._netlink.send([*doomed, links.delete_group(self.group), *others]):
            if error.errno != errno.ENODEV:
                raise error

    def finish(self, names: Sequence[str]) -> None:
        """Delete these and wait, behind what the thread does already."""
        self._thread.submit(self.delete_now, names=names).result()

    async def delete(self, *others: Request, names: Sequence[str] = ()) -> None:
        """As delete_now(), but the calling thread does not wait."""
        work = functools.partial(self.delete_now, *others, names=names)
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
