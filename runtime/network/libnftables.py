"""libnftables by ctypes: run a script as one transaction, and list a table as JSON.

Called by `firewall`'s applier in `networks`; `nft`, the program, is never started. The library is
loaded at the first use. Knows no rule. See libnftables(3) and libnftables-json(5).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from typing import Any

from runtime.errors import SetpointError, Unsupported

_OUTPUT_STATELESS = 1 << 2
_OUTPUT_JSON = 1 << 4
_OUTPUT_NUMERIC = (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10)  # protocol, priority, symbol, time
_NAMES = ("libnftables.so.1", "libnftables.so")


class FirewallError(SetpointError):
    """The kernel or the library refused a transaction; nothing of it was done."""


class Nftables:
    """One library context with its socket, in the network namespace of whoever makes it. Not for several
    threads."""

    def __init__(self) -> None:
        self._library = _load()
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_output_set_flags(
            self._context, _OUTPUT_JSON | _OUTPUT_STATELESS | _OUTPUT_NUMERIC
        )

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)

    def run(self, script: str, what: str) -> None:
        """All commands of a script (nft(8)) in one transaction. FirewallError when any is refused."""
        failure = self._run(script.encode())
        if failure is not None:
            raise FirewallError("change firewall", what, failure or "refused by the kernel")

    def check(self, script: str) -> str:
        """Why a transaction would be refused by the kernel, "" when it would not. Nothing of it is done."""
        self._library.nft_ctx_set_dry_run(self._context, True)
        try:
            failure = self._run(script.encode())
        finally:
            self._library.nft_ctx_set_dry_run(self._context, False)
        return "" if failure is None else failure or "refused by the kernel"

    def list_table(self, family: str, name: str) -> list[dict[str, Any]] | None:
        """The objects of a table, without counters' state, or None when there is no such table."""
        command = {"nftables": [{"list": {"table": {"family": family, "name": name}}}]}
        failure = self._run(json.dumps(command).encode())
        if failure is not None:
            if "No such file" in failure:
                return None
            raise FirewallError("list firewall table", name, failure)
        text = self._library.nft_ctx_get_output_buffer(self._context)
        objects: list[dict[str, Any]] = json.loads(text)["nftables"] if text else []
        return objects

    def _run(self, text: bytes) -> str | None:
        """None when it went well, else what the library said."""
        if self._library.nft_run_cmd_from_buffer(self._context, text) == 0:
            return None
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
        return "; ".join(line for line in lines if line.startswith(("Error", "internal"))) or " ".join(lines)


def _load() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        context, text = ctypes.c_void_p, ctypes.c_char_p
        library.nft_ctx_new.restype = context
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [context]
        library.nft_ctx_set_dry_run.argtypes = [context, ctypes.c_bool]
        library.nft_ctx_buffer_output.argtypes = [context]
        library.nft_ctx_buffer_error.argtypes = [context]
        library.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
        library.nft_run_cmd_from_buffer.argtypes = [context, text]
        library.nft_ctx_get_output_buffer.argtypes = [context]
        library.nft_ctx_get_output_buffer.restype = text
        library.nft_ctx_get_error_buffer.argtypes = [context]
        library.nft_ctx_get_error_buffer.restype = text
        return library
    raise Unsupported(
        "load", "libnftables", "the library is not installed", "install nftables (libnftables1)"
    )
