"""Words to values: every modifier, every quote; what docker's own answers do not cover."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.images.dockerfile import limits, shell_patterns
from runtime.images.dockerfile.expansion import Rules, expand, in_document
from runtime.images.dockerfile.problems import Mistake

VALUES = {
    "v": "hello",
    "e": "",
    "p": "/usr/local/lib/libx.so.1",
    "s": "a b  c",
    "star": "a*b*c",
    "d": "2024-01-02",
}


def text(word: str, rules: Rules = Rules()) -> str:
    return expand(word, VALUES, rules).text


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$v-${v}", "hello-hello"),
        ("${n:-a}${n-b}${e:-c}${e-d}", "abc"),
        ("${v:+a}${v+b}${e:+c}${e+d}${n:+e}${n+f}", "abd"),
        ("${v?no}${v:?no}${e?no}", "hellohello"),
        ("${n:-${m:-${v}}}", "hello"),
        ("${n:-${v#h}}", "ello"),
        ("${v#h}|${v#x}|${v#*l}|${v##*l}", "ello|hello|lo|o"),
        ("${v%o}|${v%x}|${v%l*}|${v%%l*}", "hell|hello|hel|he"),
        ("${v#}${v%}${v##}${v%%}", "hello" * 4),
        ("${v#*}|${v##*}|${v%*}|${v%%*}", "hello||hello|"),
        ("${p##*/}", "libx.so.1"),
        ("${p%/*}", "/usr/local/lib"),
        ("${d%%-*}", "2024"),
        ("${d#*-}", "01-02"),
        ("${d/-/.}|${d//-/.}", "2024.01-02|2024.01.02"),
        ("${d//-/}", "20240102"),
        ("${d/2*-/x}", "x02"),
        ("${v//?/z}", "zzzzz"),
        ("${v///-}", "-h-e-l-l-o-"),
        ("${p//\\//_}", "_usr_local_lib_libx.so.1"),
        ("${star#a\\*}|${star//\\*/+}|${star%\\**}", "b*c|a+b+c|a*b"),
        ("${n/a/b}|${n#a}", "|"),
        ("$$|$1|$@|$12x", "|||x"),
        ("$|a$|$.|$ x", "$|a$|$.|$ x"),
        ("'$v'", "$v"),
        ('"$v"', "hello"),
        ("\"'$v'\"", "'hello'"),
        ("'\"$v\"'", '"$v"'),
        ("\\$v", "$v"),
        ("\\\\$v", "\\hello"),
        ('"\\$v \\" \\\\ \\n"', '$v " \\ \\n'),
        ("a\\ b\\c", "a bc"),
        ("end\\", "end"),
        ("$v_x${v}_x", "hello_x"),
        ("$한국", ""),
    ],
)
def test_a_word_has_the_value_that_a_shell_gives_it(word: str, value: str) -> None:
    assert text(word) == value


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("${v", "no } ends"),
        ("${v:-x", "no } ends"),
        ("${", "no } ends"),
        ("${}", "not followed"),
        ("${:-x}", "not followed"),
        ("${{v}}", "not followed"),
        ("${v:x}", "no modifier ':x'"),
        ("${v=x}", "'='"),
        ("${v@Q}", "'@'"),
        ("${v/x}", "no / ends"),
        ("${v//x}", "no / ends"),
        ("${v#\\x}", "in a pattern means nothing"),
        ("${n?}", "n: is not set"),
        ("${e:?}", "e: is empty"),
        ("${n:?because of $v}", "n: because of hello"),
        ("'open", "single quote"),
        ('"open', "double quote"),
        ('"${v', "no } ends"),
    ],
)
def test_a_bad_word_is_told_by_its_fault(word: str, told: str) -> None:
    with pytest.raises(Mistake) as caught:
        text(word)
    assert told in caught.value.text


def test_another_escape_character_leaves_backslashes_alone() -> None:
    rules = Rules(escape="`")
    assert text("C:\\dir\\$v", rules) == "C:\\dir\\hello"
    assert text('`$v `` "`""', rules) == '$v ` "'


def test_words_are_split_by_the_spaces_of_values_and_not_of_quotes() -> None:
    assert expand("$s", VALUES, Rules()).words == ("a", "b", "c")
    assert expand('"$s" x\\ y', VALUES, Rules()).words == ("a b  c", "x y")
    assert expand("  a   b ", VALUES, Rules()).words == ("a", "b")
    assert expand("x$s", VALUES, Rules()).words == ("xa", "b", "c")
    assert expand("$e", VALUES, Rules()).words == ()


def test_unset_names_are_told_and_set_ones_are_not() -> None:
    assert expand("$v $n ${m:-x} ${e}", VALUES, Rules()).unset == {"n", "m"}


def test_in_a_document_quotes_are_characters() -> None:
    rules = in_document(Rules(escape="`"))
    assert text('it\'s "$v" \\$v `$v`\n', rules) == 'it\'s "hello" $v `hello`\n'


def test_what_becomes_too_long_is_refused_before_it_is_made() -> None:
    big = {"a": "x" * (limits.VALUE_CHARACTERS // 2)}
    assert len(expand("$a$a", big, Rules()).text) == limits.VALUE_CHARACTERS
    for word in ("$a$a$a", "${a//x/$a}", '"$a$a$a"', "${n:-$a$a$a}"):
        with pytest.raises(Mistake, match="more than"):
            expand(word, big, Rules())


def test_nesting_has_a_bottom() -> None:
    assert text("${n:-" * limits.DEPTH + "x" + "}" * limits.DEPTH) == "x"
    with pytest.raises(Mistake, match="nested deeper"):
        text("${n:-" * (limits.DEPTH + 1) + "x" + "}" * (limits.DEPTH + 1))


PATTERN = st.text("ab*?", max_size=7)
VALUE = st.text("abc", max_size=9)


def naive(value: str, pattern: str) -> list[int]:
    """Lengths of the prefixes that the pattern matches, by fnmatch."""
    return [end for end in range(len(value) + 1) if fnmatch.fnmatchcase(value[:end], pattern)]


@given(VALUE, PATTERN)
def test_a_prefix_is_the_shortest_or_the_longest_that_fnmatch_knows(value: str, pattern: str) -> None:
    ends = naive(value, pattern) or [0]
    assert shell_patterns.trim_prefix(value, pattern, "\\", False) == value[min(ends) :]
    assert shell_patterns.trim_prefix(value, pattern, "\\", True) == value[max(ends) :]


@given(VALUE, PATTERN)
def test_a_suffix_is_the_shortest_or_the_longest_that_fnmatch_knows(value: str, pattern: str) -> None:
    begins = [at for at in range(len(value) + 1) if fnmatch.fnmatchcase(value[at:], pattern)] or [len(value)]
    assert shell_patterns.trim_suffix(value, pattern, "\\", False) == value[: max(begins)]
    assert shell_patterns.trim_suffix(value, pattern, "\\", True) == value[: min(begins)]


@given(VALUE, PATTERN)
def test_the_first_longest_match_is_replaced(value: str, pattern: str) -> None:
    spans = [(at, max(ends)) for at in range(len(value) + 1) if (ends := naive(value[at:], pattern))]
    at, length = spans[0] if spans else (0, -1)
    wanted = value if length < 0 else value[:at] + "R" + value[at + length :]
    assert shell_patterns.replace(value, pattern, "R", "\\", False, 1000) == wanted


@given(st.text(alphabet="ab$'\"\\{}:-+?#%/ v\n", max_size=40))
def test_any_word_has_a_value_or_a_mistake(word: str) -> None:
    try:
        found = expand(word, VALUES, Rules())
    except Mistake:
        return
    assert (
        "".join(found.words).replace(" ", "") == "".join(found.text.split())
        or "\\" in word
        or "'" in word
        or '"' in word
    )
