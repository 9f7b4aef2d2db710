"""`setpoint tls`: certificates for the way in by TCP. Shows where they are and what to tell a client; makes
them by agent.certificates."""

from __future__ import annotations

import datetime
import os
from argparse import Namespace
from pathlib import Path

from agent.cli import output
from agent.cli.parser import Parser
from agent.settings import tls_path
from runtime.errors import Invalid


def add_tls(parser: Parser) -> None:
    parser.examples(
        "setpoint tls init --host engine.example.org    once; then setpoint agent --listen tcp://0.0.0.0:2376",
        "setpoint tls client laptop                     for one more client",
        "setpoint tls renew                             before their time is over; needs no restart",
    )
    commands = parser.commands()
    init = commands.add("init", "make an authority, a server's and a client's certificate")
    _host(init, "a name or address by which clients reach this host; may be given again")
    init.examples("setpoint tls init --host engine.example.org --host 10.0.0.5")
    client = commands.add("client", "a certificate for one more client, or a new one for it")
    client.add_argument("name", metavar="NAME", help="who it is for")
    client.examples("setpoint tls client laptop")
    renew = commands.add("renew", "new certificates of the same authority, used from the next connection on")
    _host(renew, "one more name or address")
    renew.examples("setpoint tls renew")
    for words in (init, client, renew):
        words.add_argument("--directory", metavar="DIR", default="", help="not /etc/INSTANCE/tls")


def _host(words: object, text: str) -> None:
    words.add_argument("--host", action="append", metavar="NAME", default=[], help=text)  # type: ignore[attr-defined]


def run_tls(arguments: Namespace) -> int:
    from agent import certificates

    directory = Path(arguments.directory or tls_path(arguments.instance)).absolute()
    now = datetime.datetime.now(datetime.UTC)
    if os.geteuid() != 0 and not arguments.directory:
        raise Invalid("make certificates", str(directory), "needs root", "sudo, or --directory DIR")
    if arguments.command == "init":
        place = certificates.init(directory, arguments.instance, arguments.host, now)
        names = certificates.names_of(certificates.read_certificate(directory / certificates.SERVER))
        print(output.clean(f"{directory} written: an authority, and a server for {', '.join(names)}"))
        print("next, on this host: setpoint agent --listen tcp://0.0.0.0:2376 ...")
        _tell_client(place, arguments.host)
        return 0
    if arguments.command == "client":
        _tell_client(certificates.write_client(directory, arguments.name, now), [])
        return 0
    for name in certificates.renew(directory, arguments.host, now):
        print(output.clean(f"{name} renewed for {certificates.LEAF_DAYS} days"))
    print("the agent uses it from the next connection on; hand the clients theirs")
    return 0


def _tell_client(place: Path, hosts: list[str]) -> None:
    host = hosts[0] if hosts else "HOST"
    shown = f"[{host}]" if ":" in host else host
    print(output.clean(f"a client needs {place}/ (ca.pem, cert.pem, key.pem; keep key.pem secret), and then"))
    print(
        output.clean(f"  export DOCKER_HOST=tcp://{shown}:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={place}")
    )
