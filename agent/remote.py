"""The way to an agent on another host, for the command line: tcp://HOST:PORT with a client's certificate, or
ssh://[USER@]HOST, where `setpoint dial-stdio` is run. Called by `client`, which gets a plain socket of this
host either way: a pump between the two, in this process or in ssh, does the rest.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from runtime.errors import Invalid
from runtime.tls_client import client_context

OP = "reach agent"
CONNECT_SECONDS = 15.0
PIECE_BYTES = 65536
CERTIFICATES = ("SETPOINT_CERT_PATH", "DOCKER_CERT_PATH")


def connect(address: str) -> socket.socket:
    """Invalid for what is no address or has no certificates; OSError when nobody is there."""
    scheme, _, rest = address.partition("://")
    if scheme == "tcp":
        return _over_tls(address)
    if scheme == "ssh" and rest and not rest.startswith("-"):
        return _over_ssh(address)
    raise Invalid(OP, address[:80], "not an address of an agent", "tcp://HOST:2376 or ssh://USER@HOST")


def _over_ssh(address: str) -> socket.socket:
    """The port and the user stand in the URL as ssh(1) takes it."""
    ours, theirs = socket.socketpair()
    with theirs:
        subprocess.Popen(
            ["ssh", "-T", "-o", "ConnectTimeout=15", "--", address, "setpoint", "dial-stdio"],
            stdin=theirs.fileno(), stdout=theirs.fileno(),
        )  # fmt: skip
    return ours


def _over_tls(address: str) -> socket.socket:
    from agent.api.listen import read_address

    found = read_address(address)
    plain = socket.create_connection((found.host, found.port), CONNECT_SECONDS)
    try:
        connection = _context().wrap_socket(plain, server_hostname=found.host)
    except BaseException:
        plain.close()
        raise
    ours, theirs = socket.socketpair()
    threading.Thread(target=_pump, args=(connection, theirs), daemon=True).start()
    return ours


def _context() -> ssl.SSLContext:
    place = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), "")
    if not place:
        hint = "SETPOINT_CERT_PATH=DIR with ca.pem, cert.pem and key.pem, of `setpoint tls client NAME` there"
        raise Invalid(OP, "", "no certificate to show", hint)
    directory = Path(place)
    try:
        context = client_context(str(directory / "ca.pem"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    except OSError as error:
        raise Invalid(OP, str(directory), error.strerror or str(error), "ca.pem, cert.pem, key.pem") from None
    return context


def _pump(connection: ssl.SSLSocket, local: socket.socket) -> None:
    """One thread for both ways: an SSL connection must not be read and written at once."""
    with connection, local, contextlib.suppress(OSError), selectors.DefaultSelector() as ready:
        ready.register(connection, selectors.EVENT_READ, connection)
        ready.register(local, selectors.EVENT_READ, local)
        connection.settimeout(None)
        while True:
            for key, _ in ready.select():
                source, sink = (connection, local) if key.data is connection else (local, connection)
                data = source.recv(PIECE_BYTES)
                if not data:
                    return
                sink.sendall(data)
                while source is connection and connection.pending():
                    sink.sendall(connection.recv(PIECE_BYTES))
