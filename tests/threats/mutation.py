"""What a mutation is: see `mutations`."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """row: of the list of known attacks. test: a pytest node, or a file of which one test must fail."""

    row: str
    file: str
    old: str
    new: str
    test: str
