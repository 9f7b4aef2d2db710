"""What a network may be at a scoped socket, by the host that it would change. Pure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.api.docker.answers import Forbidden
from agent.api.sockets import bodies

IPV6 = ({"EnableIPv6": True}, {"Options": {"com.docker.network.enable_ipv6": "true"}})


@pytest.mark.parametrize("said", IPV6)
@pytest.mark.parametrize("is_forwarding", [True, False])
def test_ipv6_only_where_the_host_passes_it_on_already(
    said: dict[str, Any], is_forwarding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "is_forwarding6", lambda: is_forwarding)
    scope: Any = SimpleNamespace(
        name="ci", allow=SimpleNamespace(namespaces=()), labelled=lambda labels: labels
    )
    context: Any = None
    body = {"Name": "net", **said}
    if is_forwarding:
        assert bodies.amended("POST", "/networks/create", body, scope, context)["Name"] == "net"
    else:
        with pytest.raises(Forbidden, match="IPv6 is not allowed at the socket ci"):
            bodies.amended("POST", "/networks/create", body, scope, context)
    assert bodies.amended("POST", "/networks/create", {"Name": "net"}, scope, context)
