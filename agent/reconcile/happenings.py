"""What the loop did and saw, in the words of the Docker Engine API's events. Pure.

Called by `applying`, `loop` and `watching`, which keep the answers with their events. Ids of networks are
their real names here; the API makes Docker's ids of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.manifest.spec import ContainerSpec
from agent.reconcile import actions as do
from agent.reconcile.actions import Action
from agent.reconcile.api_objects import is_api
from agent.reconcile.convert import LABEL_INDEX
from agent.reconcile.policy import Exit
from agent.reconcile.world import Desired
from runtime.errors import SetpointError
from runtime.model import ContainerState
from runtime.signals import DEFAULT_STOP, parse_signal
from store.records import Happening, Key

OWN_LABELS = "setpoint."
KILL = 9
UNKNOWN_EXIT = 255
BRIDGE = {"type": "bridge"}
LOCAL = {"driver": "local"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A container at the moment that something happened to it. attributes: labels, image and name."""

    id: str
    attributes: Mapping[str, str]
    networks: tuple[str, ...] = ()

    def happening(self, action: str, **more: str) -> Happening:
        return Happening("container", action, self.id, {**self.attributes, **more})

    def named(self, name: str) -> Subject:
        return Subject(self.id, {**self.attributes, "name": name}, self.networks)

    def on_networks(self, action: str) -> Iterable[Happening]:
        return (_on_network(action, network, self.id) for network in self.networks)


def subject_of(key: Key | None, state: ContainerState, image: str) -> Subject:
    networks = tuple(endpoint.network for endpoint in state.endpoints)
    return Subject(state.id, _attributes(key, state.name, image, state.labels), networks)


def image_name(desired: Desired | None, fallback: str) -> str:
    """The image as whoever wants the container named it."""
    spec = desired.spec if desired is not None else None
    if not isinstance(spec, ContainerSpec):
        return fallback
    return spec.asked.image if spec.asked and spec.asked.image else spec.image


def _attributes(key: Key | None, name: str, image: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Its own labels, not the engine's; of what a manifest made, compose's too, by which clients group."""
    own = {label: value for label, value in labels.items() if not label.startswith(OWN_LABELS)}
    if key is not None and not is_api(key):
        compose = {
            "project": key.project,
            "service": key.name,
            "container-number": labels.get(LABEL_INDEX, "1"),
        }
        own = {**{f"com.docker.compose.{word}": value for word, value in compose.items()}, **own}
    return {**own, "image": image, "name": name}


# --- actions --------------------------------------------------------------------------------------


def of_action(
    action: Action, before: Subject | None, after: ContainerState | None, image: str
) -> tuple[Happening, ...]:
    """before: the container that it was done to, as it was known. after: as it is now, where it is there."""
    match action:
        case do.CreateContainer(config=config):
            attributes = _attributes(action.key, config.name, image, config.labels)
            return (Subject(config.id, attributes).happening("create"),)
        case do.CreateNetwork(config=config):
            return (Happening("network", "create", config.name, {"name": config.name, **BRIDGE}),)
        case do.DeleteNetwork(name=name):
            return (Happening("network", "destroy", name, {"name": name, **BRIDGE}),)
        case do.CreateVolume(config=config):
            return (Happening("volume", "create", config.name, LOCAL),)
        case do.DeleteVolume(name=name):
            return (Happening("volume", "destroy", name, LOCAL),)
        case do.ConnectNetwork():
            return (_on_network("connect", action.endpoint.network, action.id),)
        case do.DisconnectNetwork():
            return (_on_network("disconnect", action.network, action.id),)
    return tuple(_of_life(action, before, after)) if before is not None else ()


def _of_life(action: Action, subject: Subject, after: ContainerState | None) -> Iterable[Happening]:
    match action:
        case do.StartContainer():
            yield from subject.on_networks("connect")
            yield subject.happening("start")
        case do.StopContainer():
            yield from _of_stop(action, subject, after)
        case do.DeleteContainer():
            yield subject.happening("destroy")
        case do.UpdateResources():
            yield subject.happening("update")
        case do.RenameContainer():
            old = subject.attributes["name"]
            yield subject.named(action.name).happening("rename", oldName=f"/{old}")


def _of_stop(action: do.StopContainer, subject: Subject, after: ContainerState | None) -> Iterable[Happening]:
    signal = _number(action.signal)
    yield subject.happening("kill", signal=str(signal))
    if signal != KILL and after is not None and after.exit_code == 128 + KILL:  # its time was over
        yield subject.happening("kill", signal=str(KILL))
    yield from subject.on_networks("disconnect")
    yield _die(subject, after.exit_code if after else None, after.ran_seconds if after else None)
    if not action.is_kill:
        yield subject.happening("stop")


def _number(signal: str) -> int:
    try:
        return int(parse_signal(signal or DEFAULT_STOP))
    except SetpointError:
        return int(parse_signal(DEFAULT_STOP))


def _on_network(action: str, network: str, container: str) -> Happening:
    return Happening("network", action, network, {"container": container, "name": network, **BRIDGE})


# --- what was seen --------------------------------------------------------------------------------


def of_exit(exit: Exit, subject: Subject, *, is_kill: bool = False) -> tuple[Happening, ...]:
    """A container ended by itself. is_kill: it was to be killed, and was before the loop came to it."""
    before = (subject.happening("oom"),) if exit.oom_killed else ()
    if is_kill and exit.code == 128 + KILL:
        before = (*before, subject.happening("kill", signal=str(KILL)))
    return (*before, *subject.on_networks("disconnect"), _die(subject, exit.code, exit.ran_seconds))


def _die(subject: Subject, code: int | None, seconds: float | None) -> Happening:
    more = {"exitCode": str(UNKNOWN_EXIT if code is None else code), "execDuration": str(int(seconds or 0))}
    return subject.happening("die", **more)


def of_pull(reference: str) -> Happening:
    return Happening("image", "pull", reference, {"name": reference})
