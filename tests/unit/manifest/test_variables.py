"""Interpolation and files of variables, rule by rule."""

from __future__ import annotations

import pytest

from agent.manifest.env_file import BadEnvFile, read_env_file, read_raw_env_file
from agent.manifest.interpolate import BadVariable, interpolate

VARIABLES = {"A": "a", "EMPTY": "", "LONG_1": "long"}


def expand(text: str) -> str:
    return interpolate(text, VARIABLES.get, lambda name: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "a"),
        ("${A}", "a"),
        ("x${A}y$LONG_1-z", "xaylong-z"),
        ("$$A $$", "$A $"),
        ("$$$A", "$a"),
        ("${NONE}", ""),
        ("${NONE-d}", "d"),
        ("${NONE:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${EMPTY:-d}", "d"),
        ("${A:-d}", "a"),
        ("${A:+d}", "d"),
        ("${A+d}", "d"),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${NONE+d}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-${A}}", "a"),
        ("${NONE:-${EMPTY:-${A}b}c}", "abc"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${NONE:-{x}", "{x"),
        ("${NONE:-a$$b}", "a$b"),
        ("${A?no}${A:?no}${EMPTY?no}", "aa"),
        ("${NONE:-a}}", "a}"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    assert expand(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$", '"$" is not a variable'),
        ("a $1", '"$1" is not a variable'),
        ("${", "no closing brace"),
        ("${A", "no closing brace"),
        ("${NONE:-${A}", "no closing brace"),
        ("${}", "is not a variable"),
        ("${1A}", "is not a variable"),
        ("${A B}", "is not a variable"),
        ("${A:x}", "is not a variable"),
        ("${NONE?}", '"NONE" is required: it is not set'),
        ("${EMPTY:?give it}", '"EMPTY" is required: give it'),
        ("${NONE:?${A} and ${B}}", '"NONE" is required: a and '),
        ("${N:-" * 30 + "x" + "}" * 30, "nested over"),
    ],
)
def test_what_cannot_be_interpolated(text: str, message: str) -> None:
    with pytest.raises(BadVariable) as caught:
        expand(text)
    assert message in caught.value.message


def test_results_are_bounded() -> None:
    with pytest.raises(BadVariable, match="expand to over"):
        interpolate("$A" * 1000, lambda name: "x" * 1000, lambda name: None)


def test_unset_variables_are_told() -> None:
    told: list[str] = []
    interpolate("$A $B ${C} ${D:-x} ${E:+x}", VARIABLES.get, told.append)
    assert told == ["B", "C"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n  \n# c\n", {}),
        ("A=1", {"A": "1"}),
        ("A = 1 ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("A: 1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A= # c", {"A": ""}),
        ("A=a#b", {"A": "a#b"}),
        ("A=a #b", {"A": "a"}),
        ("A='a #b'", {"A": "a #b"}),
        ("A='$X'", {"A": "$X"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="$X"', {"A": "x"}),
        ('A="\\$X"', {"A": "$X"}),
        ('A="a\\nb\\t\\"c\\\\"', {"A": 'a\nb\t"c\\'}),
        ('A="two\nlines" # c\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A=$X-${Y:-y}", {"A": "x-y"}),
        ("A=1\nB=$A", {"A": "1", "B": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("X", {"X": "x"}),
        ("X # c", {"X": "x"}),
        ("NONE", {}),
        ("\ufeffA=1", {"A": "1"}),
        ("A.b-c=1", {"A.b-c": "1"}),
    ],
)
def test_env_files(text: str, expected: dict[str, str]) -> None:
    assert read_env_file(text.encode(), {"X": "x"}) == expected


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"A=1\n=2", 2, "is not a name"),
        (b"A=1\n\nA B", 3, 'no "="'),
        (b"A='x", 1, "is not closed"),
        (b'A="x\\"', 1, "is not closed"),
        (b"A='x' y", 1, 'unexpected "y"'),
        (b"A=1\nB=$(x)", 2, "is not a variable"),
        (b"A=\n\xff", 2, "UTF-8"),
        (b"A=1\nB=\0", 2, "NUL"),
        (b"".join(b"A%d=%s\n" % (n, b"x" * 100_000) for n in range(11)), 11, "expand to over"),
    ],
)
def test_env_files_that_are_wrong(data: bytes, line: int, message: str) -> None:
    with pytest.raises(BadEnvFile) as caught:
        read_env_file(data, {})
    assert message in caught.value.message
    assert caught.value.line >= line


def test_raw_env_files_are_taken_word_for_word() -> None:
    text = b"# c\n\nA=1\n  B='x' $y # z\r\nNOVALUE\nC="
    assert read_raw_env_file(text) == {"A": "1", "B": "'x' $y # z", "C": ""}
