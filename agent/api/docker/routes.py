"""The table of the Docker Engine API: every path, with and without a version before it.

Order counts where a name may hold slashes: what is fixed comes first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from agent.api.docker import (
    archive,
    attach,
    build,
    checkpoints,
    container_life,
    container_lists,
    containers,
    events,
    execs,
    image_archives,
    image_commit,
    image_push,
    image_save,
    image_transfer,
    images,
    logs,
    network_members,
    networks,
    registries,
    stats,
    swarm,
    system,
    volumes,
)
from agent.api.docker.overrides import may

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VERSION = "/v{version:[0-9]+[.][0-9]+}"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/containers/json", container_lists.list_containers),
    ("POST", "/containers/create", containers.create),
    ("GET", "/containers/{id}/json", containers.inspect),
    ("POST", "/containers/{id}/update", may("update", containers.update)),
    ("POST", "/containers/{id}/rename", containers.rename),
    ("DELETE", "/containers/{id}", containers.remove),
    ("POST", "/containers/prune", containers.prune),
    ("POST", "/containers/{id}/start", may("start", container_life.start)),
    ("POST", "/containers/{id}/stop", may("stop", container_life.stop)),
    ("POST", "/containers/{id}/restart", may("restart", container_life.restart)),
    ("POST", "/containers/{id}/kill", may("kill", container_life.kill)),
    ("POST", "/containers/{id}/pause", may("pause", container_life.pause)),
    ("POST", "/containers/{id}/unpause", may("unpause", container_life.unpause)),
    ("POST", "/containers/{id}/wait", container_life.wait),
    ("POST", "/containers/{id}/attach", attach.attach),
    ("GET", "/containers/{id}/attach/ws", attach.attach_websocket),
    ("POST", "/containers/{id}/resize", attach.resize),
    ("GET", "/containers/{id}/logs", logs.logs),
    ("POST", "/containers/{id}/exec", execs.create),
    ("POST", "/exec/{id}/start", execs.start),
    ("POST", "/exec/{id}/resize", execs.resize),
    ("GET", "/exec/{id}/json", execs.inspect),
    ("GET", "/containers/{id}/stats", stats.stats),
    ("GET", "/containers/{id}/top", stats.top),
    ("HEAD", "/containers/{id}/archive", archive.stat),
    ("GET", "/containers/{id}/archive", archive.get),
    ("PUT", "/containers/{id}/archive", archive.put),
    ("GET", "/containers/{id}/changes", archive.changes),
    ("GET", "/containers/{id}/export", archive.export),
    ("GET", "/containers/{id}/checkpoints", checkpoints.list_checkpoints),
    ("POST", "/containers/{id}/checkpoints", checkpoints.create),
    ("DELETE", "/containers/{id}/checkpoints/{checkpoint}", checkpoints.delete),
    ("GET", "/images/json", images.list_images),
    ("POST", "/images/prune", images.prune),
    ("POST", "/commit", image_commit.commit),
    ("POST", "/images/create", image_transfer.create),
    ("GET", "/images/search", registries.search),
    ("GET", "/images/get", image_save.save),
    ("POST", "/images/load", image_archives.load),
    ("POST", "/auth", registries.authenticate),
    ("POST", "/build", build.build),
    ("POST", "/build/prune", build.prune),
    ("POST", "/build/cancel", build.cancel),
    ("POST", "/session", build.session),
    ("POST", "/grpc", build.grpc),
    ("GET", "/networks", networks.list_networks),
    ("GET", "/networks/{id}", networks.inspect),
    ("DELETE", "/networks/{id}", networks.remove),
    ("POST", "/networks/create", networks.create),
    ("POST", "/networks/prune", networks.prune),
    ("POST", "/networks/{id}/connect", network_members.connect),
    ("POST", "/networks/{id}/disconnect", network_members.disconnect),
    ("GET", "/volumes", volumes.list_volumes),
    ("POST", "/volumes/create", volumes.create),
    ("POST", "/volumes/prune", volumes.prune),
    ("GET", "/volumes/{name}", volumes.inspect),
    ("PUT", "/volumes/{name}", volumes.update),
    ("DELETE", "/volumes/{name}", volumes.remove),
    ("GET", "/_ping", system.ping),
    ("HEAD", "/_ping", system.ping),
    ("GET", "/info", system.info),
    ("GET", "/version", system.version),
    ("GET", "/system/df", system.disk_use),
    ("GET", "/events", events.events),
    ("GET", "/plugins", swarm.list_plugins),
    ("GET", "/plugins/privileges", swarm.plugin_privileges),
    ("POST", "/plugins/pull", swarm.pull_plugin),
    ("POST", "/plugins/create", swarm.create_plugin),
    ("*", "/swarm", swarm.no_swarm),
    ("*", "/nodes", swarm.no_swarm),
    ("*", "/services", swarm.no_swarm),
    ("*", "/tasks", swarm.no_swarm),
    ("*", "/secrets", swarm.no_swarm),
    ("*", "/configs", swarm.no_swarm),
    ("GET", "/images/{name:.+}/json", images.inspect),
    ("GET", "/images/{name:.+}/history", images.history),
    ("POST", "/images/{name:.+}/tag", images.tag),
    ("DELETE", "/images/{name:.+}", images.remove),
    ("POST", "/images/{name:.+}/push", image_push.push),
    ("GET", "/images/{name:.+}/get", image_save.save_one),
    ("GET", "/distribution/{name:.+}/json", registries.distribution),
    ("*", "/plugins/{name:.+}", swarm.no_plugin),
    ("*", "/swarm/{rest:.+}", swarm.no_swarm),
    ("*", "/nodes/{rest:.+}", swarm.no_swarm),
    ("*", "/services/{rest:.+}", swarm.no_swarm),
    ("*", "/tasks/{rest:.+}", swarm.no_swarm),
    ("*", "/secrets/{rest:.+}", swarm.no_swarm),
    ("*", "/configs/{rest:.+}", swarm.no_swarm),
)


def add_routes(app: web.Application) -> None:
    """All of them, each twice: clients ask `/v1.43/info`, and `/info` before they know the version."""
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, VERSION + path, handler)
