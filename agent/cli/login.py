"""`setpoint login` and `logout`: who the agent is to a registry. Kept where Docker keeps it, in a helper when
the file names one. Needs no agent; a login counts from the next pull on.
"""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from pathlib import Path

from agent.cli import output
from agent.cli.parser import Parser
from agent.registries.origins import Origins
from runtime.errors import Invalid, NotFound
from runtime.images.reference import DEFAULT_DOMAIN
from runtime.images.registry.credentials import Credential
from runtime.images.registry.docker_config import default_path, forget_credential, store_credential
from runtime.images.registry.endpoints import check_host

HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/")
MAX_PASSWORD = 64 * 1024


def add_login(parser: Parser) -> None:
    _add_host(parser)
    parser.add_argument("-u", "--username", metavar="NAME", default="", help="asked for on a terminal")
    parser.add_argument("--password-stdin", action="store_true", help="the password comes on standard input")
    parser.add_argument("--token-stdin", action="store_true", help="an identity token comes there")
    parser.add_argument("--registries", metavar="FILE", help="certificates (/etc/INSTANCE/registries.yaml)")
    parser.examples(
        "setpoint login                                           the hub",
        "setpoint login ghcr.io -u me --password-stdin <token",
    )


def add_logout(parser: Parser) -> None:
    _add_host(parser)
    parser.examples("setpoint logout ghcr.io")


def _add_host(parser: Parser) -> None:
    parser.add_argument(
        "host", nargs="?", default=DEFAULT_DOMAIN, metavar="HOST", help="HOST or HOST:PORT (docker.io)"
    )


def run_login(arguments: Namespace) -> int:
    # Late: TLS and HTTP take a tenth of a second to import.
    from runtime.images.registry.login import check_login

    domain = domain_of(arguments.host)
    credential = _ask(arguments, domain)
    path = Path(arguments.registries or Path("/etc", arguments.instance, "registries.yaml"))
    endpoint = Origins(path).registries().endpoints(domain)[-1]
    check_login(endpoint, credential)
    helper = store_credential(domain, credential, default_path())
    print(f"logged in to {output.clean(domain)}")
    if helper:
        print(f"docker-credential-{output.clean(helper)} keeps the password")
    else:
        print(
            f"warning: {default_path()} keeps the password as it is, readable for its owner\n"
            "hint: a credential helper (credsStore in that file) keeps it better",
            file=sys.stderr,
        )
    return 0


def run_logout(arguments: Namespace) -> int:
    domain = domain_of(arguments.host)
    if not forget_credential(domain, default_path()):
        raise NotFound("log out of", domain, "nobody is logged in there", "see ~/.docker/config.json")
    print(f"logged out of {output.clean(domain)}")
    return 0


def domain_of(host: str) -> str:
    """As names of images have it; a URL's host, as people paste it."""
    text = host.rstrip("/").removeprefix("https://").removeprefix("http://")
    if host in HUB_NAMES or text in HUB_NAMES:
        return DEFAULT_DOMAIN
    return check_host(text)


def _ask(arguments: Namespace, domain: str) -> Credential:
    if arguments.password_stdin and arguments.token_stdin:
        raise Invalid("log in to", domain, "a password and a token", "give one of them")
    if arguments.token_stdin:
        return Credential(identity_token=_secret_from_stdin(domain))
    is_terminal = sys.stdin.isatty()
    username = arguments.username
    if not username and is_terminal and not arguments.password_stdin:
        username = input("Username: ").strip()
    if not username:
        raise Invalid("log in to", domain, "no user's name", "-u NAME")
    if arguments.password_stdin:
        return Credential(username, _secret_from_stdin(domain))
    if not is_terminal:
        raise Invalid("log in to", domain, "no password, and no terminal to ask on", "--password-stdin")
    return Credential(username, getpass.getpass("Password: "))


def _secret_from_stdin(domain: str) -> str:
    secret = sys.stdin.read(MAX_PASSWORD + 1).rstrip("\r\n")
    if not secret or len(secret) > MAX_PASSWORD:
        raise Invalid(
            "log in to", domain, "nothing came on standard input" if not secret else "it is too long"
        )
    return secret
