"""The same Dockerfile, the same image config and history as docker: against its recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.images.dockerfile.config_document import to_document
from runtime.images.dockerfile.problems import DockerfileInvalid
from tests.unit.images.dockerfile.build import plan_of

RECORDED = json.loads((Path(__file__).parents[3] / "data/dockerfile/docker.json").read_text())
ANSWERS = {answer["dockerfile"].removeprefix("FROM scratch\n"): answer for answer in RECORDED["answers"]}

OTHERWISE = {
    'CMD ["a"] trailing\n': "docker 26 reads to the list's end; for newer ones it is the shell's",
    "WORKDIR /a/../b/./c/\n": "docker 26 keeps the path as it is; newer ones clean it",
    "STOPSIGNAL 99\n": "no kernel has it, so no container could be stopped",
    "COPY --chmod=999 a /x\n": "docker 26 drops it without a word; newer ones refuse",
}
FILES_ARE_MISSING = ("COPY a b c /x/\n", "COPY --from=scratch a /x\n")  # what only a build can see


def told(body: str) -> dict[str, Any] | None:
    """The config as docker's keys, with the history; None when it is refused."""
    try:
        plan = plan_of(f"FROM scratch\n{body}")
    except DockerfileInvalid:
        return None
    (stage,) = plan.stages
    return {
        "config": {
            key: value for key, value in to_document(stage.config).items() if value not in ([], {}, "", None)
        },
        "history": [step.history.created_by for step in stage.steps],
    }


@pytest.mark.parametrize("body", [body for body in ANSWERS if body not in (*OTHERWISE, *FILES_ARE_MISSING)])
def test_the_config_is_dockers(body: str) -> None:
    ours, theirs = told(body), ANSWERS[body]
    if ours is None or "error" in theirs:
        assert (ours is None) == ("error" in theirs), theirs
        return
    assert ours["config"] == theirs["config"]


@pytest.mark.parametrize(
    "body", [body for body in ANSWERS if body not in OTHERWISE and "error" not in ANSWERS[body]]
)
def test_the_history_is_dockers_without_its_builders_name(body: str) -> None:
    """Left out: HEALTHCHECK and EXPOSE, which newer dockers write otherwise; ONBUILD, which has none there;
    ARG with a value from outside, which newer ones write out."""
    if any(word in body.upper() for word in ("HEALTHCHECK", "EXPOSE", "ONBUILD", "ARG TARGET")):
        return
    ours = told(body)
    assert ours is not None
    assert ours["history"] == [line.removesuffix(" # buildkit") for line in ANSWERS[body]["history"]]


@pytest.mark.parametrize("body", OTHERWISE)
def test_what_is_otherwise_is_otherwise(body: str) -> None:
    """A difference that has gone is no longer one to explain."""
    ours, theirs = told(body), ANSWERS[body]
    assert ours is None or ours["config"] != theirs.get("config")
