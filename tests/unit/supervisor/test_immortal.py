"""Objects that nobody counts any more, in an interpreter of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.supervisor import immortal

REPOSITORY = Path(__file__).resolve().parents[3]
needs_known = pytest.mark.skipif(
    not immortal.is_known(), reason="only CPython 3.12 and 3.13 have what is known of"
)
BEGIN = f"""
import gc, sys, types, weakref
sys.path.insert(0, {str(REPOSITORY)!r})
from runtime import syscalls
from runtime.supervisor import immortal, join, operations, protocol, serving
FOREVER = sys.getrefcount(None)
"""


def run(script: str) -> str:
    command = [sys.executable, "-I", "-S", "-X", "dev", "-c", BEGIN + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_known
def test_what_a_call_counts_is_counted_no_more() -> None:
    found = run("""
assert sys.getrefcount(join.run) < FOREVER
assert immortal.make_immortal() > 10_000
code = join.run.__code__
for each in (join.run, code, code.co_consts, vars(join), join, protocol.Wire, vars(syscalls)["setns"]):
    assert sys.getrefcount(each) == FOREVER, each
for code in (join.run.__code__, syscalls.prctl.__code__, protocol.Wire.send.__code__):
    assert all(sys.getrefcount(each) == FOREVER for each in (*code.co_consts, *code.co_names))
print(immortal.make_immortal() < 100)
""")
    assert found == "True\n"


@needs_known
def test_what_comes_afterwards_goes_as_ever() -> None:
    """Also what is in something immortal, and in a circle; and a frame, whose count its end needs."""
    assert (
        run("""
class Thing: pass
kept = {"first": Thing()}
first = weakref.ref(kept["first"])
immortal.make_immortal()
kept["second"] = Thing()
second = weakref.ref(kept["second"])
del kept["first"], kept["second"]
assert first() is not None and second() is None
circle = Thing(); circle.itself = circle; seen = weakref.ref(circle)
del circle
gc.collect(); gc.freeze(); gc.collect()
assert seen() is None
assert sys.getrefcount(sys._getframe()) < FOREVER
wire_names = "".join(chr(97 + n) for n in range(20)); wire_names += "x"
print(len(wire_names), len(list(zip(range(3), "abc"))))
""")
        == "21 3\n"
    )


@needs_known
def test_a_process_whose_objects_are_immortal_forks_and_ends() -> None:
    found = run("""
import os
immortal.make_immortal()
gc.collect(); gc.freeze()
pid = os.fork()
if pid == 0:
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""")
    assert found == "7\n"


@pytest.mark.parametrize(
    "another",
    ["sys.version_info = (3, 99, 0)", "immortal._FOREVER = 1 << 30", "sys.implementation.name = 'other'"],
)
def test_an_interpreter_that_is_not_known_is_let_be(another: str) -> None:
    found = run(f"""
{another}
print(immortal.make_immortal(), sys.getrefcount(join.run) < FOREVER)
""")
    assert found == "0 True\n"


def test_where_the_count_lies_elsewhere_nothing_is_written() -> None:
    found = run("""
real = immortal._count_of
immortal._count_of = lambda thing: immortal.ctypes.c_ssize_t(7)
print(immortal.make_immortal())
""")
    assert found == "0\n"
