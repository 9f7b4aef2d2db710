"""What is given beside the context goes before stages and images of its name."""

from __future__ import annotations

from runtime.images.build.context_paths import context_paths, named_contexts
from runtime.images.dockerfile.steps import BindMount, CacheMount, FromContext, FromImage, RunAction
from tests.unit.images.dockerfile.build import AMD, mistakes_of, plan_of, steps_of

PINNED = "docker.io/library/alpine@sha256:" + "a" * 64


def test_an_image_takes_the_place_of_one_that_is_named() -> None:
    for name in ("alpine", "alpine:latest", "docker.io/library/alpine"):
        plan = plan_of(f"FROM {name}\nCOPY --from={name} a b\n", contexts={"alpine": PINNED})
        assert plan.stages[0].base == FromImage(PINNED, AMD) and plan.images == (FromImage(PINNED, AMD),)
    assert plan_of("FROM alpine:3\n", contexts={"alpine": PINNED}).images[0].reference.endswith("alpine:3")


def test_it_goes_before_a_stage_of_its_name_which_is_then_not_built() -> None:
    plan = plan_of("FROM x AS base\nRUN a\nFROM Base\nRUN b\n", contexts={"base": PINNED})
    assert [stage.base for stage in plan.stages] == [FromImage(PINNED, AMD)]


def test_a_directory_gives_files_and_is_no_base() -> None:
    step, run = steps_of(
        "COPY --from=Shared a b\n"
        "RUN --mount=type=bind,from=shared,target=/m --mount=type=cache,from=other,target=/c x\n",
        contexts={"shared": "", "other": "", "unused": ""},
    )
    assert getattr(step.action, "origin") == FromContext("shared")  # noqa: B009
    assert isinstance(run.action, RunAction)
    bind, cache = run.action.mounts
    assert isinstance(bind, BindMount) and bind.origin == FromContext("shared")
    assert isinstance(cache, CacheMount) and cache.origin == FromContext("other")
    said = mistakes_of("FROM shared\n", contexts={"shared": ""})
    assert len(said) == 1 and "given as a directory, which is no base" in said[0]


def test_what_a_plan_takes_of_them() -> None:
    text = "FROM scratch\nWORKDIR /w\nCOPY --from=one a b\nCOPY c d\nRUN --mount=from=two,target=/m x\n"
    plan = plan_of(text, contexts={"one": "", "two": "", "three": ""})
    assert named_contexts(plan) == ("one", "two")
    assert context_paths(plan) == ("c",)  # of the context, none of the others'
