"""An instruction with its variables expanded: in exactly the places where Docker does. Pure.

Expanded: ENV, LABEL, EXPOSE, USER, VOLUME, WORKDIR, STOPSIGNAL, the words and most flags of COPY and ADD,
here-documents of COPY and ADD. Not expanded: RUN, CMD, ENTRYPOINT, HEALTHCHECK and SHELL (a shell does
that when they run), ONBUILD, MAINTAINER, --from. FROM and ARG are read by graph.py and stage_plan.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from runtime.images.dockerfile import instructions, limits
from runtime.images.dockerfile.expansion import Expanded, Rules, expand, in_document
from runtime.images.dockerfile.instructions import HereDocument, Instruction
from runtime.images.dockerfile.problems import Mistake


@dataclass(slots=True)
class Budget:
    """What all expansions of a plan may still make, in characters."""

    left: int = limits.EXPANDED_CHARACTERS

    def spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise Mistake(
                f"the variables expand to more than {limits.EXPANDED_CHARACTERS} characters in all",
                "shorten the values that are used most",
            )


class Words:
    """Expands words with the variables of one moment; keeps the names that were unset."""

    def __init__(self, variables: Mapping[str, str], escape: str, budget: Budget) -> None:
        self._variables = variables
        self._rules = Rules(escape)
        self._budget = budget
        self.unset: dict[str, None] = {}

    def one(self, word: str) -> str:
        return self._expand(word, self._rules).text

    def several(self, word: str) -> tuple[str, ...]:
        """Split at spaces of the values."""
        return self._expand(word, self._rules).words

    def document(self, content: str) -> str:
        return self._expand(content, in_document(self._rules)).text

    def _expand(self, word: str, rules: Rules) -> Expanded:
        try:
            expanded = expand(word, self._variables, rules)
        except Mistake as mistake:
            raise Mistake(mistake.text, mistake.hint, mistake.word or word) from None
        self._budget.spend(expanded.cost)
        self.unset.update(dict.fromkeys(sorted(expanded.unset)))
        return expanded


def expand_instruction(instruction: Instruction, words: Words) -> Instruction:
    match instruction:
        case instructions.Env(pairs=pairs) | instructions.Label(pairs=pairs):
            return replace(instruction, pairs=_pairs(pairs, words.one))
        case instructions.Expose(ports=ports):
            return replace(instruction, ports=tuple(one for port in ports for one in words.several(port)))
        case instructions.User(user=user):
            return replace(instruction, user=words.one(user))
        case instructions.Workdir(path=path):
            return replace(instruction, path=words.one(path))
        case instructions.StopSignal(signal=signal):
            return replace(instruction, signal=words.one(signal))
        case instructions.Volume(paths=paths):
            return replace(instruction, paths=tuple(map(words.one, paths)))
        case instructions.Transfer():
            return _transfer(instruction, words)
        case _:
            return instruction


def _pairs(pairs: tuple[tuple[str, str], ...], one: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    return tuple((one(name), one(value)) for name, value in pairs)


def _transfer(transfer: instructions.Transfer, words: Words) -> instructions.Transfer:
    try:
        sources, destination = tuple(map(words.one, transfer.sources)), words.one(transfer.destination)
    except Mistake as mistake:
        is_split = "quote" in mistake.text  # words of COPY end at a space, quoted or not
        hint = 'with spaces write ["A SOURCE", "A DESTINATION"]' if is_split else mistake.hint
        raise Mistake(mistake.text, hint, mistake.word) from None
    return replace(
        transfer,
        sources=sources,
        destination=destination,
        owner=words.one(transfer.owner),
        mode=words.one(transfer.mode),
        checksum=words.one(transfer.checksum),
        exclude=tuple(map(words.one, transfer.exclude)),
        documents=tuple(_document(document, words) for document in transfer.documents),
    )


def _document(document: HereDocument, words: Words) -> HereDocument:
    if not document.is_expanded:
        return document
    return replace(document, content=words.document(document.content))
