"""Which images a list or a prune takes."""

from __future__ import annotations

import pytest

from agent.api.docker.filters import read_filters
from agent.api.docker.image_filters import OF_LIST, OF_PRUNE, list_wish, prune_wish
from agent.api.docker.image_names import ShownNames
from runtime.errors import Invalid, NotFound
from runtime.model import ImageInfo

NOW = 1000.0
PINNED = "busybox@sha256:" + "a" * 64
NAMED = ShownNames(("busybox:1", "h:1/lab/web:2"), (PINNED,))
NAMELESS = ShownNames((), ())
MOMENTS = {"old": 100.0, "young": 900.0}


def image(created_at: float = 500.0, **labels: str) -> ImageInfo:
    return ImageInfo("sha256:1", (), 1, created_at, "amd64", "linux", labels=labels)


def listed(text: str, info: ImageInfo, names: ShownNames = NAMED) -> ShownNames | None:
    def created_at(name: str) -> float:
        if name not in MOMENTS:
            raise NotFound("", "", f"No such image: {name}")
        return MOMENTS[name]

    return list_wish(read_filters(text, OF_LIST), created_at, NOW).names_of(info, names)


@pytest.mark.parametrize(
    ("filters", "is_listed"),
    [
        ("", True),
        ('{"dangling":["true"]}', False),
        ('{"dangling":["false"]}', True),
        ('{"dangling":{"0":true}}', True),
        ('{"label":["a"]}', True),
        ('{"label":["a=1"]}', True),
        ('{"label":["a=2"]}', False),
        ('{"label":["a=1","b"]}', False),
        ('{"before":["young"]}', True),
        ('{"before":["young","old"]}', False),
        ('{"since":["old"]}', True),
        ('{"since":["old","young"]}', False),
        ('{"until":["600"]}', True),
        ('{"until":["10m"]}', False),
        ('{"until":["5m"]}', True),
        ('{"reference":["busy*"]}', True),
        ('{"reference":["busybox:2"]}', False),
        ('{"reference":["*/lab/*"]}', True),
        ('{"reference":["*/*"]}', False),
        ('{"reference":["nothing","busybox"]}', True),
    ],
)
def test_a_list(filters: str, is_listed: bool) -> None:
    assert (listed(filters, image(a="1")) is not None) is is_listed


def test_only_names_that_fit_are_listed() -> None:
    assert listed('{"reference":["busybox"]}', image()) == ShownNames(("busybox:1",), (PINNED,))


def test_images_without_a_name() -> None:
    assert listed('{"dangling":["true"]}', image(), NAMELESS) == NAMELESS
    assert listed('{"dangling":["false"]}', image(), NAMELESS) is None
    assert listed('{"reference":["*"]}', image(), NAMELESS) is None


def test_what_is_no_filter() -> None:
    with pytest.raises(Invalid, match="invalid filter 'name'"):
        listed('{"name":["x"]}', image())
    with pytest.raises(Invalid, match=r"invalid filter 'dangling=\[x\]'"):
        listed('{"dangling":["x"]}', image())
    with pytest.raises(NotFound, match="No such image: x"):
        listed('{"before":["x"]}', image())
    with pytest.raises(Invalid, match="syntax error"):
        listed('{"reference":["["]}', image())


@pytest.mark.parametrize(
    ("filters", "all_unused", "stays"),
    [
        ("", False, False),
        ('{"dangling":["false"]}', True, False),
        ('{"dangling":["true"]}', False, False),
        ('{"label":["a"]}', False, False),
        ('{"label":["b"]}', False, True),
        ('{"label!":["a"]}', False, True),
        ('{"label!":["b"]}', False, False),
        ('{"label!":["a","b"]}', False, False),
        ('{"until":["400"]}', False, True),
        ('{"until":["600"]}', False, False),
    ],
)
def test_a_prune(filters: str, all_unused: bool, stays: bool) -> None:
    wish = prune_wish(read_filters(filters, OF_PRUNE), NOW)
    assert (wish.all_unused, bool(wish.spares(image(a="1")))) == (all_unused, stays)


def test_a_prune_has_one_moment() -> None:
    with pytest.raises(Invalid, match="more than one until"):
        prune_wish(read_filters('{"until":["1","2"]}', OF_PRUNE), NOW)
