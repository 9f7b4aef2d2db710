"""Whom a client of ours takes for the server that it means: a registry, an agent on another host, a server of
files for builds.
"""

from __future__ import annotations

import ssl


def client_context(authority: str | None = None) -> ssl.SSLContext:
    """A server shows a certificate for its name, of an authority in this file, or of the system's. As with
    clients in Go, and with Python before 3.13, an authority need not say what its key is for: those that
    people make for themselves with `openssl req -x509` do not. And the file may hold one below the root."""
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
