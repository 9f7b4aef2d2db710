"""The one face of the runtime that the agent sees. `runtime.engine` implements it on the kernel,
`tests/sim` on nothing; `tests/contract` holds both to the same behaviour.

Rules for every method: it may be called again with the same arguments after a crash at any point and
then finishes the work; it raises only `runtime.errors`; it never leaves half of a thing that a later
`list` would show as whole. Creating what exists with the same config does nothing; with another
config it is `Conflict`. Deleting what is gone does nothing.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from runtime.build_recipe import BuildRecipe
from runtime.images.facts import ImageFacts
from runtime.model import (
    ContainerConfig,
    ContainerState,
    Drift,
    EndpointConfig,
    EngineEvent,
    ExecResult,
    ImageInfo,
    NetworkConfig,
    NetworkState,
    PullState,
    Resources,
    SandboxState,
    Stats,
    VolumeConfig,
    VolumeState,
)


class Engine(Protocol):
    # containers
    async def create(self, config: ContainerConfig) -> None:
        """Write the bundle and all that can be checked before anything that runs is touched: the image,
        the root, volumes (made and populated), devices, users. Starts no process, changes no network.
        """

    async def start(self, id: str) -> None:
        """Make the sandbox and its links, ports and names, then the process. Does nothing when it runs.
        A container that exited before starts again with its writable layer kept.
        """

    async def stop(self, id: str, grace_seconds: float, signal: str = "") -> None:
        """Send the stop signal ("" is the container's own), wait, then SIGKILL its whole cgroup.
        Returns when it is stopped; `Temporary` if even SIGKILL did not end it (D state).
        """

    async def hasten(self, id: str, grace_seconds: float, signal: str = "") -> None:
        """Have a stop that is under way take at most so long from now, and tell the container again. Does
        nothing where none is, or one that is over sooner."""

    async def signal(self, id: str, signal: str) -> None: ...
    async def pause(self, id: str) -> None: ...
    async def resume(self, id: str) -> None: ...
    async def update(self, id: str, resources: Resources) -> None:
        """Change limits of a container in place, in the kernel if it runs and in its bundle."""

    async def rename(self, id: str, name: str) -> None:
        """Give a container another name, running or not; those on its networks find it by the new one. Its
        labels stay. `Conflict` when another container has that name."""

    async def relabel(self, id: str, labels: Mapping[str, str]) -> None:
        """Give a container, and the network namespace that is its own, other labels in place of all that it
        has; nothing else of it changes, and it runs on."""

    async def connect(self, id: str, endpoint: EndpointConfig, position: int = 0) -> None:
        """Have a container on a network, at once when it runs, else from its next start on. One that is on
        it already gets the endpoint's names, and its addresses if they are others. position: among its
        networks, of which the first that leads out is the way out. `NotFound` without that network,
        `Conflict` where its network is not its own."""

    async def disconnect(self, id: str, network: str) -> None:
        """Take a container off a network; nothing when it is not on it."""

    async def delete(self, id: str) -> None:
        """Remove a stopped container: bundle, writable layer, logs, cgroups. `Conflict` while it runs.
        Leaves its sandbox."""

    async def delete_sandbox(self, sandbox: str) -> None:
        """Remove a network namespace with its links, ports and names."""

    async def exec(
        self,
        id: str,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        max_output_bytes: int = 65536,
        user: str = "",
        working_dir: str = "",
        environment: Sequence[str] = (),
    ) -> ExecResult:
        """Run argv inside a running container, without a terminal, and wait."""

    def state(self, id: str) -> ContainerState | None: ...
    def list(self) -> tuple[ContainerState, ...]: ...
    def list_sandboxes(self) -> tuple[SandboxState, ...]: ...
    def stats(self, id: str) -> Stats: ...
    def open_socket(self, sandbox: str) -> socket.socket:
        """A new, unconnected, non-blocking IPv4 TCP socket in a sandbox's network ("" is the host's)."""

    # networks and volumes
    async def create_network(self, config: NetworkConfig) -> None: ...
    async def delete_network(self, name: str) -> None:
        """`Conflict` while an endpoint is on it."""

    def list_networks(self) -> tuple[NetworkState, ...]: ...
    async def create_volume(self, config: VolumeConfig) -> None: ...
    async def delete_volume(self, name: str) -> None: ...
    def is_volume_empty(self, name: str) -> bool:
        """Whether nothing would be lost with it: who makes it again makes the same."""

    def list_volumes(self) -> tuple[VolumeState, ...]: ...
    def volume(self, name: str) -> VolumeState | None:
        """By its real name, however many there are."""

    # images
    def image(self, reference: str) -> ImageInfo | None:
        """The image that a reference (name:tag, name@digest, id) names in the store, or None."""

    def image_facts(self, reference: str) -> tuple[ImageFacts, ...]:
        """What is known of an image that is here, for who judges whether it may run; () when it is not. One
        for the name that it is asked for by, or one for each name of an image that is asked for by its id."""

    async def pull(
        self, reference: str, *, platform: str = "", project: str = "", only_newer: bool = False
    ) -> None:
        """Begin to fetch an image, unless that is under way; an "image" event says that it ended. platform:
        "" is this host's; project: whose logins count; only_newer: unless its registry has what is here."""

    async def build(self, reference: str, recipe: BuildRecipe) -> None:
        """Begin to build an image and give it that name, unless that is under way; an "image" event says that
        it ended, and `pull_state` how."""

    def pull_state(self, reference: str) -> PullState | None:
        """A fetch that is under way or failed last; None when nobody asked, or it went well."""

    async def ask_signatures(self, reference: str, *, project: str = "") -> None:
        """Begin to bring the signatures of an image that is here from its registry, and nothing else of it,
        unless that is under way; a "signatures" event says that it ended. project: whose logins count."""

    def signatures_state(self, reference: str) -> PullState | None:
        """As `pull_state`, of that. What came is in `image_facts`."""

    # drift
    async def find_drift(self, subjects: Collection[str] | None = None) -> tuple[Drift, ...]:
        """Compare all that this instance made in the kernel with what it should be. Changes nothing."""

    async def repair(self, drift: Drift) -> None:
        """Put one finding back in place without restarting the container. `NotFound` when its subject
        is gone, `Temporary` when only a restart would help."""

    # events
    def events(self) -> AsyncIterator[EngineEvent]:
        """Exits and network changes from now on. Bounded: after an overflow one event with kind
        "overflow" says that a full look is due."""
