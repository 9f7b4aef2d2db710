"""Brings the signatures of images that are here already: a rule that asks for them may be younger than the
image. No layer is fetched, and no tag is asked for. Called by the engine, in its event loop.

    facts of the image (its digests) ─> its registry, in a worker's process ─> kept with the image's evidence

Whether they are good is for who judges (`Admission`), at the next look.
"""

from __future__ import annotations

from runtime.begun import Begun, OnEnd
from runtime.errors import SetpointError, Unsupported
from runtime.images.error_view import to_error
from runtime.images.facts import ImageFacts, signature_from_json
from runtime.images.reference import parse_reference
from runtime.images.stop import Stop
from runtime.images.worker import IsolatedImages
from runtime.model import PullState
from runtime.pulls import FindOrigins
from runtime.registry_calls import in_thread

OP = "ask for signatures of"


class SignatureCalls:
    """find_origins: whom to ask about an image, for a project; it may block. None: there are no registries.
    on_end: hears of what came, by its reference, and of what was begun and did not."""

    def __init__(self, images: IsolatedImages, find_origins: FindOrigins | None, on_end: OnEnd) -> None:
        self._images = images
        self._find_origins = find_origins
        self._on_end = on_end
        self._begun = Begun(OP, on_end)

    def begin(self, reference: str, project: str = "") -> None:
        """Bring them for nobody in particular; `state` and on_end tell what becomes of it."""
        self._begun.begin(reference, lambda: self._in_thread(reference, project), project)

    def state(self, reference: str) -> PullState | None:
        return self._begun.state(reference)

    async def close(self) -> None:
        await self._begun.close()

    async def bring(self, reference: str, project: str = "") -> bool:
        """Of an image that is here, for each of its names that somebody asks signatures of; whether there is
        one. Returns when they are kept. `Temporary` for a registry in need, `Invalid` for one that does not
        let us: what another one said is kept all the same."""
        is_asked = await self._in_thread(reference, project)
        self._on_end(reference, None)
        return is_asked

    async def _in_thread(self, reference: str, project: str) -> bool:
        return await in_thread(lambda stop: self._bring(reference, project, stop))

    def _bring(self, reference: str, project: str, stop: Stop) -> bool:
        asked = self._images.to_be_signed(reference)
        failures = [self._bring_for(facts, project, stop) for facts in asked]
        for failure in filter(None, failures):
            raise failure
        return bool(asked)

    def _bring_for(self, facts: ImageFacts, project: str, stop: Stop) -> SetpointError | None:
        name = parse_reference(facts.name)
        if self._find_origins is None:
            return Unsupported(OP, name.familiar, "this engine knows no registries")
        origins = self._find_origins(name, project)
        try:
            (found,) = self._images.ask(
                "signatures", name.canonical, origins, stop, digests=list(facts.digests)
            )
        except SetpointError as error:
            return error
        self._images.keep_signatures(facts, map(signature_from_json, found["signatures"]))
        return to_error(found["failure"]) if found["failure"] else None
