"""What is amiss with an instance, as a value. Pure; made by the judges, shown by `doctor --leaks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lost", "wrong", "doubled", "leaked", "stuck", "touched"]
KINDS: tuple[Kind, ...] = ("lost", "wrong", "doubled", "leaked", "stuck", "touched")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """kind: one of the six. subject: the thing, always named alike. message: what is amiss with it, in words
    that may differ from look to look. hint: what to do about it."""

    kind: Kind
    subject: str
    message: str
    hint: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """The same in every look that finds it."""
        return self.kind, self.subject

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.message}"
