"""Where the things of one container lie on this host, for whoever reads them there: log shippers, dashboards,
`nsenter`. Called by the engine when a container is shown; looks at four paths and reads nothing.

What is not there has no path: a reader would find nothing, or what is another's by then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from runtime.images.snapshots import UPPER, WORK


@dataclass(frozen=True, slots=True)
class Places:
    """Paths; "" for what is not there. lower: its image's layers, the topmost first, and the places for
    mounts. upper, work: its writable layer, and overlayfs's own beside it. hosts, hostname, resolv: the files
    that it sees in its /etc. netns: its network namespace, by a bind mount. apparmor: its profile."""

    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    hosts: str = ""
    hostname: str = ""
    resolv: str = ""
    netns: str = ""
    apparmor: str = ""


def places_of(bundle: str, run: str, lower: tuple[str, ...], hosts: str, netns: str) -> Places:
    """bundle, run: its directories. hosts, netns: of its sandbox, "" in the host's network."""
    return Places(
        lower=lower,
        upper=f"{bundle}/{UPPER}",
        work=f"{bundle}/{WORK}",
        hosts=_if_there(hosts or f"{run}/hosts"),
        hostname=_if_there(f"{run}/hostname"),
        resolv=_if_there(f"{run}/resolv.conf"),
        netns=_if_there(netns),
    )


def _if_there(path: str) -> str:
    return path if path and os.path.exists(path) else ""  # noqa: PTH110 - strings all along, as in the bundle
