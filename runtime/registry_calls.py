"""What is asked of registries beside pulls: a push, what a tag means now, which tags and repositories there
are. Called by the engine, in its event loop; each is a process of its own, ended when nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.errors import Unsupported
from runtime.images.reference import Reference, parse_reference
from runtime.images.registry.origin import Origin, asked_as
from runtime.images.stop import Stop
from runtime.images.worker import IsolatedImages
from runtime.pulls import FindOrigins

if TYPE_CHECKING:
    from runtime.images.progress import Progress
    from runtime.images.pushed import Pushed
    from runtime.images.registry.credentials import Credential

Report = Callable[["Progress"], None]
_Result = TypeVar("_Result")


class RegistryCalls:
    """find_origins: whom to ask for an image, mirrors first; it may block. None: there are no registries.
    pushing: is told what is being pushed, by canonical name."""

    def __init__(
        self, images: IsolatedImages, find_origins: FindOrigins | None, pushing: Counter[str]
    ) -> None:
        self._images = images
        self._find_origins = find_origins
        self._pushing = pushing

    async def push(
        self, reference: str, report: Report | None = None, credential: Credential | None = None
    ) -> Pushed:
        """Raises as `Images.push`. report is called in the event loop. A mirror is nowhere to push to.
        credential, here and below: who asks, in place of what is known here, and kept nowhere."""
        asked, loop = parse_reference(reference), asyncio.get_running_loop()

        def tell(progress: Progress) -> None:
            if report is not None:
                loop.call_soon_threadsafe(report, progress)

        def work(stop: Stop) -> Pushed:
            origin = asked_as(credential, self._origins("push image", asked))[-1]
            return self._images.push(reference, origin, tell, stop)

        self._pushing[asked.canonical] += 1
        try:
            return await in_thread(work)
        finally:
            self._pushing[asked.canonical] -= 1
            if not self._pushing[asked.canonical]:
                del self._pushing[asked.canonical]

    async def digest(self, reference: str) -> str:
        """What a name means now, an index's digest where it is one. Raises as `Images.pull`."""
        found = await self._ask("digest", parse_reference(reference))
        return str(found[0]["digest"])

    async def describe(self, reference: str, platform: str = "") -> dict[str, Any]:
        """An image as its registry has it: the fields of `remote.RemoteImage`, for this host's platform when
        it is ""."""
        return (await self._ask("describe", parse_reference(reference), platform=platform))[0]

    async def tags(self, reference: str, most: int, credential: Credential | None = None) -> list[str]:
        found = await self._ask("tags", parse_reference(reference), "", credential, most=most)
        return [str(each["name"]) for each in found]

    async def search(
        self, domain: str, word: str, most: int, credential: Credential | None = None
    ) -> list[dict[str, Any]]:
        """Repositories with that word: the fields of `told.FoundRepository`."""
        asked = Reference(domain, "")
        return await self._ask("search", asked, word, credential, domain=domain, most=most)

    async def resolve(self, reference: str, credential: Credential | None = None) -> dict[str, Any]:
        """What a name stands for now: the fields of `remote.RemoteDescriptor`."""
        return (await self._ask("resolve", parse_reference(reference), "", credential))[0]

    async def check_login(self, domain: str, credential: Credential) -> None:
        """`Invalid` when the registry does not let them in, `Temporary` when it is away."""
        await self._ask("login", Reference(domain, ""), domain, credential)

    async def _ask(
        self,
        what: str,
        asked: Reference,
        subject: str = "",
        credential: Credential | None = None,
        **more: object,
    ) -> list[dict[str, Any]]:
        def work(stop: Stop) -> list[dict[str, Any]]:
            origins = asked_as(credential, self._origins(f"{what} image", asked))
            return self._images.ask(
                what, subject or (asked.canonical if asked.path else ""), origins, stop, **more
            )

        return await in_thread(work)

    def _origins(self, op: str, asked: Reference) -> Sequence[Origin]:
        if self._find_origins is None:
            raise Unsupported(op, asked.familiar, "this engine knows no registries")
        return self._find_origins(asked, "")


async def in_thread(work: Callable[[Stop], _Result]) -> _Result:
    """Its result. When who waits goes away, the work is told to stop."""
    stop = Stop()
    try:
        return await asyncio.to_thread(work, stop)
    except asyncio.CancelledError:
        stop.ask()
        raise
