"""`setpoint explain container.healthcheck`: what a field means. Pure; the words are in `descriptions`."""

from __future__ import annotations

from dataclasses import dataclass

from agent.manifest.descriptions import KINDS, Description
from agent.manifest.parse_values import did_you_mean
from runtime.errors import NotFound


@dataclass(frozen=True, slots=True)
class Explanation:
    """fields: (name, what it means) of what lies below, in order."""

    path: str
    text: str
    example: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [self.path, "", f"  {self.text}"]
        if self.example:
            lines += ["", f"  {self.example}"]
        if self.fields:
            width = max(len(name) for name, _ in self.fields)
            lines += ["", *(f"  {name:<{width}}  {text}" for name, text in self.fields)]
        return "\n".join(lines)


def explain(path: str = "") -> Explanation:
    """What a field means: "" lists the kinds, "container" its fields, "container.ports" one of them.

    A path without a kind is looked for in a container. Raises NotFound, with the closest name.
    """
    words = [word for word in path.strip(".").split(".") if word]
    if words and words[0].lower() not in KINDS and words[0] in KINDS["container"].fields:
        words.insert(0, "container")
    found = Description("What a manifest can describe.", fields=KINDS)
    walked: list[str] = []
    for word in words:
        name = word.lower() if not walked else word
        below = found.fields.get(name)
        if below is None:
            raise NotFound("explain", path, f'no field "{word}"', did_you_mean(word, found.fields))
        walked.append(name)
        found = below
    fields = tuple((name, below.text) for name, below in sorted(found.fields.items()))
    return Explanation(".".join(walked) or "manifest", found.text, found.example, fields)
