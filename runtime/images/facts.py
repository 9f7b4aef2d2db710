"""What is known of an image when it is to get a name here, or to run: the value that is judged, and who
judges it. Pure; the judge is the agent's (`agent.policy`), which this package does not know.

    pull, load, import, tag, commit, build ─> ImageFacts ─> Admission.admit_image ─> a name here, or an error
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

SIMPLE, DSSE = "simple", "dsse"


@dataclass(frozen=True, slots=True)
class Signature:
    """As a registry gave it: nobody has checked it. kind: "simple", where payload is what was signed
    (cosign's simple signing), or "dsse", where it is what an envelope of in-toto's holds (sigstore's
    bundle)."""

    kind: str
    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """name: canonical, "" for none. digests: of the manifest, then of the index that it was chosen from.
    first_seen_at: when this host first heard of one of them, by its own clock. is_exact: this very image is
    meant, whatever a tag comes to mean: it is at hand (load, import, tag, commit, build), or its id was said.
    image_id: of one that is here already, since its name may have moved."""

    name: str
    digests: tuple[str, ...] = ()
    architecture: str = ""
    signatures: tuple[Signature, ...] = ()
    first_seen_at: float = 0.0
    is_exact: bool = False
    image_id: str = ""


class Admission(Protocol):
    """Who says which images may come and run. Called from several threads."""

    def has_image_rules(self) -> bool:
        """Whether any image may be refused: where none is, nothing is kept of what is known of them."""

    def wants_signatures(self, name: str) -> bool:
        """Whether they are worth fetching for an image of this name."""

    def check_image(self, op: str, name: str) -> None:
        """Raises for an image that may not come whatever it is, before a registry is asked for it."""

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        """Raises `Invalid` for an image that may not have the name or run, `Temporary` for one that may
        later."""


Admit = Callable[[ImageFacts], None]


class _Everything:
    def has_image_rules(self) -> bool:
        return False

    def wants_signatures(self, name: str) -> bool:
        return False

    def check_image(self, op: str, name: str) -> None:
        return None

    def admit_image(self, op: str, facts: ImageFacts) -> None:
        return None


EVERYTHING: Admission = _Everything()
"""For who uses this package without an agent."""


def admit_all(facts: ImageFacts) -> None:
    """For steps that give no image a name."""
    return


# --- on its way between processes, and to disk --------------------------------------------------


def facts_to_json(facts: ImageFacts) -> dict[str, Any]:
    return {**asdict(facts), "signatures": [signature_to_json(each) for each in facts.signatures]}


def facts_from_json(value: Mapping[str, Any]) -> ImageFacts:
    """Of what `facts_to_json` made."""
    signatures = tuple(signature_from_json(each) for each in value["signatures"])
    return ImageFacts(**{**value, "digests": tuple(value["digests"]), "signatures": signatures})


def signature_to_json(signature: Signature) -> dict[str, str]:
    return {
        "kind": signature.kind,
        "payload": base64.b64encode(signature.payload).decode(),
        "signature": base64.b64encode(signature.signature).decode(),
    }


def signature_from_json(value: Any) -> Signature:
    """Of what `signature_to_json` made. ValueError for anything else."""
    try:
        return Signature(
            str(value["kind"]),
            base64.b64decode(value["payload"], validate=True),
            base64.b64decode(value["signature"], validate=True),
        )
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"no signature: {error}") from None
