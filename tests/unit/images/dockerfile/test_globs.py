"""Patterns of COPY sources and of .dockerignore."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.images.dockerfile.globs import compiled, fixed_part, has_wildcard, plain
from runtime.images.dockerfile.ignore import Ignore, file_names, patterns_of, read_ignore
from runtime.images.dockerfile.problems import DockerfileInvalid, Mistake


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*", "a ab .a ü", "a/b"),
        ("*.py", "a.py .py", "a.pyc d/a.py a"),
        ("a*b*c", "abc axbxc abbc", "ab axc a/bc"),
        ("d/*/f", "d/x/f d//f", "d/x/y/f d/f"),
        ("a?c", "abc aüc", "ac a/c abbc"),
        ("[a-c]x", "ax cx", "dx x aax /x"),
        ("[^a-c]x", "dx", "ax /x"),
        ("[\\]a]", "] a", "b"),
        ("[\\-a]", "- a", "b"),
        ("a\\*b", "a*b", "axb"),
        ("**", "abc", "a/b"),
        ("a**b", "ab axxb", "a/b"),
        ("**/b", "b a/b a/c/b", "ab a/bc b/a"),
        ("a/**/b", "a/b a/c/d/b", "ab a/cb b"),
        ("**/**/**/b", "b a/b", "ab"),
        ("[*]**/b", "*x/b */b", "*x/y/b x/b"),
        ("a/**", "a/b", "a/b/c a"),
        ("src/[!a]", "src/!", "src/b"),
    ],
)
def test_a_glob_takes_what_go_takes(pattern: str, taken: str, left: str) -> None:
    glob = compiled(pattern)
    assert [path for path in taken.split() if not glob.matches(path)] == []
    assert [path for path in left.split() if glob.matches(path)] == []


@pytest.mark.parametrize(
    "pattern", ["[", "[]", "[]a]", "[a", "[^", "[^b", "[-a]", "[a-]", "[a-b-c]", "a\\", "[\\", "x["]
)
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(Mistake, match="the pattern"):
        compiled(pattern)
    with pytest.raises(Mistake, match="the pattern"):
        patterns_of([pattern])


def test_a_walk_may_begin_at_the_fixed_part() -> None:
    assert fixed_part("a/b/*.txt") == "a/b"
    assert fixed_part("a/b?/c/*") == "a"
    assert fixed_part("*.txt") == ""
    assert fixed_part("a\\*/b/*") == "a*/b"
    assert has_wildcard("a[b]") and not has_wildcard("a\\[b") and plain("a\\[b") == "a[b"


FILES = (
    *(
        ".git/HEAD",
        ".gitignore",
        "README.md",
        "build/out.o",
        "build/keep.txt",
        "docs/README.md",
        "docs/a/b.md",
    ),
    *("src/main.py", "src/main.pyc", "src/deep/x.pyc", "src/deep/x.py", "a", "b.log", "src/c.log"),
)
WALK = list(
    dict.fromkeys(
        "/".join(file.split("/")[:count]) for file in FILES for count in range(1, file.count("/") + 2)
    )
)  # each directory before what is in it


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ("", WALK),
        ("*", []),
        ("**", []),
        ("# *\n\n  ", WALK),
        ("*.log", [path for path in WALK if path != "b.log"]),
        ("**/*.log", [path for path in WALK if not path.endswith(".log")]),
        ("build", [path for path in WALK if not path.startswith("build")]),
        ("/build/", [path for path in WALK if not path.startswith("build")]),
        ("./docs/../build", [path for path in WALK if not path.startswith("build")]),
        ("build\n!build/keep.txt", [path for path in WALK if path not in ("build", "build/out.o")]),
        ("!build/keep.txt\nbuild", [path for path in WALK if not path.startswith("build")]),
        ("*\n!src", [path for path in WALK if path.startswith("src")]),
        ("*\n! /src/**/*.py\nsrc/deep", ["src/main.py"]),
        ("**/*.pyc", [path for path in WALK if not path.endswith(".pyc")]),
        ("src/**", [path for path in WALK if not path.startswith("src/")]),
        ("**/deep", [path for path in WALK if "deep" not in path]),
        ("**ME.md", [path for path in WALK if path not in ("README.md", "docs/README.md")]),
        ("s*c/*/x.py", [path for path in WALK if path != "src/deep/x.py"]),
        (".git*", [path for path in WALK if not path.startswith(".git")]),
        ("docs/*\n!docs/README.md", [path for path in WALK if not path.startswith("docs/a")]),
    ],
)
def test_ignored_paths_are_not_in_the_context(lines: str, kept: list[str]) -> None:
    ignore = read_ignore(lines.encode())
    assert [path for path in WALK if not ignore.is_ignored(path)] == kept
    assert walked(ignore) == kept


def walked(ignore: Ignore) -> list[str]:
    """As a build walks: with what was said of the directory above, and without what cannot come back."""
    kept: list[str] = []
    above: dict[str, tuple[bool, ...]] = {"": ()}
    for path in WALK:
        parent = posixpath.dirname(path)
        if parent not in above:
            continue  # a directory that was left out as a whole
        is_ignored, matched = ignore.look(path, above[parent])
        if not is_ignored:
            kept.append(path)
        if not is_ignored or ignore.may_hold_exceptions(path):
            above[path] = matched
    return kept


def test_every_bad_line_is_told() -> None:
    with pytest.raises(DockerfileInvalid) as caught:
        read_ignore(b"ok\n!\n[\n# [\n! \n", "my.dockerignore")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 5]
    assert "my.dockerignore:3" in str(caught.value)


def test_a_byte_order_mark_and_windows_lines_mean_nothing() -> None:
    ignore = read_ignore("\ufeff# no pattern\r\n*.log\r\n".encode())
    assert len(ignore) == 1 and ignore.is_ignored("a.log")


def test_names_that_are_not_utf8_are_matched_as_they_are() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    assert read_ignore(b"caf\xe9").is_ignored(name)
    assert read_ignore(b"caf?").is_ignored(name)


def test_the_file_beside_the_dockerfile_goes_first() -> None:
    assert file_names("build/web.Dockerfile") == ("build/web.Dockerfile.dockerignore", ".dockerignore")


SEGMENT = st.text("ab*?", min_size=1, max_size=4)
PATTERNS = st.lists(st.one_of(SEGMENT, st.just("**")), min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


def as_regex(pattern: str) -> re.Pattern[str]:
    """moby's translation, for patterns of letters, stars, question marks and slashes."""
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 3 if pattern.startswith("/", at + 2) else 2
            out += ".*" if at >= len(pattern) else "(.*/)?"
        elif pattern[at] == "*":
            out += "[^/]*"
            at += 1
        else:
            out += "[^/]" if pattern[at] == "?" else re.escape(pattern[at])
            at += 1
    return re.compile(out)


@given(PATTERNS, PATHS)
def test_an_automaton_says_what_the_regular_expression_says(pattern: str, path: str) -> None:
    if (
        pattern.startswith("**")
        and not any(one in pattern[2:] for one in "*?")
        and pattern[2:3] not in ("/", "")
    ):
        return  # `**x`: a suffix, see above
    assert patterns_of([pattern]).look(path)[0] == bool(as_regex(pattern).fullmatch(path))


def test_what_is_remembered_of_paths_has_an_end() -> None:
    glob = compiled("*a")
    for number in range(10_000):
        assert glob.matches(chr(0x4E00 + number) + "a")
    assert len(glob._steps) <= 4096
    assert len(glob._fits) <= 4096
