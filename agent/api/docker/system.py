"""What this engine is, and how full its disk. Handlers ask and answer; `system_view` has the shapes."""

from __future__ import annotations

import os
import platform

from aiohttp import web

from agent.api.docker import versions
from agent.api.docker.answers import json_answer
from agent.api.requests import context_of
from runtime.errors import Unsupported
from runtime.images.platforms import parse_platform

# "1" is the classic builder; clients of BuildKit ask for a session.
BUILDER_VERSION = "1"
PING_HEADERS = {
    "Builder-Version": BUILDER_VERSION,
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}


async def ping(request: web.Request) -> web.StreamResponse:
    """What clients ask first: its headers say which version to speak."""
    body = b"" if request.method == "HEAD" else b"OK"
    return web.Response(body=body, headers=PING_HEADERS, content_type="text/plain", charset="utf-8")


async def version(request: web.Request) -> web.StreamResponse:
    return json_answer(
        version_view(context_of(request).version, os.uname(), parse_platform(os.uname().machine).architecture)
    )


def version_view(own: str, kernel: os.uname_result, architecture: str) -> dict[str, object]:
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
        "Experimental": "false",
    }
    same = {name: value for name, value in details.items() if name != "Experimental"}
    engine = {"Name": "Engine", "Version": own, "Details": details}
    return {"Platform": {"Name": "Setpoint"}, "Components": [engine], "Version": own, **same}


async def info(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def disk_use(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
