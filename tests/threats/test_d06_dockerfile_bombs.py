"""D6: Dockerfiles and ignore files made to cost: done or refused in little processor time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from runtime.errors import Invalid
from runtime.images.dockerfile.globs import compiled
from runtime.images.dockerfile.ignore import read_ignore
from tests.bounds import BROKEN_SECONDS
from tests.unit.images.dockerfile.build import plan_of

K = 1024
F = "FROM scratch\n"


def doubling(count: int) -> str:
    """Each value twice the one before."""
    return (
        F + "ENV a0=xxxxxxxxxxxxxxxx\n" + "".join(f"ENV a{n}=$a{n - 1}$a{n - 1}\n" for n in range(1, count))
    )


BOMBS: dict[str, str] = {
    "a line of 1.5 MB": F + "RUN " + "a" * 1_500_000,
    "a file of 10 MB": F + "#\n" * 5_000_000,
    "10^5 stages": F * 100_000,
    "10^5 stages, each on the one before": "FROM x AS s0\n"
    + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(90_000)),
    "500 stages, each on the one before": "FROM x AS s0\n"
    + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(499)),
    "499 stages, each copying from all": "".join(
        f"FROM x AS s{n}\n" + "".join(f"COPY --from=s{m} a b\n" for m in range(max(0, n - 6), n))
        for n in range(499)
    ),
    "a circle of stages": "FROM b AS a\nCOPY --from=b x y\nFROM a AS b\nCOPY --from=a x y\n",
    "a circle of one": "FROM a AS a\nCOPY --from=a x y\n",
    "4,000 instructions": F + "ENV a=b\n" * 3999,
    "10^5 instructions": F + "RUN a\n" * 100_000,
    "999 variables and 2,000 steps": F + "".join(f"ENV v{n}=x\n" for n in range(999)) + "RUN a\n" * 2000,
    "variables and steps by turns": F + "".join(f"ENV v{n}=x\nRUN a\n" for n in range(999)),
    "2,000 variables": F + "ENV " + " ".join(f"v{n}=x" for n in range(2000)),
    "a variable doubled 40 times": doubling(40),
    "a variable of 256 KiB": doubling(15),
    "a variable doubled, used 4,000 times": doubling(13) + "LABEL l=$a12\n" * 3900,
    "one word of 16,000 variables": doubling(13) + "LABEL l=" + "$a12" * 16_000,
    "a replacement of each letter by a long word": doubling(13) + "ENV b=${a12//x/$a12}",
    "modifiers nested 10^4 times": F + "ENV a=" + "${x:-" * 10_000 + "}" * 10_000,
    "modifiers nested and open": F + "ENV a=" + "${x:-" * 12_000,
    "a pattern of stars": doubling(14) + "".join(f"ENV b{n}=${{a13##{'*x' * 500}y}}\n" for n in range(20)),
    "a pattern of question marks": doubling(14)
    + "".join(f"ENV b{n}=${{a13//{'?' * 1000}y/z}}\n" for n in range(20)),
    "a suffix of stars": doubling(14) + "".join(f"ENV b{n}=${{a13%%{'x*' * 500}y}}\n" for n in range(20)),
    "60,000 words": F + "COPY " + "a " * 30_000 + "/x",
    "60,000 flags": F + "RUN " + "--x " * 15_000 + "a",
    "an open quote and 60,000 escapes": F + 'ENV a="' + "\\" * 60_000,
    "a list nested 30,000 times": F + "RUN " + "[" * 30_000 + "]" * 30_000,
    "a number of 60,000 digits": F + "RUN [" + "9" * 60_000 + "]",
    "a document with 10^6 lines": F + "RUN <<E\n" + "\n" * 1_000_000 + "E\n",
    "1,000 documents in a line": F + "RUN " + " ".join(f"<<E{n}" for n in range(1000)) + "\n" + "x\n" * 1000,
    "500 documents without ends": F + "RUN cat <<E\n" * 500,
    "continued lines without end": F + "RUN \\\n" + "a\\\n" * 500_000,
    "10^6 comments in an instruction": F + "RUN a \\\n" + "#\n" * 1_000_000,
    "ports without end": F + "EXPOSE 0-65535\n" * 3000,
    "300 times many ports": F + "EXPOSE 1-9999\n" * 300,
    "4,000 mistakes": F + "RUM a\n" * 3999,
    "a long word for a keyword": F + "R" * 60_000,
    "a mount of 10,000 options": F + "RUN --mount=" + "target=/a," * 6000 + " x",
    "a cache with a long name": F + f"RUN --mount=type=cache,target=/x,id={'a' * 60_000} x",
    "a trigger in a trigger": F + "ONBUILD " * 8000 + "RUN x",
    "a duration of digits": F + "HEALTHCHECK --interval=" + "1s" * 20_000 + " CMD x",
    "a mode of clauses": F + "COPY --chmod=" + "u+r," * 10_000 + "! a b",
    "an owner of 60,000 letters": F + "COPY --chown=" + "a" * 60_000 + "! a b",
    "a URL of 60,000 letters": F + "ADD https://" + "a" * 60_000 + " /x",
    "a repository with a long branch": F + "ADD https://h/r.git#" + "a/" * 30_000 + " /x",
    "a source with a long pattern": F + "COPY " + "[a-b]*" * 9000 + " /x",
    "patterns to exclude": F + "COPY " + "--exclude=**/*a*b*c " * 3000 + "a b",
    "an image's name of 60,000 letters": "FROM " + "a/" * 30_000 + "a",
    "a platform of 60,000 letters": "FROM --platform=" + "a/" * 30_000 + " x",
    "global arguments doubled": "ARG a=xxxxxxxxxxxxxxxx\n" + "ARG a=$a$a\n" * 40 + "FROM $a",
    "a long argument and 3,900 steps": F + f"ARG a={'x' * 60_000}\n" + "RUN x\n" * 3900,
    "3,000 triggers in 450 stages": "FROM x AS s0\n"
    + "ONBUILD RUN y\n" * 3000
    + "".join(f"FROM s0 AS s{n}\nCOPY --from=s{n - 1} a b\n" for n in range(1, 450)),
    "long words that nobody takes": doubling(13) + "LABEL l=" + "${n:+$a12}" * 6000,
    "unset names among 999 variables": F
    + "".join(f"ENV variable_{n}=x\n" for n in range(990))
    + "".join(f"LABEL l=$varable_{n}\n" for n in range(2900)),
    "names that are no stage among 499": "".join(f"FROM x AS stage{n}\n" for n in range(499))
    + F
    + "".join(f"COPY --from=stge{n} a b\n" for n in range(3400)),
    "wrong names of 499 stages": "".join(f"FROM STAGE{n} AS stage{n}\n" for n in range(499)),
    "labels without end": F + "".join(f"LABEL l{n}=x\n" for n in range(3900)),
    "volumes without end": F + "".join(f"VOLUME /v{n}\n" for n in range(3900)),
    "one port more, 3,000 times": F
    + "EXPOSE 1-9000\n"
    + "".join(f"EXPOSE {n}/udp\n" for n in range(1, 3000)),
    "spaces": F + "RUN" + " " * 65_000 + "a\n",
    "tabs and escapes": F + ("\\\n\t" * 100_000) + "RUN a",
}


def cost(work: Callable[[], object]) -> float:
    """Seconds of processor; a refusal is as good an answer as a result."""
    begun = time.process_time()
    try:
        work()
    except Invalid as error:
        assert len(str(error)) < 64 * K
    return time.process_time() - begun


@pytest.mark.parametrize("name", BOMBS)
def test_d6_a_dockerfile_is_done_or_refused_and_costs_little(name: str) -> None:
    assert cost(lambda: plan_of(BOMBS[name])) < BROKEN_SECONDS


@pytest.mark.parametrize(
    "name",
    [
        "a line of 1.5 MB", "a file of 10 MB", "10^5 stages", "10^5 instructions", "2,000 variables",
        "a variable doubled 40 times", "a variable of 256 KiB",
        "long words that nobody takes", "a variable doubled, used 4,000 times",
        "a long argument and 3,900 steps",
        "3,000 triggers in 450 stages",
        "one word of 16,000 variables",
        "a replacement of each letter by a long word", "modifiers nested 10^4 times", "60,000 flags",
        "60,000 words", "a circle of one", "500 documents without ends", "ports without end",
        "300 times many ports",
        "a cache with a long name", "a trigger in a trigger", "a source with a long pattern",
        "a pattern of question marks",
        "continued lines without end", "global arguments doubled",
    ],
)  # fmt: skip
def test_d6_what_is_too_much_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        plan_of(BOMBS[name])


IGNORES: dict[str, tuple[str, str]] = {
    "stars": ("*a" * 500 + "b", "a" * 255),
    "many directories": ("**/" * 300 + "x", "a/" * 1000 + "y"),
    "stars and directories": ("*/**/" * 200 + "x", "a/" * 1000 + "y"),
    "directories and stars": ("**/*a*/" * 140 + "x", "aaaa/" * 500 + "y"),
    "classes": ("[^b]" * 250 + "*" * 20, "a" * 4000),
    "question marks": ("?" * 1000, "a" * 999),
    "a suffix": ("**" + "a" * 1000, "a" * 4000),
    "everything": ("*?**?*" * 160, "a" * 255),
}


@pytest.mark.parametrize("name", IGNORES)
def test_d6_a_pattern_costs_no_more_than_its_path_is_long(name: str) -> None:
    pattern, path = IGNORES[name]
    assert cost(lambda: read_ignore(pattern.encode()).is_ignored(path[:4095].rstrip("/"))) < BROKEN_SECONDS
    assert cost(lambda: compiled(pattern).matches(path[:4095])) < BROKEN_SECONDS


def test_d6_an_ignore_file_of_too_many_lines_is_refused() -> None:
    with pytest.raises(Invalid, match="patterns"):
        read_ignore(b"a*b\n" * 5001)
    with pytest.raises(Invalid, match="larger"):
        read_ignore(b"#" * (2 * 1024 * 1024 + 1))
    with pytest.raises(Invalid, match="a pattern of more than"):
        read_ignore(b"a" * 1025)
    assert cost(lambda: read_ignore(b"**/*a*b\n" * 5000)) < BROKEN_SECONDS
