"""Directives, comments, continued lines, here-documents."""

from __future__ import annotations

import pytest

from runtime.images.dockerfile.documents import heads
from runtime.images.dockerfile.instructions import Run, Transfer
from runtime.images.dockerfile.lines import Directives, Lines, read_lines
from tests.unit.images.dockerfile.build import instructions_of, mistakes_of, one


def texts(text: str) -> list[str]:
    return [statement.place.text for statement in read_lines(text).statements]


def ranges(text: str) -> list[tuple[int, int]]:
    return [(one.place.first, one.place.last) for one in read_lines(text).statements]


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        (
            "# syntax=docker/dockerfile:1\n# escape=`\n#check=skip=all",
            Directives("docker/dockerfile:1", "`", "skip=all"),
        ),
        ("#SYNTAX = a b \n", Directives("a b")),
        ("# a comment\n# escape=`\n", Directives()),
        ("\n# escape=`\n", Directives()),
        ("FROM x\n# escape=`\n", Directives()),
        ("# unknown=1\n# escape=`\n", Directives()),
        ("\ufeff# escape=`\n", Directives(escape="`")),
        ("# escape=\\\r\n", Directives()),
    ],
)
def test_directives_stand_at_the_top_or_are_comments(text: str, directives: Directives) -> None:
    found = read_lines(text)
    assert found.directives == directives
    assert found.problems == []


def test_a_directive_is_given_once_and_makes_sense() -> None:
    assert [problem.line for problem in read_lines("# escape=\\\n# escape=`\n").problems] == [2]
    assert "no escape character" in read_lines("# escape=x\n").problems[0].text


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("RUN a \\\n  b", ["RUN a   b"]),
        ("RUN a\\\nb", ["RUN ab"]),
        ("RUN a \\  \t\nb", ["RUN a b"]),
        ("RUN a \\\n# comment\n   # another\nb", ["RUN a b"]),
        ("RUN a \\\n\n\nb\nRUN c", ["RUN a b", "RUN c"]),
        ("RUN a\\\\\nRUN b", ["RUN a\\\\", "RUN b"]),
        ("RUN a \\", ["RUN a"]),
        ("\\\n\\\nRUN a", ["RUN a"]),
        ("   RUN a  \n\t# no\n", ["RUN a"]),
        ("RUN a # no comment", ["RUN a # no comment"]),
        ("# escape=`\nRUN a `\nb \\\n", ["RUN a b \\"]),
        ("RUN a \\\r\nb\r\n", ["RUN a b"]),
        ("\\\n", []),
        ("", []),
    ],
)
def test_lines_are_joined_and_comments_left_out(text: str, statements: list[str]) -> None:
    assert texts(text) == statements


def test_each_statement_knows_its_lines() -> None:
    assert ranges("# c\n\nFROM x\nRUN a \\\n # c\n b\n\nCOPY <<E /x\n1\n2\nE\nRUN b") == [
        (3, 3), (4, 6), (8, 11), (12, 12),
    ]  # fmt: skip


def test_a_gap_in_a_continued_instruction_is_remarked() -> None:
    assert [remark.line for remark in read_lines("FROM x\nRUN a \\\n\n b").remarks] == [2]


def document(text: str) -> tuple[str, str, bool]:
    found = one(text)
    assert isinstance(found, Run | Transfer)
    (read,) = found.documents
    return read.name, read.content, read.is_expanded


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("RUN <<EOF\na\n  b\nEOF", ("EOF", "a\n  b\n", True)),
        ("RUN <<EOF\nEOF", ("EOF", "", True)),
        ("RUN <<-EOF\n\t\ta\n\tb c\n\tEOF", ("EOF", "a\nb c\n", True)),
        ("RUN <<EOF\n\tEOF\nEOF", ("EOF", "\tEOF\n", True)),
        ("RUN <<'EOF'\n$a\nEOF", ("EOF", "$a\n", False)),
        ('RUN <<"EOF"\n$a\nEOF', ("EOF", "$a\n", False)),
        ("RUN <<E'O'F\nx\nEOF", ("EOF", "x\n", False)),
        ("RUN <<'a b'\nx\na b", ("a b", "x\n", False)),
        ("RUN 3<<EOF\nx\nEOF", ("EOF", "x\n", True)),
        ("RUN cat << EOF > f\nx\nEOF", ("EOF", "x\n", True)),
        ("RUN <<$EOF\nx\n$EOF", ("$EOF", "x\n", True)),
        ("RUN <<EOF\n# no comment\nRUN \\\nEOF", ("EOF", "# no comment\nRUN \\\n", True)),
        ("RUN --mount=type=cache,target=/c <<EOF\nx\nEOF", ("EOF", "x\n", True)),
        ("RUN <<EOF\r\nx\r\nEOF\r", ("EOF", "x\r\n", True)),
        ("RUN a \\\n <<EOF\nx\nEOF", ("EOF", "x\n", True)),
        ("COPY <<f.txt /d/\nx\nf.txt", ("f.txt", "x\n", True)),
    ],
)
def test_a_here_document_is_read(text: str, found: tuple[str, str, bool]) -> None:
    assert document(text) == found


def test_several_documents_follow_in_order() -> None:
    copy = one("COPY a <<X <<Y /d/\nY\nX\nX\nY")
    assert isinstance(copy, Transfer)
    assert [(one.name, one.content) for one in copy.documents] == [("X", "Y\n"), ("Y", "X\n")]
    assert (copy.sources, copy.destination) == (("a",), "/d/")


@pytest.mark.parametrize(
    "text",
    [
        "RUN '<<EOF'", 'RUN "<<EOF"', 'RUN ["<<EOF"]', 'RUN ["cat", "<<EOF"]', "RUN a <<<EOF", "RUN a<<EOF",
        "ENV a=<<EOF", "USER <<EOF", "CMD cat <<EOF", "RUN <<", "RUN $((1<<2))",
    ],
)  # fmt: skip
def test_what_is_no_here_document(text: str) -> None:
    found = read_lines(text + "\nRUN x\n")
    assert [len(statement.documents) for statement in found.statements] == [0, 0]


def test_a_list_that_is_no_json_is_a_shell_line_with_its_document() -> None:
    run = one("RUN [ -f x ] && cat <<EOF\nx\nEOF")
    assert isinstance(run, Run) and len(run.documents) == 1


def test_a_trigger_takes_its_documents_with_it() -> None:
    (trigger,) = instructions_of("ONBUILD COPY <<-E /x\n\thi\n\tE\n")
    assert trigger.expression == "COPY <<-E /x\n\thi\nE"  # type: ignore[union-attr]


def test_a_document_without_its_end_is_told_where_it_begins() -> None:
    assert mistakes_of("FROM x\nRUN cat <<END\na\nb\n") == [
        "D:2:9: the here-document 'END' has no end (hint: add a line with END alone)"
    ]


def test_heads_of_a_line_with_an_open_quote_are_none() -> None:
    assert heads("echo 'it <<EOF") == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM x\nRUN " + "a" * 65_536, "D:2: a line of more than 65535"),
        ("FROM x\nRUN \\\n" + ("a" * 60_000 + " \\\n") * 5, "D:2: an instruction of more than 262144"),
        ("FROM x\nRUN \\\n" + "a \\\n" * 10_001, "or 10000 lines"),
        ("FROM x\n" + "RUN a\n" * 4000, "D:4001: more than 4000 instructions"),
        ("FROM x\n" * 501, "D:501: more than 500 stages"),
    ],
)
def test_too_much_is_refused(text: str, told: str) -> None:
    assert any(told in mistake for mistake in mistakes_of(text))


def test_nothing_of_a_file_is_lost_between_statements() -> None:
    found: Lines = read_lines("FROM a\n\nRUN b\n")
    assert (len(found.statements), found.problems, found.remarks) == (2, [], [])
