"""An image's config while it is being built. Pure values.

What a container of the image starts with, as Docker's and OCI's image config have it. None of entrypoint
and command is "not set", which is not the same as ().
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """test: ("NONE",), ("CMD", …) or ("CMD-SHELL", text). Durations in nanoseconds; 0 is the default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """environment, labels: pairs in order of first use. shell (): DEFAULT_SHELL.

    on_build: instructions for builds from this image. ports: `80/tcp`. author: of MAINTAINER.
    """

    environment: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_dir: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    healthcheck: HealthConfig | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    author: str = ""
    is_args_escaped: bool = False


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """created_by: the instruction as people read it in `image history`. is_empty: it made no layer."""

    created_by: str
    is_empty: bool
