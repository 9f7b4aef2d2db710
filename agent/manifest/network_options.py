"""Options of the bridge driver, by the names that manifests and the Docker Engine API give them. Pure."""

from __future__ import annotations

MTU = "com.docker.network.driver.mtu"
BRIDGE = "com.docker.network.bridge."
ICC = BRIDGE + "enable_icc"
BRIDGE_NAME = BRIDGE + "name"
MASQUERADE = BRIDGE + "enable_ip_masquerade"
HOST_BINDING = BRIDGE + "host_binding_ipv4"
IPV6 = "com.docker.network.enable_ipv6"
AS_IT_IS = {
    BRIDGE + "gateway_mode_ipv4": ("nat", ""),
    BRIDGE + "default_bridge": ("false",),
    BRIDGE + "inhibit_ipv4": ("false",),
    "com.docker.network.enable_ipv4": ("true",),
}
"""Those that may be said as long as they say what is so anyway."""
