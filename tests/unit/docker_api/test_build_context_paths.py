"""Which files a plan can take of its context: rather too many than too few."""

from __future__ import annotations

import pytest

from runtime.images.build.context_paths import MAX_PATHS, context_paths
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.dockerfile.plan import BuildPlan, BuildRequest, make_plan, missing_bases
from runtime.images.dockerfile.stages import read_dockerfile


def plan(text: str) -> BuildPlan:
    dockerfile = read_dockerfile(f"FROM busybox AS base\n{text}\n".encode(), "Dockerfile")
    request = BuildRequest("linux/amd64", "linux/amd64")
    bases: dict[object, ImageConfig] = {}
    while missing := missing_bases(dockerfile, request, bases):  # type: ignore[arg-type]
        bases |= {wanted: ImageConfig() for wanted in missing}
    return make_plan(dockerfile, request, bases)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("RUN true", ()),
        ("COPY a /", ("a",)),
        ("ARG D=src\nCOPY $D/main.py b/ /x/\nADD c.tar /", ("src/main.py", "b", "c.tar")),
        ("COPY *.txt d?/x /y/", ("*.txt", "d?/x")),
        ("COPY --from=busybox a /", ()),
        ("COPY <<EOF /x\na\nEOF", ()),
        ("ADD https://example.org/a /", ()),
        ("RUN --mount=type=bind,source=m,target=/m true", ("m",)),
        ("RUN --mount=type=bind,target=/m true", None),
        ("RUN --mount=type=cache,target=/m true", ()),
        ("COPY . /", None),
        ("COPY / /", None),
        ("COPY a . /x/", None),
        ("COPY a[b] /", None),
        ("COPY **/a /", None),
        ("COPY ../a /", ("a",)),
        ("COPY näme /", ("näme",)),
    ],
)
def test_the_paths_of_a_plan(text: str, paths: tuple[str, ...] | None) -> None:
    assert context_paths(plan(text)) == paths


def test_too_many_are_all() -> None:
    names = " ".join(f"f{number}" for number in range(MAX_PATHS + 1))
    assert context_paths(plan(f"COPY {names} /x/")) is None
