"""Whether a registry knows somebody: what `login` asks before it keeps a password.

`GET /v2/` is there for that (OCI distribution-spec, "Determining Support"): a success, or a 401 with what
the registry asks for.
"""

from __future__ import annotations

from runtime.errors import Invalid
from runtime.images.registry.challenge import parse_challenges
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.said import message_of, to_error
from runtime.images.registry.tokens import WRONG, Authorizer
from runtime.images.registry.transport import Transport


def check_login(endpoint: Endpoint, credential: Credential) -> None:
    """Returns when the registry lets them in. `Invalid` when it does not, `Temporary` when it is away."""
    transport = Transport(endpoint)
    authorizer = Authorizer(transport, endpoint, credential, endpoint.host, "")
    url = f"{endpoint.url}/v2/"
    try:
        answer = transport.request("GET", url, {})
        if answer.status == 401:
            challenges = parse_challenges(answer.headers.getlist("WWW-Authenticate"))
            answer.close()
            answer = transport.request("GET", url, {"Authorization": authorizer.answer(challenges, "")})
        if answer.status in (401, 403):
            said = message_of(answer, endpoint.host) if answer.status == 403 else ""
            raise authorizer.denied(said or WRONG)
        if answer.status != 200:
            raise to_error(answer, endpoint.host, "registry/v2", authorizer.without_secrets)
        answer.close()
    except Invalid as error:
        raise Invalid("log in to", endpoint.host, error.reason, error.hint) from None
    finally:
        transport.close()
