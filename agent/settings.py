"""One frozen Settings: what an agent is told at its start. The CLI makes it from its options.

Pure: checks the values, touches nothing. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.errors import Invalid
from runtime.images.collection import Rules
from runtime.layout import Layout
from runtime.worker_caps import Caps

VERSION = "0.1.0"
METRICS_ADDRESS = "127.0.0.1:9469"
LogFormat = Literal["auto", "text", "json"]
LOG_LEVELS = ("debug", "info", "warning", "error")


def policy_path(instance: str) -> Path:
    """Where an instance's policy is when nobody says otherwise."""
    return Path("/etc", instance, "policy.yaml")


def tls_path(instance: str) -> Path:
    """Where an instance's certificates are when nobody says otherwise."""
    return Path("/etc", instance, "tls")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one agent runs. Either `watch` or `git_url` may be set; with neither, only the API decides.

    metrics_address: "host:port", "[v6]:port" or "" for none. profiles: active compose profiles.
    policy: what manifests may ask for (agent.policy); None is /etc/INSTANCE/policy.yaml, if it is there.
    registries: mirrors and certificates (agent.registries); None is /etc/INSTANCE/registries.yaml.
    git_credentials: a file as git-credential-store(1) has it. environment: what `${VAR}` in a manifest finds,
    before `.env`; nothing of the agent's own environment, which is nobody's desired state.
    image_rules: which images go by themselves; image_look_seconds: how often that is looked at.
    update_look_seconds: how often registries are asked for newer images, where manifests want that.
    worker_caps: what a pull, a load, a build or a copy may cost this host.
    verify_seconds: how often each image is compared with its digests; 0 is never.
    listen: tcp://HOST:PORT beside the UNIX socket, for clients with a certificate of `tls` (None is
    /etc/INSTANCE/tls); is_plain_tcp_allowed: or for everybody, which makes everybody root here.
    list_seconds: how often a watched directory is listed without an event. log_format "auto" is text on
    a terminal, else JSON. Raises Invalid.
    """

    layout: Layout = field(default_factory=Layout)
    watch: Path | None = None
    git_url: str = ""
    git_ref: str = "main"
    git_path: str = ""
    git_poll_seconds: float = 30.0
    git_credentials: Path | None = None
    policy: Path | None = None
    registries: Path | None = None
    list_seconds: float = 60.0
    profiles: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    metrics_address: str = METRICS_ADDRESS
    log_level: str = "info"
    log_format: LogFormat = "auto"
    full_pass_seconds: float = 30.0
    image_rules: Rules = field(default_factory=Rules)
    image_look_seconds: float = 300.0
    update_look_seconds: float = 3600.0
    verify_seconds: float = 7 * 86400.0
    worker_caps: Caps = field(default_factory=Caps)
    socket_group: str = "setpoint"
    listen: tuple[str, ...] = ()
    tls: Path | None = None
    is_plain_tcp_allowed: bool = False
    stop_seconds: float = 10.0  # what is under way may take this long to end at a stop

    def __post_init__(self) -> None:
        if self.watch is not None and self.git_url:
            raise Invalid("start agent", "", "both a directory and a git URL", "give --watch or --git")
        if self.log_level not in LOG_LEVELS:
            raise Invalid("start agent", self.log_level, "not a log level", f"one of {', '.join(LOG_LEVELS)}")
        times = (
            "git_poll_seconds",
            "list_seconds",
            "full_pass_seconds",
            "stop_seconds",
            "image_look_seconds",
            "update_look_seconds",
        )
        for name in times:
            if not 0 < getattr(self, name) < 1e9:
                raise Invalid("start agent", name, f"{getattr(self, name)} is not a time above zero")
        rules = self.image_rules
        if not 0 < rules.low <= rules.high <= 1 or min(rules.max_age_seconds, rules.grace_seconds) < 0:
            raise Invalid("start agent", "images", "the marks are not HIGH:LOW per cent of the disk", "85:80")
        self.metrics_endpoint()

    def metrics_endpoint(self) -> tuple[str, int] | None:
        """(host, port) to serve /metrics on, or None for none. Port 0 lets the kernel choose."""
        if not self.metrics_address:
            return None
        host, separator, port = self.metrics_address.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise Invalid(
                "start agent", self.metrics_address, "not an address", "host:port, as 127.0.0.1:9469"
            )
        return host.strip("[]"), int(port)

    @property
    def policy_path(self) -> Path:
        return self.policy or policy_path(self.layout.instance)

    @property
    def tls_path(self) -> Path:
        return self.tls or tls_path(self.layout.instance)

    @property
    def registries_path(self) -> Path:
        return self.registries or Path("/etc", self.layout.instance, "registries.yaml")

    @property
    def source(self) -> str:
        """What the agent follows, for people."""
        if self.watch is not None:
            return str(self.watch)
        return f"{self.git_url}#{self.git_ref}:{self.git_path}" if self.git_url else ""
