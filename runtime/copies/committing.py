"""What a worker does with what a container wrote, for `docker commit`: an image of it, put into the store.

    {"progress": …} …, {"ask": facts, "op": …} and a line of the answers, {"done": the image's id}

Called by the worker, bound to reading the one directory and to the image store. Loaded with the first commit:
who only copies pays nothing for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from runtime import disk
from runtime.copies.inlet import read_whole
from runtime.errors import Temporary
from runtime.images import directories, tree  # noqa: F401  as layers are unpacked: it is too late then
from runtime.images.container_commit import Commit, commit_container
from runtime.images.error_view import to_error
from runtime.images.facts import Admit, ImageFacts, facts_to_json
from runtime.images.index import prepare_root
from runtime.images.reporter import Reporter

Say = Callable[[Mapping[str, object]], None]
OP = "commit"


def load_changes() -> None:
    """For a commit with changes: the reader of Dockerfiles."""
    from runtime.images import config_changes  # noqa: F401


def commit(told: Mapping[str, Any], say: Say) -> None:
    """told: what `container_files` says, with the descriptors. SetpointError, OSError."""
    wanted = json.loads(read_whole(told["wanted"]))
    store = Path(told["store"])
    with open(told["answers"], encoding="utf-8") as answers:  # noqa: PTH123  a descriptor
        try:
            prepare_root(store)
            image = commit_container(
                store, Commit(**{**wanted, "changes": tuple(wanted["changes"])}), Reporter(say),
                _asking(say, answers),
            )  # fmt: skip
        except OSError as error:
            if (explained := disk.explained(OP, told["name"], error, store)) is None:
                raise
            raise explained from error
    say({"done": image.info.id})


def _asking(say: Say, answers: IO[str]) -> Admit:
    """Ask who began us, which knows the rules, and wait for its answer. When it has none, it says yes."""

    def admit(facts: ImageFacts) -> None:
        say({"ask": facts_to_json(facts), "op": OP})
        answer = json.loads(answers.readline() or "null")
        if answer is None:
            raise Temporary(OP, facts.name, "given up: nobody is there to allow it")
        if "error" in answer:
            raise to_error(answer["error"])

    return admit
