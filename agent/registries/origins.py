"""Where an image may be fetched, and as whom: what a pull is told. Reads the host's files, asks helpers.

    reference ─> registries.yaml ─> endpoints, mirrors first ─> each with its login ─> Origin, …

Blocks (a credential helper is a program): called in a thread. A registries file that cannot be read
refuses every pull, since it may say that a host is not to be trusted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.registries.read import BadRegistries, read_registries
from runtime.errors import Invalid
from runtime.images.reference import DEFAULT_DOMAIN, Reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.docker_config import default_path, find_credential
from runtime.images.registry.endpoints import HUB_HOST, Endpoint, Registries
from runtime.images.registry.origin import Origin

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origins:
    """path: the registries file; a missing one says nothing special. logins: Docker's config.json."""

    path: Path
    logins: Path | None = None

    def of(self, reference: Reference, project: str = "") -> tuple[Origin, ...]:
        """Whom to ask for an image, in turn, and as whom: what the project's own logins say comes first.
        `Invalid` for files that cannot be read."""
        registries = self.registries()
        own = registries.logins.get(project)
        files = [*([Path(own)] if own else []), self._logins()]
        endpoints = registries.endpoints(reference.domain)
        return tuple(Origin(each, _credential(_domain(each), files)) for each in endpoints)

    def registries(self) -> Registries:
        try:
            return read_registries(_content(self.path), str(self.path))
        except FileNotFoundError:
            return Registries()
        except OSError as error:
            raise Invalid("read registries", str(self.path), error.strerror or str(error)) from error
        except BadRegistries as error:
            raise Invalid("read registries", str(self.path), error.problems[0]) from None

    def _logins(self) -> Path:
        return self.logins or default_path()


def _credential(domain: str, files: Sequence[Path]) -> Credential | None:
    """The first that one of the files has."""
    found = (find_credential(domain, file) for file in files)
    return next((each for each in found if each is not None), None)


def _domain(endpoint: Endpoint) -> str:
    """Logins are by the domain that names have."""
    return DEFAULT_DOMAIN if endpoint.host == HUB_HOST else endpoint.host


def _content(path: Path) -> bytes:
    """At most MAX_BYTES of a regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(0, f"longer than {MAX_BYTES} bytes")
    return data
