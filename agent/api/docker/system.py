"""What this engine is. `host_facts` has what is the host's, `system_df` how full its disk is."""

from __future__ import annotations

import asyncio
import os
import platform
import time

from aiohttp import web

from agent.api.at_once import at_once
from agent.api.context import Context
from agent.api.docker import versions
from agent.api.docker.answers import json_answer
from agent.api.docker.events import feed_of
from agent.api.docker.host_facts import (
    can_checkpoint,
    engine_id,
    file_system,
    host_view,
    limits_view,
    security_options,
)
from agent.api.docker.stamps import rfc3339
from agent.api.docker.system_df import disk_use
from agent.api.requests import context_of
from agent.registries.origins import Origins
from runtime.errors import Invalid
from runtime.images.platforms import parse_platform
from runtime.images.reference import DEFAULT_DOMAIN
from runtime.images.registry.docker_config import HUB_KEY
from runtime.model import ContainerState
from runtime.network.addresses import DEFAULT_POOLS

__all__ = ["disk_use", "info", "ping", "version"]

RUNTIME = "setpoint"
SUBNET_BITS = 24
PLUGINS = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "null"],
    "Authorization": [],
    "Log": ["json-file", "local"],
}
NO_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}

# "1" is the classic builder; clients of BuildKit ask for a session.
BUILDER_VERSION = "1"
PING_HEADERS = {
    "Builder-Version": BUILDER_VERSION,
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}


@at_once
def ping(request: web.Request) -> web.Response:
    """What clients ask first: its headers say which version to speak."""
    body = b"" if request.method == "HEAD" else b"OK"
    return web.Response(body=body, headers=PING_HEADERS, content_type="text/plain", charset="utf-8")


@at_once
def version(request: web.Request) -> web.Response:
    return json_answer(
        version_view(
            context_of(request).version,
            os.uname(),
            parse_platform(os.uname().machine).architecture,
            is_experimental=can_checkpoint(),
        )
    )


def version_view(
    own: str, kernel: os.uname_result, architecture: str, *, is_experimental: bool
) -> dict[str, object]:
    """Docker's shape, of this program: it has no commit, and Go's version is that of what runs it."""
    details = {
        "ApiVersion": versions.NEWEST,
        "MinAPIVersion": versions.OLDEST,
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": kernel.release,
        "GoVersion": f"none ({platform.python_implementation()} {platform.python_version()})",
        "GitCommit": "",
        "BuildTime": "",
        "Experimental": str(is_experimental).lower(),
    }
    same: dict[str, object] = {name: value for name, value in details.items() if name != "Experimental"}
    if is_experimental:  # else the daemon leaves it out
        same["Experimental"] = True
    engine = {"Name": "Engine", "Version": own, "Details": details}
    return {"Platform": {"Name": "Setpoint"}, "Components": [engine], "Version": own, **same}


async def info(request: web.Request) -> web.StreamResponse:
    """What this engine is and can, as it is now."""
    context = context_of(request)
    layout = context.settings.layout
    limits, warnings = limits_view()
    if context.room.alarm is not None:
        warnings.append(f"WARNING: {context.room.alarm.reason}")
    return json_answer(
        {
            "ID": engine_id(layout.instance),
            **counts(context.engine.list()),
            "Images": len(await asyncio.to_thread(context.engine.images.list)),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", file_system(layout.data)]],
            "DockerRootDir": str(layout.data),
            "Plugins": PLUGINS,
            "Debug": context.settings.log_level == "debug",
            "SystemTime": rfc3339(time.time()),
            "LoggingDriver": "json-file",
            "NEventsListener": feed_of(context).followers,
            **limits,
            **host_view(),
            "IndexServerAddress": HUB_KEY,
            "RegistryConfig": await asyncio.to_thread(_registries, context),
            "GenericResources": [],
            "Labels": [],
            "ExperimentalBuild": can_checkpoint(),
            "ServerVersion": context.version,
            "Runtimes": {RUNTIME: {"path": RUNTIME}},
            "DefaultRuntime": RUNTIME,
            "Swarm": NO_SWARM,
            "LiveRestoreEnabled": True,  # containers run on while no agent does
            "Isolation": "",
            "InitBinary": RUNTIME,
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": ""},
            "InitCommit": {"ID": ""},
            "SecurityOptions": security_options(),
            "ProductLicense": "",
            "DefaultAddressPools": [{"Base": pool, "Size": SUBNET_BITS} for pool in DEFAULT_POOLS],
            "FirewallBackend": {"Driver": "nftables"},
            "DiscoveredDevices": [],
            "CDISpecDirs": [],
            "Warnings": warnings,
        }
    )


def counts(states: tuple[ContainerState, ...]) -> dict[str, int]:
    """Pure. Of containers, by how they stand."""
    running = sum(state.phase == "running" for state in states)
    paused = sum(state.phase == "paused" for state in states)
    return {
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(states) - running - paused,
    }


def _registries(context: Context) -> dict[str, object]:
    """Mirrors of the hub, and who is spoken to without TLS; nothing of a file that cannot be read."""
    try:
        found = Origins(context.settings.registries_path).registries().by_domain
    except Invalid:
        found = {}
    hub = found.get(DEFAULT_DOMAIN)
    others = {
        domain: {
            "Name": domain,
            "Mirrors": [mirror.host for mirror in registry.mirrors],
            "Secure": not registry.endpoint.is_insecure,
            "Official": domain == DEFAULT_DOMAIN,
        }
        for domain, registry in found.items()
    }
    official = {"Name": DEFAULT_DOMAIN, "Mirrors": [], "Secure": True, "Official": True}
    mirrors = [f"https://{mirror.host}/" for mirror in hub.mirrors] if hub else []
    return {
        "InsecureRegistryCIDRs": [],  # a loopback address, too, is insecure only where the file says so
        "IndexConfigs": {DEFAULT_DOMAIN: official, **others},
        "Mirrors": mirrors,
    }
