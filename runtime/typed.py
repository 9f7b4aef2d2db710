"""What `typing` has, for the modules that the supervisor loads. Who checks types sees typing's own; it has
0.7 MB, which each fork copies and each exec takes down, for the one class in it that does something.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Any
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
else:
    Any = NoReturn = None  # nothing but annotations has them, which are not evaluated

    _OWN = frozenset(
        ["__annotations__", "__module__", "__qualname__", "__static_attributes__", "__firstlineno__"]
    )

    class _Maker(type):
        """Makes of a class with annotated fields what collections.namedtuple makes."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            made.__qualname__ = body["__qualname__"]
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in body.items():
                if key not in _OWN and key not in fields:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """As typing's, for classes that derive from nothing else."""
