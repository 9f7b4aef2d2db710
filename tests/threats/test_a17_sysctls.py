"""A17, CVE-2022-0811: a sysctl of the host by a name that looks like one of a namespace."""

from __future__ import annotations

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Invalid
from runtime.model import EndpointConfig, NetworkConfig, SandboxConfig
from tests.kernel.runtime.conftest import Box
from tests.native import config_of, run
from tests.threats.attack import attempt


@pytest.mark.parametrize(
    "key", ["kernel.domainname.", "kernel.core_pattern", "net/../kernel/core_pattern", "vm.swappiness"]
)
def test_a17_sysctls_of_the_host_are_refused(box: Box, host_settings: None, key: str) -> None:
    box.config["linux"]["sysctl"] = {key: "60"}
    assert "set sysctl" in attempt(box).error


@pytest.mark.parametrize(
    "key",
    [
        "net.ipv4.//.//.kernel.domainname", "net/ipv4/../../kernel/domainname", "net.//.kernel.domainname",
        "net.ipv4.conf.//.//.//.kernel.domainname", "net./.kernel.domainname", "net.ipv4.ip_forward\n",
        "kernel.domainname ", "net.ipv4. .x", "net..kernel.domainname", "/proc/sys/kernel/domainname",
    ],
)  # fmt: skip
async def test_a17_none_gets_by_the_network_of_a_container(
    engine: NativeEngine, host_settings: None, key: str
) -> None:
    """Those of a network are written by another part, before the config of the container is read."""
    await engine.create_network(NetworkConfig(name="net"))
    sandbox = SandboxConfig("own", id="sandbox", endpoints=(EndpointConfig("net"),))
    with pytest.raises(Invalid, match="set sysctl"):
        await run(engine, config_of(engine, "box", "true", sandbox=sandbox, sysctls={key: "pwned"}))
    with pytest.raises(Invalid, match="set sysctl"):
        await engine.networks.ensure_sandbox(sandbox, sysctls={key: "pwned"})
