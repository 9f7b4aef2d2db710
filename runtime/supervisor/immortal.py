"""What the supervisor has loaded stays, so that its references are counted no more.

A call counts references to its function, code, constants and module. Each count that is written after a fork
makes the kernel copy a page, in the child and in the supervisor: two of five that an exec copied. CPython
3.12 has objects whose references nobody counts (PEP 683), and no call that makes an object one of them. The
count is an object's first word: it is looked at first, and let be where it is not what these versions have.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types

_KNOWN = ((3, 12), (3, 13))
_FOREVER = 0xFFFFFFFF  # _Py_IMMORTAL_REFCNT (Include/object.h) of 64 bits
# They end with the call that they are of.
_PASSING = frozenset((types.FrameType, types.GeneratorType, types.CoroutineType, types.TracebackType))


def make_immortal() -> int:
    """All that is loaded now: how many objects. To be called before there is anything that may go: what is
    immortal is never freed, and so is nothing that it refers to for as long as it does."""
    if not is_known():
        return 0
    made = 0
    todo = gc.get_objects()
    while todo:
        each = todo.pop()
        if sys.getrefcount(each) >= _FOREVER or type(each) in _PASSING:
            continue
        _count_of(each).value = _FOREVER
        made += 1
        if type(each) is types.CodeType:  # the collector does not look into one
            todo += each.co_consts, each.co_names
        else:
            todo += gc.get_referents(each)
    return made


def is_known() -> bool:
    """Whether an object's first word is its count here, and an immortal one's what we take it for."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _KNOWN:
        return False
    mortal = object()
    alone = _count_of(mortal).value
    more = [mortal, mortal]
    counts = alone, _count_of(mortal).value, _count_of(None).value
    return ctypes.sizeof(ctypes.c_ssize_t) == 8 and counts == (1, 1 + len(more), _FOREVER)


def _count_of(thing: object) -> ctypes.c_ssize_t:
    return ctypes.c_ssize_t.from_address(id(thing))
