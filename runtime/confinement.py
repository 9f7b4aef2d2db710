"""The default AppArmor profile of an instance: in the kernel before the first container needs it, and still
there later.

    engine opens ─> loading, beside ─┐
    container starts ─> ready ───────┴─> (one stat) ─> started under the profile, or not at all

Called by `engine` and `life`. On a host without AppArmor it does nothing and costs an attribute's look.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path

from runtime import apparmor
from runtime.layout import Layout
from runtime.model import Drift, Security


class Confinement:
    """profile: the name of what confines every container that names none; "" on a host that has no
    AppArmor, or no program to load a profile with and none loaded: then as other engines do there, and
    `doctor` says so."""

    def __init__(self, layout: Layout) -> None:
        self._stamp = layout.run / "apparmor"
        self._loaded: apparmor.Loaded | None = None
        self._loading: asyncio.Task[None] | None = None
        self.is_on = apparmor.is_on()
        self.can_load = self.is_on and apparmor.parser() is not None
        name = layout.apparmor_profile
        self.profile = name if self.can_load or (self.is_on and apparmor.find(name)) else ""

    def open(self) -> None:
        """Begin to load it, beside everything else."""
        if self.profile:
            self._begin()

    async def close(self) -> None:
        if self._loading is not None:
            with contextlib.suppress(Exception):
                await self._loading

    async def ready(self, security: Security) -> None:
        """Back when the profile that a container with this security is started under is in the kernel, if
        it is ours. Temporary when it cannot be loaded."""
        if not self.profile or not self._is_for(security):
            return
        if self._loaded is None or not self._loaded.is_there():
            await asyncio.shield(self._begin())

    def _is_for(self, security: Security) -> bool:
        if security.apparmor:
            return security.apparmor == self.profile
        return not security.privileged

    def _begin(self) -> asyncio.Task[None]:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
            self._loading.add_done_callback(self._end)
        return self._loading

    def _end(self, task: asyncio.Task[None]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # whoever waits has it; the next start tries again

    async def _load(self) -> None:
        self._loaded = await asyncio.to_thread(ensure, self.profile, self._stamp)

    # --- drift

    def find_drift(self) -> tuple[Drift, ...]:
        """What happened to the profile since it was loaded: taken away, exchanged, or made to complain."""
        if self._loaded is None or self._loading is not None:
            return ()
        found = apparmor.find(self.profile)
        if found == self._loaded:
            return ()
        what = "is another one now" if found else "is not loaded any more"
        if found and found.mode != "enforce":
            what = f"is in mode {found.mode}"
        return (Drift("apparmor", "", f"AppArmor profile {self.profile} {what}"),)

    async def repair(self) -> None:
        self._loaded = None
        self._stamp.unlink(missing_ok=True)
        await asyncio.shield(self._begin())


def ensure(name: str, stamp: Path) -> apparmor.Loaded:
    """The profile as this version writes it, loaded unless it is there already. stamp: a file of this boot
    that says which text the kernel's profile was compiled from. Temporary when it cannot be loaded."""
    wanted = hashlib.sha256(apparmor.text_for(name).encode()).hexdigest()
    found = apparmor.find(name)
    if found and found.mode == "enforce" and _read(stamp) == f"{wanted} {found.digest}":
        return found
    program = apparmor.parser()
    if program is None:
        if found and found.mode == "enforce":
            return found
        raise apparmor.failed(name, "apparmor_parser is not installed any more")
    loaded = apparmor.load(name, program)
    stamp.touch(0o600)  # its directory is one that containers' ids pass through
    stamp.write_text(f"{wanted} {loaded.digest}")
    return loaded


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
