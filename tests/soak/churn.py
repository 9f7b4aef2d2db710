"""What changes while processes are killed: a project's next state, drawn from a seeded random. Pure.

Churn(seed).next_state() ─> State ─> compose text, and what must be there once it is settled
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

STEADY = 10  # more than churn has, so that no removal waits for a yes
NAMES = ("a", "b", "c", "d", "e", "f")
NETWORKS, VOLUMES = ("n1", "n2", "n3"), ("v1", "v2")
MEMORY = ("32m", "48m", "64m")


@dataclass(frozen=True, slots=True)
class Service:
    """kind: sleeper, talker, crasher (ends with 1 again and again) or job (ends with 0 once).
    mark: a new one is a new spec. memory: a new one is a new limit of the same container."""

    kind: str
    mark: int
    scale: int = 1
    memory: str = ""
    port: int = 0
    networks: tuple[str, ...] = ()
    volume: str = ""
    health: bool = False

    @property
    def runs(self) -> bool:
        return self.kind in ("sleeper", "talker")

    def compose(self) -> dict[str, Any]:
        commands = {
            "sleeper": ["sleep", "100000"],
            "talker": ["sh", "-c", "while true; do echo $$MARK; sleep 0.05; done"],
            "crasher": ["sh", "-c", "sleep 0.1; exit 1"],
            "job": ["sh", "-c", "echo done"],
        }
        found: dict[str, Any] = {
            "image": "busybox:latest",
            "command": commands[self.kind],
            "environment": {"MARK": str(self.mark)},
            "stop_signal": "SIGKILL",
            "scale": self.scale,
        }
        if self.kind == "job":
            found["restart"] = "no"
        if self.memory:
            found["mem_limit"] = self.memory
        if self.port:
            found["ports"] = [f"127.0.0.1:{self.port}:80"]
        if self.networks:
            found["networks"] = list(self.networks)
        if self.volume:
            found["volumes"] = [f"{self.volume}:/data"]
        if self.health:
            found["healthcheck"] = {"test": ["CMD", "true"], "interval": "1s"}
        return found


@dataclass(frozen=True, slots=True)
class State:
    """A whole project. Empty: none of it is wanted."""

    services: Mapping[str, Service] = field(default_factory=dict)

    def compose(self) -> str:
        services = {name: service.compose() for name, service in self.services.items()}
        networks = sorted({name for each in self.services.values() for name in each.networks})
        volumes = sorted({each.volume for each in self.services.values() if each.volume})
        whole: dict[str, Any] = {"services": services}
        if networks:
            whole["networks"] = {name: {} for name in networks}
        if volumes:
            whole["volumes"] = {name: {} for name in volumes}
        return yaml.safe_dump(whole, sort_keys=False)


class Churn:
    """Ports are drawn from those given: one a service, so that no two want the same."""

    def __init__(self, seed: int, ports: Mapping[str, int]) -> None:
        self.random = random.Random(seed)
        self.state = State()
        self._ports = ports
        self._mark = 0

    def next_state(self) -> State:
        """One to three services made, changed, scaled or removed."""
        services = dict(self.state.services)
        for name in self.random.sample(NAMES, self.random.randint(1, 3)):
            old = services.get(name)
            if old is None:
                services[name] = self._new(name)
            elif self.random.random() < 0.25:
                del services[name]
            else:
                services[name] = self._changed(name, old)
        self.state = State(services)
        return self.state

    def all_of_it(self) -> State:
        """Every network and volume in use once, for a warm-up."""
        services = {}
        for position, name in enumerate(NAMES):
            new = self._new(name)
            services[name] = replace(
                new, networks=(NETWORKS[position % 3],), volume=VOLUMES[position % 2], port=self._ports[name]
            )
        self.state = State(services)
        return self.state

    def nothing(self) -> State:
        self.state = State()
        return self.state

    def _new(self, name: str) -> Service:
        draw = self.random
        self._mark += 1
        kind = draw.choice(("sleeper", "sleeper", "talker", "crasher", "job"))
        return Service(
            kind=kind,
            mark=self._mark,
            memory=draw.choice(MEMORY) if draw.random() < 0.5 else "",
            port=self._ports[name] if kind == "sleeper" and draw.random() < 0.5 else 0,
            networks=tuple(draw.sample(NETWORKS, draw.randint(1, 2))) if draw.random() < 0.6 else (),
            volume=draw.choice(VOLUMES) if draw.random() < 0.4 else "",
            health=kind == "sleeper" and draw.random() < 0.3,
        )

    def _changed(self, name: str, old: Service) -> Service:
        draw = self.random
        what = draw.choice(("mark", "memory", "scale", "new"))
        if what == "mark":
            self._mark += 1
            return replace(old, mark=self._mark)
        if what == "memory":
            return replace(old, memory=draw.choice(MEMORY))
        if what == "scale" and old.runs and not old.port:
            return replace(old, scale=draw.randint(1, 3))
        return self._new(name)


def steady_compose(port: int) -> str:
    """Containers that nothing asks to change: they must not be touched, and what they print must be whole."""
    count = "n=0; while true; do n=$$((n+1)); echo $$n; sleep 0.1; done"
    services: dict[str, Any] = {}
    for position in range(STEADY):
        services[f"s{position}"] = {
            "image": "busybox:latest",
            "command": ["sh", "-c", count],
            "stop_signal": "SIGKILL",
            "networks": ["net"],
            "volumes": ["data:/data"] if position == 0 else [],
            "ports": [f"127.0.0.1:{port}:80"] if position == 1 else [],
            "mem_limit": "64m" if position == 2 else "128m",
        }
    return yaml.safe_dump(
        {"services": services, "networks": {"net": {}}, "volumes": {"data": {}}}, sort_keys=False
    )
