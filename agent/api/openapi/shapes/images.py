"""Images, and the lines of what takes long with them."""

from typing import NotRequired, TypedDict

from agent.api.openapi.shapes.words import Key, Moment
from runtime.images.pushed import Pushed


class Checked(TypedDict):
    """damage: "" for one that is whole, as far as is known. checked_at: null for never."""

    damage: str
    checked_at: float | None


class Made(TypedDict):
    """An image, by its id and its names."""

    id: str
    names: list[str]


class ImagesMade(TypedDict):
    """The last line: what is here now."""

    images: list[Made]


class ImagePushed(TypedDict):
    """The last line: what the registry has now."""

    pushed: Pushed


class Damage(TypedDict):
    """A finding, as `runtime.images.check.Finding` has it, and the names of its image."""

    image: str
    subject: str
    path: str
    reason: str
    repair: str
    is_warning: bool
    names: list[str]


class ImageFound(TypedDict):
    """Something damaged, or weak."""

    finding: Damage


class ImagesChecked(TypedDict):
    """The last line: how many images were looked at."""

    checked: int


class ImageRemoved(TypedDict):
    """removed: names and ids that are gone."""

    reference: str
    removed: list[str]


class ImageTagged(TypedDict):
    """The name that it has now, as people write it."""

    source: str
    reference: str


class ImageHere(TypedDict):
    """Beside its documents: its names, and the containers that have it."""

    names: list[str]
    size_bytes: int
    created_at: Moment
    containers: list[str]


class Tags(TypedDict):
    """What the registry has of a repository."""

    tags: list[str]


class ImageUpdate(TypedDict):
    """What is newer than an image that a manifest names. waits: for what, or ""."""

    key: Key
    file: str
    line: int
    image: str
    policy: str
    error: str
    available: bool
    tag: str
    digest: str
    why: str
    waits: str
    seen_at: float | None


class Lease(TypedDict):
    """An image, or all that a name means, is kept until then."""

    id: str
    image: NotRequired[str]
    name: NotRequired[str]
    owner: str
    expires_at: Moment


class Released(TypedDict):
    """The lease that is no more."""

    released: str


class CommitOrder(TypedDict):
    """changes: instructions for the image's config. pause: hold the container meanwhile (it is by default).
    force: a name that another image has moves."""

    name: str
    changes: NotRequired[list[str]]
    message: NotRequired[str]
    author: NotRequired[str]
    pause: NotRequired[bool]
    force: NotRequired[bool]


class BuildBegun(TypedDict):
    """The first line: the id of its log."""

    build: str


class BuildEvent(TypedDict):
    """What a build says: a step that begins, a line that it prints, its end, or a remark, each with fields
    of its own."""

    kind: str


class Build(TypedDict):
    """A build that was, or is. Neither secrets nor the values of arguments are kept."""

    id: str
    tags: list[str]
    context: str
    dockerfile: str
    target: str
    arguments: list[str]
    state: str
    started_at: Moment
    ended_at: NotRequired[Moment]
    image: NotRequired[str]
    error: NotRequired[str]
    run: NotRequired[int]
    cached: NotRequired[int]


class BuildTold(TypedDict):
    """The first line."""

    build: Build
