"""Takes apart what a connection that is over would leave going round in circles, so that it is freed at once,
with its descriptor's object, buffers and request, and not when the garbage collector next looks: of a
thousand clients that break off, that was megabytes. Used by `ways.Inbound`.
"""

from __future__ import annotations

import asyncio
from typing import Any


def forget_place(error: BaseException | None) -> None:
    """Where an error was raised: the frames there hold the connection, or the request, that holds it. For
    errors of which nobody asks where, as what the client sent is no HTTP, or it is gone."""
    if error is not None:
        error.__traceback__ = None


def let_go(transport: asyncio.BaseTransport | None) -> None:
    """A transport has its own reader as a bound method, which asyncio itself takes away from Python 3.12 on,
    where the transport is closed: by 3.11 alone a test notices where this is not called. Nothing more is read
    of this one."""
    kept: Any = transport
    if getattr(kept, "_read_ready_cb", None) is not None:
        kept._read_ready_cb = None
