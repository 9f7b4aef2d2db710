"""Reads a file of the host's own that is one YAML document: the policy, the registries. Pure.

Called by `agent.policy.read` and `agent.registries.read`, each with the parser of its document.
"""

from __future__ import annotations

from typing import TypeVar

from agent.manifest.parse_values import Parser, guard
from agent.manifest.reading import Reading, ReadOptions
from agent.manifest.yaml_nodes import BadYaml, read_documents

T = TypeVar("T")


class BadFile(Exception):
    """problems: one line each, `file:line:column: what (hint: …)`."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def read_one(data: bytes, origin: str, parse: Parser[T], what: str, error: type[BadFile]) -> T:
    """What the document says. Raises `error` with everything that is wrong with it. origin: the file's path,
    for messages; what: the file in words, "a policy"."""
    r = Reading(origin, {origin: data}, ReadOptions())
    found = None
    try:
        documents = read_documents(data, r.report)
        if len(documents) == 1:
            found = guard(r, documents[0], parse)
        else:
            r.report(1, 1, f"{what} is one document, and here are {len(documents)}")
    except BadYaml as bad:
        r.report(bad.line, bad.column, bad.message, bad.hint)
    if r.errors or found is None:
        raise error(*(str(each) for each in r.errors))
    return found
