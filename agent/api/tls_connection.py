"""One connection under TLS whose halves end one by one, as clients of attach and exec need. Called by `ways`.

asyncio's own TLS closes both halves with the first.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import AppProtocolState, SSLProtocol
from typing import Any


class TlsConnection(SSLProtocol):
    """asyncio's TLS, but that a client may end its half (close_notify) and still be answered, as docker does
    for each stream without input. Who is gone sends FIN too, and that is the end."""

    _app_protocol: Any
    _app_state: AppProtocolState

    max_size = 65536  # of a buffer that each connection has

    def __init__(self, app: asyncio.Protocol, context: ssl.SSLContext, handshake_seconds: int) -> None:
        loop = asyncio.get_running_loop()
        nobody: Any = None  # waits for the handshake
        super().__init__(loop, app, context, nobody, True, ssl_handshake_timeout=handshake_seconds)
        self._is_half = self._is_reading = False

    def _do_read(self) -> None:
        self._is_reading = True
        try:
            super()._do_read()  # type: ignore[misc]
        finally:
            self._is_reading = False

    def _call_eof_received(self, *arguments: Any) -> None:
        if self._app_state is not AppProtocolState.STATE_CON_MADE:
            return
        self._app_state = AppProtocolState.STATE_EOF
        try:
            self._is_half = bool(self._app_protocol.eof_received())
        except Exception as error:
            self._fatal_error(error, "the end of a half")

    def _start_shutdown(self, *arguments: Any) -> None:
        """Asked for by the reader at a close_notify, and by whoever closes the transport."""
        if not (self._is_half and self._is_reading):
            super()._start_shutdown(*arguments)
