"""What happened."""

from typing import TypedDict

from agent.api.openapi.shapes.words import Key, Moment


class Event(TypedDict):
    """Something that happened to an object. cause: revision, file and line, observation. id: rises."""

    id: int
    at: Moment
    key: Key
    type: str
    reason: str
    message: str
    revision: str
    cause: list[str]


class Revision(TypedDict):
    """A state of the source, and what became of it. converged_at: null until all of it is so."""

    id: str
    source: str
    seen_at: Moment
    outcome: str
    message: str
    converged_at: float | None
    subject: str
    author: str
