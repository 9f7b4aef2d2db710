"""Plugins, and what only a swarm has: the answers of a stand-alone engine, in Docker's words, since clients
look for them. This engine joins no swarm and takes no plugins; what asks for that is told so.
"""

from __future__ import annotations

from aiohttp import web

from agent.api.at_once import at_once
from agent.api.docker.answers import json_answer
from agent.api.docker.filters import read_filters
from runtime.errors import NotFound, Temporary, Unsupported

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
    "to swarm and try again."
)
NO_SWARM = "This node is not part of a swarm"
PLUGIN_FILTERS = ("capability", "enabled")
REFUSED = {
    "/swarm/init": "this engine makes no swarms",
    "/swarm/join": "this engine joins no swarm",
}
PLUGIN_HINT = "networks, volumes and logs are built in; for others, Docker's own engine"


@at_once
def list_plugins(request: web.Request) -> web.Response:
    read_filters(request.query.get("filters", ""), PLUGIN_FILTERS)
    return json_answer([])


async def plugin_privileges(request: web.Request) -> web.StreamResponse:
    raise _takes_no_plugins()


async def pull_plugin(request: web.Request) -> web.StreamResponse:
    raise _takes_no_plugins()


async def create_plugin(request: web.Request) -> web.StreamResponse:
    raise _takes_no_plugins()


def _takes_no_plugins() -> Unsupported:
    return Unsupported("", "", "this engine takes no plugins", PLUGIN_HINT)


async def no_plugin(request: web.Request) -> web.StreamResponse:
    """Whatever is asked of one: there is none. /plugins/NAME, /plugins/NAME/json, /plugins/NAME/enable, …"""
    name, slash, verb = request.match_info["name"].rpartition("/")
    if not slash or verb not in ("json", "enable", "disable", "upgrade", "push", "set"):
        name = request.match_info["name"]
    raise NotFound("", "", f'plugin "{name[:128]}" not found')


async def no_swarm(request: web.Request) -> web.StreamResponse:
    """503 for whatever a manager would answer; making and joining a swarm is refused."""
    path = request.path.removeprefix(f"/v{request.match_info.get('version', '')}")
    if request.method == "POST" and path in REFUSED:
        hint = "one `setpoint agent` a host can follow the same git repository"
        raise Unsupported("", "", REFUSED[path], hint)
    if path == "/swarm/leave":
        raise Temporary("", "", NO_SWARM)
    raise Temporary("", "", NO_MANAGER)
