"""What stands in for `typing` in the supervisor makes the same named tuples, and keeps typing out of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from runtime import typed

ROOT = Path(__file__).resolve().parents[3]


class Theirs(typing.NamedTuple):
    """Three fields."""

    name: str
    size: int = 4
    more: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        return self.size > 10

    @classmethod
    def parse(cls, text: str) -> Theirs:
        return cls(text)


class Ours(typed.NamedTuple):
    """Three fields."""

    name: str
    size: int = 4
    more: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        return self.size > 10

    @classmethod
    def parse(cls, text: str) -> Ours:
        return cls(text)


def test_a_named_tuple_is_what_typing_makes() -> None:
    assert tuple(Ours("a")) == tuple(Theirs("a")) == ("a", 4, ()) == Ours("a")
    assert repr(Ours("a", more=("b",))) == repr(Theirs("a", more=("b",))).replace("Theirs", "Ours")
    for name in ("_fields", "_field_defaults", "__doc__", "__module__", "__match_args__", "__slots__"):
        assert getattr(Ours, name) == getattr(Theirs, name)
    assert Ours.__annotations__.keys() == Theirs.__annotations__.keys()
    assert typing.get_type_hints(Ours) == typing.get_type_hints(Theirs)
    assert issubclass(Ours, tuple) and Ours.__qualname__ == "Ours"


def test_its_methods_and_copies() -> None:
    made = Ours.parse("a")
    assert type(made) is Ours and not made.is_large
    assert made._replace(size=11).is_large
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(TypeError):
        Ours()  # type: ignore[call-arg]


@pytest.mark.parametrize("module", ["typing", "dataclasses", "inspect", "pathlib"])
def test_the_supervisor_is_without(module: str) -> None:
    """What it loads each fork copies."""
    loads = "from runtime.supervisor import serving, operations, adoption, reexec, own_socket, own_cgroup"
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {loads}; print({module!r} in sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert found.stdout == "False\n"
