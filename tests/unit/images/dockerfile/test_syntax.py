"""Each instruction's form, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from runtime.images.dockerfile import instructions as ins
from runtime.images.dockerfile.instructions import CommandLine
from runtime.images.dockerfile.problems import DockerfileInvalid
from runtime.images.dockerfile.stages import read_dockerfile
from tests.unit.images.dockerfile.build import mistakes_of, one

SECOND = 10**9


def test_from_in_all_its_forms() -> None:
    text = "FROM a\nfrom b as Name\nFROM --platform=linux/arm64 c:1 AS x-1_y.z\nFROM $V\n"
    stages = read_dockerfile(text.encode()).stages
    assert [(stage.index, stage.base, stage.name, stage.platform) for stage in stages] == [
        (0, "a", "", ""), (1, "b", "name", ""), (2, "c:1", "x-1_y.z", "linux/arm64"), (3, "$V", "", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words", "is_shell"),
    [
        ("echo  a", ("echo  a",), True),
        ('["a", "b c"]', ("a", "b c"), False),
        ('  [ "a" ]  ', ("a",), False),
        ("['a']", ("['a']",), True),
        ('["a",]', ('["a",]',), True),
        ('["a"] b', ('["a"] b',), True),
        ("[[ -f x ]]", ("[[ -f x ]]",), True),
        ('["\\u00e9\\ud800"]', ("é�",), False),
        ("[NaN]", ("[NaN]",), True),
    ],
)
def test_exec_form_is_json_and_all_else_is_the_shells(
    body: str, words: tuple[str, ...], is_shell: bool
) -> None:
    for keyword in ("RUN", "CMD", "ENTRYPOINT"):
        assert getattr(one(f"{keyword} {body}"), "command") == CommandLine(words, is_shell)  # noqa: B009


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a=b", (("a", "b"),)),
        ('ENV a=b c="d e" f=g\\ h', (("a", "b"), ("c", '"d e"'), ("f", "g\\ h"))),
        ("ENV a b  c d", (("a", "b  c d"),)),
        ("ENV a b=c", (("a", "b=c"),)),
        ("ENV a==b= c=", (("a", "=b="), ("c", ""))),
        ("ENV a='b c'd", (("a", "'b c'd"),)),
        ('LABEL "a b"="c"', (('"a b"', '"c"'),)),
    ],
)
def test_pairs_keep_their_quotes_until_they_are_expanded(
    text: str, pairs: tuple[tuple[str, str], ...]
) -> None:
    assert getattr(one(text), "pairs") == pairs  # noqa: B009


def test_arguments_with_and_without_defaults() -> None:
    arg = one('ARG a b= c="d e"')
    assert isinstance(arg, ins.Arg)
    assert [(one.name, one.default) for one in arg.arguments] == [("a", None), ("b", ""), ("c", '"d e"')]


def test_all_flags_of_copy_and_add() -> None:
    copy = one("COPY --from=x --chown=a:b --chmod=u+x --link --parents --exclude=*.o --exclude=t a b /c/")
    assert isinstance(copy, ins.Transfer)
    assert (copy.origin, copy.owner, copy.mode, copy.is_link, copy.keeps_parents, copy.exclude) == (
        "x", "a:b", "u+x", True, True, ("*.o", "t"),
    )  # fmt: skip
    assert (copy.is_add, copy.sources, copy.destination) == (False, ("a", "b"), "/c/")
    add = one(
        f"ADD --checksum=sha256:{'0' * 64} --keep-git-dir=true --unpack=false --link=false https://h/x /c"
    )
    assert isinstance(add, ins.Transfer)
    assert (add.is_add, add.keeps_git_dir, add.unpack, add.is_link) == (True, True, False, False)
    assert add.checksum.startswith("sha256:")


def test_flags_lose_their_quotes_and_end_at_two_dashes() -> None:
    copy = one('COPY --chown="a:b" --exclude="x y" "z" /z')
    assert isinstance(copy, ins.Transfer)
    assert (copy.owner, copy.exclude, copy.sources) == ("a:b", ("x y",), ('"z"',))
    assert getattr(one("RUN -- --a"), "command").words == ("--a",)  # noqa: B009


def test_run_knows_its_mounts_and_network() -> None:
    run = one(
        "RUN --mount=type=cache,target=/a --mount=type=tmpfs,target=/b --network=none --security=sandbox x"
    )
    assert isinstance(run, ins.Run)
    assert (run.mounts, run.network) == (("type=cache,target=/a", "type=tmpfs,target=/b"), "none")


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--interval=30s", "interval", 30 * SECOND),
        ("--timeout=1m30s", "timeout", 90 * SECOND),
        ("--start-period=1.5h", "start_period", 5400 * SECOND),
        ("--start-interval=250ms", "start_interval", SECOND // 4),
        ("--interval=.5s", "interval", SECOND // 2),
        ("--interval=0", "interval", 0),
        ("--interval=1h2m3s4ms5us6ns", "interval", 3723004005006),
        ("--retries=5", "retries", 5),
    ],
)
def test_healthcheck_durations_are_gos(flags: str, field: str, value: int) -> None:
    check = one(f"HEALTHCHECK {flags} CMD curl -f x")
    assert isinstance(check, ins.Healthcheck)
    assert check.command == CommandLine(("curl -f x",), True)
    assert getattr(check, field) == value


def test_healthcheck_none() -> None:
    assert getattr(one("HEALTHCHECK none"), "command") is None  # noqa: B009


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("RUM x", "D:2:1: there is no instruction 'RUM' (hint: did you mean RUN?)"),
        ("x", "D:2:1: there is no instruction 'x'"),
        ("FROM", "FROM names no image"),
        ("FROM a b", "D:2:8: FROM has 2 words"),
        ("FROM a AS 1b", "D:2:11: '1b' is no name for a stage"),
        ("FROM a AS ../b", "'../b' is no name for a stage"),
        ("ARG", "ARG names nothing"),
        ("ARG =b", "D:2:5: '=b' has no name"),
        ("ENV", "ENV names nothing"),
        ("ENV a", "ENV 'a' has no value (hint: write a=VALUE)"),
        ("ENV a=b c", "D:2:9: 'c' has no ="),
        ("LABEL =b", "'=b' has no name"),
        ("RUN", "RUN has nothing to run"),
        ("RUN []", "RUN has nothing to run"),
        ('RUN ["a", 1]', "something else than strings"),
        ("RUN --network=hots x", "there is no network 'hots' for a step (hint: did you mean host?)"),
        ("RUN --security=insecure x", "never privileged"),
        ("RUN --device=gpu x", "gets no devices"),
        ("RUN --mont=type=cache x", "RUN has no flag '--mont' (hint: did you mean --mount?)"),
        ("RUN --mount=type=cahce,target=/x x", "no type 'cahce' (hint: did you mean cache?)"),
        ("COPY a", "COPY needs a source and a destination"),
        ("COPY --form=a b c", "D:2:6: COPY has no flag '--form' (hint: did you mean --from?)"),
        ("COPY --from a b", "--from has no value"),
        ("COPY --from=a --from=b c d", "--from is given twice"),
        ("COPY --link=maybe a b", "--link is 'maybe', not true or false"),
        ("COPY --link --link a b", "--link is given twice"),
        ("COPY a <<E\nx\nE", "a here-document cannot be the destination"),
        ("COPY --chmod=999 a b", "--chmod '999' is no mode"),
        ("COPY --chown='a b' a b", "--chown 'a b' is no owner"),
        ("COPY --checksum=x a b", "COPY has no flag '--checksum'"),
        ("COPY --exclude=[ a b", "the pattern '[' has a [ without its ]"),
        ("COPY a[ b", "the pattern 'a[' has a [ without its ]"),
        ("COPY https://h/x /y", "COPY takes nothing from the network"),
        ("COPY git@h:x.git /y", "COPY takes nothing from the network"),
        ("COPY <<../e /y\nx\n../e", "'../e' is no name for a file"),
        ("ADD --checksum=sha256:00 https://h/x /y", "--checksum 'sha256:00' is none"),
        ("ADD --checksum=sha256:00 a /y", "for one source from the network"),
        ("ADD https:///x /y", "is no URL"),
        ("ADD https://h/x.git#--upload-pack=x /y", "is no branch, tag or commit"),
        ("ADD https://h/x.git#main:../../etc /y", "leaves the repository"),
        ('COPY "a b" /c', """D:2:6: a double quote is not closed (hint: with spaces write ["A SOURCE","""),
        ("EXPOSE", "EXPOSE names no port"),
        ("EXPOSE 80/tpc", "D:2:8: 'tpc' is no protocol of a port (hint: did you mean tcp?)"),
        ("EXPOSE 70000", "D:2:8: '70000' is no port"),
        ("EXPOSE 9-3", "'9-3' is no port"),
        ("EXPOSE 1-20000", "more than 10000 ports"),
        ("USER", "USER is empty"),
        ("WORKDIR", "WORKDIR is empty"),
        ('WORKDIR ""', "WORKDIR is empty once"),
        ("VOLUME", "VOLUME has an empty path"),
        ('VOLUME [""]', "VOLUME has an empty path"),
        ("STOPSIGNAL SIGFOO", "D:2:12: there is no signal 'SIGFOO'"),
        ("STOPSIGNAL 65", "there is no signal '65'"),
        ("SHELL bash", "SHELL is a list"),
        ("SHELL []", "SHELL is a list"),
        ("HEALTHCHECK CMD", "has no command"),
        ("HEALTHCHECK x", "HEALTHCHECK 'x': there are CMD and NONE"),
        ("HEALTHCHECK NONE x", "takes nothing else"),
        ("HEALTHCHECK --interval=5 CMD x", "--interval '5' is no duration"),
        ("HEALTHCHECK --interval=1us CMD x", "under a millisecond"),
        ("HEALTHCHECK --interval=-5s CMD x", "is no duration"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries '-1' is no number of tries"),
        ("ONBUILD", "ONBUILD names no instruction"),
        ("ONBUILD FROM x", "FROM cannot be a trigger"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD cannot be a trigger"),
        ("ONBUILD RUM x", "there is no instruction 'RUM'"),
        ("ENV a='b", "a single quote is not closed"),
        ("MAINTAINER", "MAINTAINER is empty"),
    ],
)
def test_a_wrong_line_is_told_with_its_place_and_a_hint(line: str, told: str) -> None:
    (mistake,) = mistakes_of(f"FROM scratch\n{line}\n")
    assert told in mistake
    assert mistake.startswith("D:2")


def test_all_mistakes_come_at_once_in_order() -> None:
    text = "FROM a AS b AS c\nRUM x\nFROM\nENV \\\n  =b\nEXPOSE x\n"
    assert [mistake.split(" ")[0] for mistake in mistakes_of(text)] == [
        "D:1:8:",
        "D:2:1:",
        "D:3:",
        "D:5:3:",
        "D:6:8:",
    ]


def test_reading_ends_after_many_mistakes() -> None:
    assert len(mistakes_of("FROM x\n" + "RUM\n" * 300)) == 200


def test_the_error_names_the_file_and_is_invalid_for_whoever_asked() -> None:
    with pytest.raises(DockerfileInvalid) as caught:
        read_dockerfile(b"RUN x", "web/Dockerfile")
    assert (
        str(caught.value) == "read web/Dockerfile:1:1: RUN stands before the first FROM (hint: only ARG may)"
    )
    with pytest.raises(DockerfileInvalid) as caught:
        read_dockerfile(b"FROM x\nA\nB\n", "D")
    assert str(caught.value).startswith("read D: 2 mistakes:\n  D:2:1: there is no instruction 'A'")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "there is no FROM"),
        (b"# only\n", "there is no FROM"),
        (b"ARG a\n", "there is no FROM"),
        (b"FROM x\nRUN \xff\n", "D:2: not UTF-8"),
        (b"FROM x\nRUN a\0b\n", "D:2: a NUL character"),
        (b"FROM x\n" + b"#\n" * 2**20, "larger than 2048 KiB"),
    ],
)
def test_what_is_no_dockerfile(data: bytes, told: str) -> None:
    with pytest.raises(DockerfileInvalid) as caught:
        read_dockerfile(data, "D")
    assert told in str(caught.value)


def test_what_works_and_should_not_be_so_is_remarked() -> None:
    text = "FROM a AS b\nMAINTAINER me\nENV a b\nRUN x \\\n\n y\nFROM b AS b\n"
    assert [remark.line for remark in read_dockerfile(text.encode()).remarks] == [2, 3, 4, 7]
