"""Bounds of what a manifest says of a build."""

from __future__ import annotations

from agent.manifest.objects import Revision
from agent.manifest.parse_contexts import MAX_NAMED
from agent.manifest.reader import read


def test_so_many_contexts_and_no_more() -> None:
    for count in (MAX_NAMED, MAX_NAMED + 1):
        named = ", ".join(f"n{number}: ." for number in range(count))
        text = f"services: {{a: {{build: {{context: ., additional_contexts: {{{named}}}}}}}}}"
        errors = read(Revision("r", "s", {"shop/compose.yaml": text.encode()})).errors
        assert [f"more than {MAX_NAMED} of them" in str(error) for error in errors] == (
            [True] if count > MAX_NAMED else []
        )
